"""What an export is compared with: the trained model, on rows of its task."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.data.setting_advice import without_settings
from engine.errors import DataError
from engine.jobs.base import JobContext
from engine.jobs.evaluate import Evaluation
from engine.runs.directory.events import Phase, Warned
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig
    from engine.data.types import Examples
    from engine.parity.exported import Probe
    from engine.parity.gate import Gate

TEXTS = "the texts that come with ft"


@contextmanager
def plain_base(base: Path, beside: Path, heartbeat: Callable[[], None]) -> Iterator[Path]:
    """A base that transformers loads in fp32: of quantised weights, what they stand for, for the length of the block.

    It is written into a folder in `beside`. Raises ModelError where the quantisation cannot be read.
    """
    from engine.export.merged import write_plain
    from engine.merging.dequantised import quantization_of

    if quantization_of(base) is None:
        yield base
        return
    with tempfile.TemporaryDirectory(dir=beside, prefix=".proof-") as folder:
        write_plain(base, Path(folder), heartbeat)
        yield Path(folder)


def gate_of(context: JobContext, data: str | None, model: TrainedModel, base: Path) -> "Gate":
    """The parity gate of a model, on the rows of `data`, else the validation rows of its run.

    Where these have too few places, the run's training rows make up for them, and then ft's own texts: whether two
    models agree can be asked on any row. Raises DataError where the rows of `data` cannot be read.
    """
    from engine.parity import probes
    from engine.parity.gate import Gate

    config = Run.open(model.run).config if model.run else None
    trusted = config.model.trust_remote_code if config else False
    sources: list[tuple[str, Examples]] = []
    if data is not None:
        given = Evaluation(str(base), data).recipe(model)
        with without_settings(data):
            sources = [(data, _given(context, given, base))]
    elif model.run is not None and config is not None:
        sources = _rows_of(context, config, model.run, base)
    drawn: tuple[Probe, ...] = ()
    names = []
    for name, rows in sources:
        if (lacking := probes.POSITIONS - probes.places(drawn)) and len(rows):
            drawn += probes.of_rows(rows, count=lacking)
            names.append(name)
    if lacking := probes.POSITIONS - probes.places(drawn):
        tokenizer = model.spec.tokenizer(base)
        drawn += probes.of_text(lambda text: tokenizer.encode([text])[0], count=lacking)
        names.append(TEXTS)
    return Gate(model, base, drawn, " and ".join(names), trusted)


def _given(context: JobContext, config: "TrainConfig", base: Path) -> "Examples":
    from engine.data.prepare import validation_rows
    from engine.data.sources.resolve import fetch

    sources = fetch(config.data, context.loading()).unpacked()
    return validation_rows(config, base, sources, _progress(context)).examples.good()


def _rows_of(
    context: JobContext, config: "TrainConfig", folder: Path, base: Path
) -> "list[tuple[str, Examples]]":
    """Validation and training rows of the run that trained the model; none, with a warning, where they are gone."""
    from engine.data.prepare import prepare
    from engine.data.sources.resolve import fetch
    from engine.training.resume import same_files

    run = Run.open(folder)
    try:
        config = same_files(run, config)
        sources = fetch(config.data, context.loading()).unpacked()
        dataset = prepare(config, base, _progress(context), lint=True, day=run.begun(), sources=sources)
    except DataError as error:
        message = (
            f"The rows of {run.id} cannot be read, so that the export is compared on {TEXTS}: {error.message}"
        )
        context.run.emit(Warned(message=message, hint="Name rows of your own: --data FILE"))
        return []
    validation = [dataset.validation.good()] if dataset.validation is not None else []
    return [
        *((f"validation rows of {folder.name}", rows) for rows in validation),
        (f"training rows of {folder.name}", dataset.train.good()),
    ]


def _progress(context: JobContext) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        context.run.emit(Phase(name="tokenising", done=done, total=total))
        context.poll()

    return progress
