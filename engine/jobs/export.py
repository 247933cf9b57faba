"""Job `export`: a trained model, or one as it is, in the files of another program, proved to answer alike."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from engine import addresses, plugins
from engine.errors import ConfigError, MachineError
from engine.export.adapter import in_peft_layout
from engine.export.base import CREATE, Exporter
from engine.export.output import Output
from engine.export.registry import exporter_named, refuse_unsupported
from engine.hardware.sharing import Sharing
from engine.jobs.base import TELL_EVERY_S, JobContext, secrets_of, secrets_of_base, secrets_of_rows
from engine.jobs.export_proof import Outcome, ToProve
from engine.runs.directory.create_job import create_job
from engine.runs.directory.events import Phase, Warned
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel


@dataclass(frozen=True)
class Export:
    """Options of the job: what `TrainedModel.find` takes, the exporter's name, the folder to write, its options.

    `data` is a source of rows to prove the export on, as `recipe_paths.data_source` gives it; None for the validation
    rows of the model's run. `force` replaces an earlier export.
    """

    model: str
    exporter: str
    out: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    data: str | None = None
    prove: bool = True
    force: bool = False

    def create(self) -> Run:
        """A new run for this export. Raises MachineError where its folder cannot be made."""
        data, secret = addresses.without_secrets(self.data)
        body = asdict(self) | {"out": str(self.out), "options": dict(self.options), "data": data}
        written = self.out.name.removeprefix(
            f"{self.exporter}-"
        )  # as the folder is called where nobody names it
        run = create_job("export", f"export-{self.exporter}-{written}", body)
        run.addresses = secret
        return run

    @staticmethod
    def of(run: Run) -> "Export":
        """The export that a run was created for. Raises ConfigError where its job.json is damaged."""
        try:
            model, exporter, out = (str(run.job[name]) for name in ("model", "exporter", "out"))
            data, more = run.job.get("data"), {"prove": True, "force": False}
            told = {name: bool(run.job.get(name, default)) for name, default in more.items()}
            return Export(model, exporter, Path(out), dict(run.job["options"]), data, **told)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{run.folder / 'job.json'} is damaged: {error}.", "Start the export again."
            ) from error

    def output(self, run: Run) -> Output:
        """The folder to write, by this run."""
        return Output(self.out, run.id)

    def making(self, run: Run) -> Path:
        """Folder beside `out` that is filled, and becomes `out` at the end."""
        return self.output(run).making


def run(context: JobContext) -> str:
    """Write the model, prove that it answers as the trained one does, and give the folder its name.

    Then the program that the format is for hears of it, where the options say so. Returns `completed`. Raises
    CheckFailed where it answers otherwise, ModelError where the model cannot be written so, MachineError where the
    folder cannot be written, Stopped where a person stops it; nothing is left then, unless the folder had its name.
    """
    export = Export.of(context.run)
    output = export.output(context.run)
    exporter, sharing = exporter_named(export.exporter), Sharing()
    options = exporter.check(export.options)
    creator = exporter.creator(options)
    try:
        output.making.mkdir(parents=True)
        model = TrainedModel.find(export.model)
        base = _base_of(context, model, exporter)
        model = in_peft_layout(model, base, context.run.folder / "peft")
        _check(exporter, options, model, base, output)
        with _reporting(context.run, output.making):
            facts = exporter.export(model, output.making, options, context.poll)
        for note in facts.get("notes", ()):
            context.run.emit(Warned(message=note))
        written = ToProve(exporter, model, base, facts, export.options, export.data, export.prove)
        outcome = written.prove(context, output.making, sharing)
        context.poll()
        _write_card(model, exporter, facts, outcome, output.making)
        output.place(_mark(export, exporter, model, base, facts, outcome), export.force)
    except OSError as error:
        raise MachineError(
            f"Cannot write {error.filename or export.out}: {error.strerror or error}.",
            "Choose another folder with --out.",
        ) from error
    finally:
        sharing.end()
        clean_up(context.run)
    if creator is not None:
        context.run.emit(Phase(name="creating", note=str(options[CREATE])))
        creator(export.out, context.poll)
    return "completed"


def clean_up(run: Run) -> None:
    """Remove a folder that was not finished."""
    with suppress(ConfigError):  # a damaged job.json names no folder
        Export.of(run).output(run).clean_up()


def needed_secrets(run: Run) -> tuple[str, ...]:
    """Names of the tokens without which an export may fail."""
    export = Export.of(run)
    model = TrainedModel.find(export.model)
    of_recipe = secrets_of(Run.open(model.run).config) if model.run else ()
    return (*of_recipe, *plugins.secrets_of(exporter_named(export.exporter)))


def useful_secrets(run: Run) -> tuple[str, ...]:
    """Names of the tokens for what most often is here already: a model without a run, and rows to prove it on."""
    from engine.data.sources.resolve import spelled

    export = Export.of(run)
    of_rows = secrets_of_rows([spelled(export.data, Path("/")).path]) if export.data else ()
    return (*secrets_of_base(TrainedModel.find(export.model).base), *of_rows)


def _base_of(context: JobContext, model: TrainedModel, exporter: Exporter) -> Path:
    """The folder of the base that is exported: of a quantised one, the unquantised model where that is here, unless
    the adapter alone is written, which stays on its base.

    Raises ModelError where it is missing, or changed since an adapter was trained on it.
    """
    from engine.merging.base import base_for, trained_on
    from engine.models.resolve import resolve

    context.run.emit(Phase(name="loading", note=Path(model.base).name))
    context.poll()
    if isinstance(model.base, str):
        resolve(model.base, model.revision, context.loading())
    if model.adapter is None:
        return model.base_folder()
    return trained_on(model) if exporter.adapter_alone else base_for(model).folder


def _check(
    exporter: Exporter, options: Mapping[str, Any], model: TrainedModel, base: Path, output: Output
) -> None:
    """Refuse a model that the exporter cannot write, and a disk without room for it."""
    from engine.models.local import read_config, weight_files

    refuse_unsupported(exporter, read_config(base))
    if exporter.size is not None:
        needed = plugins.resolved(exporter.size)(model, options)
    else:
        needed = sum(path.stat().st_size for path in weight_files(base))
    output.need_space(needed)


def _write_card(
    model: TrainedModel, exporter: Exporter, facts: Mapping[str, Any], outcome: Outcome, folder: Path
) -> None:
    """Write the model card and what it shows into the export's folder."""
    from engine.publishing.card import write_card
    from engine.publishing.facts import model_card
    from engine.publishing.model_card import ExportFacts
    from engine.publishing.render import render

    about = ExportFacts(dict(facts), outcome.report)
    card = model_card(model, exporter.name, about, folder)
    if model.run is None:  # nothing else names it, and this folder's name is not for good
        card = replace(card, title=Path(model.adapter or model.base).name)
    write_card(folder, render(card), model.run)


def _mark(
    export: Export,
    exporter: Exporter,
    model: TrainedModel,
    base: Path,
    facts: Mapping[str, Any],
    outcome: Outcome,
) -> Mapping[str, Any]:
    """Content of export.json. No time is in it: the same export is the same bytes."""
    from engine.models import adapter_files
    from engine.models.resolve import fingerprint

    of_adapter = adapter_files.fingerprint(model.adapter) if model.adapter else None
    return {
        "format": exporter.name,
        "facts": dict(facts),
        "options": dict(export.options),
        "model": export.model,
        "base": str(model.base),
        "run": model.run.name if model.run else None,
        "step": model.step,
        "fingerprint": of_adapter or fingerprint(base),
        "proof": outcome.report,
        "not_proved": outcome.not_proved,
    }


@contextmanager
def _reporting(run: Run, folder: Path) -> Iterator[None]:
    """Tell of the bytes that are written into a folder, for the length of the block."""
    done = threading.Event()

    def report() -> None:
        told = 0
        while not done.wait(TELL_EVERY_S):
            written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            if written != told:
                told = written
                run.emit(Phase(name="saving", note=f"{written / 1e6:,.0f} MB written"))

    thread = threading.Thread(target=report, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
