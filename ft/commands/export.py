"""`ft export`: a trained model in the files of another program, proved to answer as it was trained."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import ConfigError
from engine.export.base import CREATE, QUANTIZATION
from engine.process.launcher import start
from ft.commands.trained import CheckpointOption, JsonOption, ModelArgument, reference_of
from ft.console import key_values, print_json, say
from ft.live import Plain
from ft.watch import follow_to_end, interrupts_wait

if TYPE_CHECKING:
    from engine.jobs.export import Export

FORMATS = "adapter, merged, gguf, gguf-adapter, mlx, mlx-adapter, ollama, or another package's."


FormatOption = Annotated[str | None, typer.Option("--format", metavar="NAME", help=FORMATS)]
QuantizeOption = Annotated[
    str | None,
    typer.Option("--quantize", metavar="TYPE", help="Hold the weights in few bits, as q8_0, Q4_K_M or 4bit."),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FOLDER", help="The folder to write; NAME-RUN here if left out."),
]
CreateOption = Annotated[
    str | None,
    typer.Option(
        "--create", metavar="NAME", help="With ollama: then make it known to Ollama under this name."
    ),
]
OptionsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Another option of the format; repeatable."),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data", metavar="SOURCE", help="Rows to prove it on; the run's validation rows if left out."
    ),
]
ProveOption = Annotated[
    bool,
    typer.Option(
        "--prove/--no-prove", help="Compare its answers with the trained model's; keep it if alike."
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace an earlier export, once the new one is whole.")
]


def export(
    model: ModelArgument = None,
    format_: FormatOption = None,
    quantize: QuantizeOption = None,
    out: OutOption = None,
    create: CreateOption = None,
    options: OptionsOption = None,
    checkpoint: CheckpointOption = None,
    data: DataOption = None,
    prove: ProveOption = True,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Write a trained model in the files of another program, and prove that it answers as it was trained.

    Stdout is the folder; ctrl-c leaves none.
    """
    from engine.config.recipe_paths import data_source
    from engine.export.output import read_mark
    from engine.export.registry import exporter_names

    if format_ is None:
        raise ConfigError("Which format? --format is missing.", f"There are {', '.join(exporter_names())}.")
    rows = data_source(data, Path.cwd()) if data else None
    chosen = dict(key_values(options or ()))
    if create is not None:
        chosen[CREATE] = create
    job = export_job(model, checkpoint, format_, out, quantize, chosen, rows, prove, force)
    folder = job.out
    follow(job, f"Exporting {_name(job.model, checkpoint)} to {format_} …")
    if json:
        print_json({"folder": str(folder)} | dict(read_mark(folder) or {}))
        return
    print(folder)


def export_job(
    model: str | None,
    checkpoint: str | None,
    format_: str,
    out: Path | None,
    quantize: str | None,
    options: Mapping[str, Any],
    rows: str | None,
    prove: bool,
    force: bool,
) -> "Export":
    """The export that the options ask for; `rows` is a source as jobs take it. Raises ConfigError."""
    from engine.export.registry import exporter_named
    from engine.jobs.export import Export

    exporter = exporter_named(format_)
    if quantize is not None:
        if not exporter.quantizations:
            raise ConfigError(f"Export to {format_} does not quantise.", "Leave --quantize out.")
        options = {**options, QUANTIZATION: quantize}
    reference = reference_of(model, checkpoint)
    folder = (out or Path(f"{format_}-{_name(reference, checkpoint)}")).expanduser().absolute()
    return Export(reference, format_, folder, exporter.check(options), rows, prove, force)


def _name(reference: str, checkpoint: str | None) -> str:
    """Name of what is exported, for its folder: a run's id, with its checkpoint where one is named."""
    path = Path(reference)
    return path.name if checkpoint is None else f"{path.parent.parent.name}-{checkpoint}"


def check(job: "Export") -> None:
    """Raise FtError where the model is not there, or the folder is taken."""
    from engine.export.output import Output
    from engine.runs.directory.trained_model import TrainedModel

    TrainedModel.find(job.model)
    Output(job.out, "").check(job.force)


def follow(job: "Export", what: str) -> None:
    """Do an export in its own process, and follow it to its end. Raises the error that it failed with."""
    check(job)
    with interrupts_wait() as interrupted:
        run = job.create()
        say(what)
        code = follow_to_end(start(run), Plain(), interrupted)
    if code:
        raise typer.Exit(code)
    if not job.prove:
        say("Nothing was proved: it may answer otherwise than the trained model.")
