"""A plan before anything is tokenised or loaded: the model's config.json and a sample of the rows."""

from collections.abc import Callable

import numpy as np

from engine.config.schema import TrainConfig
from engine.data.prepare import sample
from engine.data.sources import fetch
from engine.data.token_limits import check_samples
from engine.data.token_spec import TokenSpec
from engine.hardware.probe import Machine, probe
from engine.models.resolve import resolve
from engine.models.sizing import ModelShape, shape_of
from engine.models.starter import Progress, silent
from engine.plan import Plan, make_plan
from engine.planning.comparison import Comparison, compare


def look(config: TrainConfig, progress: Progress = silent) -> Plan:
    """Plan a recipe from what is quick to read; no torch. `progress` is told of what has to be fetched.

    Raises what its parts raise.
    """
    _, _, settle = _read(config, progress)
    return settle(config)


def look_at_all(config: TrainConfig, progress: Progress = silent) -> Comparison:
    """The same for every backend, side by side."""
    machine, shape, settle = _read(config, progress)
    return compare(config, machine, shape, settle)


def _read(
    config: TrainConfig, progress: Progress
) -> tuple[Machine, ModelShape, Callable[[TrainConfig], Plan]]:
    """The machine, the model, and what plans a recipe that differs from `config` in the backend alone."""
    model = resolve(config.model.base, config.model.revision, progress)
    fetch(config.data, progress)
    encoder = TokenSpec.of(config).encoder(model.folder)
    check_samples(config, encoder.tokenizer, encoder.room)
    dataset, rows = sample(config, model.folder, encoder=encoder)
    lengths = dataset.train.lengths
    tokens = int(lengths.sum())
    share = dataset.train.trained_tokens / tokens if tokens else 0.0
    machine, shape = probe(), shape_of(model.folder)

    def settle(changed: TrainConfig) -> Plan:
        return make_plan(
            changed,
            machine,
            shape,
            lengths.astype(np.int64),
            share,
            sampled=rows > len(lengths),
            examples=rows,
        )

    return machine, shape, settle
