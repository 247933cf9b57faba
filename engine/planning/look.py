"""A plan before anything is tokenised or loaded: the model's config.json and a sample of the rows."""

import numpy as np

from engine.config.schema import TrainConfig
from engine.data.prepare import sample
from engine.hardware.probe import probe
from engine.models.resolve import resolve
from engine.models.sizing import shape_of
from engine.plan import Plan, make_plan


def look(config: TrainConfig) -> Plan:
    """Plan a recipe from what is quick to read; no torch. Raises what its parts raise."""
    model = resolve(config.model.base, config.model.revision)
    dataset, rows = sample(config, model.folder)
    lengths = dataset.train.lengths
    tokens = int(lengths.sum())
    share = dataset.train.trained_tokens / tokens if tokens else 0.0
    return make_plan(
        config,
        probe(),
        shape_of(model.folder),
        lengths.astype(np.int64),
        share,
        sampled=rows > len(lengths),
        examples=rows,
    )
