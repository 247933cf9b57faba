"""A plan before anything is tokenised or loaded: the model's config.json and a sample of the rows."""

from collections.abc import Callable

from engine.config.schema import TrainConfig
from engine.data.prepare import sample
from engine.data.sources.resolve import fetch
from engine.data.token_spec import TokenSpec
from engine.data.tokenization.token_limits import check_samples
from engine.hardware.probe import Machine, probe
from engine.models.resolve import resolve
from engine.models.saved_adapter import SavedAdapter, adopted
from engine.models.shape import ModelShape
from engine.models.sizing import shape_of
from engine.models.starter import Progress, silent
from engine.planning.backend_choice import choose_backend
from engine.planning.comparison import Comparison, compare
from engine.planning.plan import Plan
from engine.planning.planner import make_plan
from engine.planning.row_stats import RowStats


def estimate(config: TrainConfig, progress: Progress = silent, start: SavedAdapter | None = None) -> Plan:
    """Plan a recipe from what is quick to read; no torch.

    `progress` is called while a model or data is fetched; `start` is the adapter that `adapter.from` names.

    Raises what its parts raise.
    """
    config = adopted(config, start)
    _, _, settle = _read(config, progress, start)
    return settle(config)


def estimate_all(
    config: TrainConfig, progress: Progress = silent, start: SavedAdapter | None = None
) -> Comparison:
    """The same for every backend, side by side."""
    config = adopted(config, start)
    machine, shape, settle = _read(config, progress, start)
    return compare(config, machine, shape, settle)


def _read(
    config: TrainConfig, progress: Progress, start: SavedAdapter | None
) -> tuple[Machine, ModelShape, Callable[[TrainConfig], Plan]]:
    """The machine, the model, and what plans a recipe that differs from `config` in the backend alone."""
    model = resolve(config.model.base, config.model.revision, progress)
    if start is not None:
        start.check(model.folder)
    fetched = fetch(config.data, progress)
    encoder = TokenSpec.of(config).encoder(model.folder)
    check_samples(config, encoder.tokenizer, encoder.room)
    dataset, total = sample(config, model.folder, encoder=encoder, sources=fetched.unpacked())
    rows = RowStats.of(dataset.train, total)
    machine, shape = probe(), shape_of(model.folder)

    def settle(changed: TrainConfig) -> Plan:
        chosen = choose_backend(machine, changed, shape)
        return make_plan(changed, machine, chosen, shape, rows, start=start)

    return machine, shape, settle
