"""`ft merge`: a trained model as full weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.errors import ConfigError
from engine.runs.directory.checkpoints import step_of, whole
from engine.runs.directory.run import Run
from ft.commands.export import ForceOption, follow
from ft.commands.trained import JsonOption, reference_of
from ft.console import print_json, say

LIMIT = 0.1
"""Share of the update, by norm, that rounding may lose before another number format is proposed."""
DTYPE = "Number format of the weights: source (the base's), bf16, fp16 or fp32."
METHOD = (
    "cat (exact), linear, svd, ties, dare_linear, dare_ties, magnitude_prune, or one of the last with _svd."
)


RunsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Runs, checkpoints or adapters' folders on one base; the latest run if left out.",
    ),
]
DtypeOption = Annotated[str, typer.Option("--dtype", metavar="FORMAT", help=DTYPE)]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FOLDER", help="The folder to write; merged-RUN here if left out."),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights", metavar="W,W…", help="Weight of each model's update; equal ones that sum to 1."
    ),
]
MethodOption = Annotated[str, typer.Option("--method", metavar="METHOD", help=METHOD)]
DensityOption = Annotated[
    float | None, typer.Option("--density", help="Share of values that pruning keeps; 0.5 if left out.")
]
RankOption = Annotated[int | None, typer.Option("--rank", help="Rank of the result of svd methods.")]
AverageOption = Annotated[
    str | None,
    typer.Option("--average", metavar="last:N", help="Average the last N checkpoints of the run."),
]
CheckpointsOption = Annotated[
    str | None,
    typer.Option("--checkpoints", metavar="STEP,STEP…", help="Average these checkpoints of the run."),
]
AdapterOutOption = Annotated[
    bool, typer.Option("--adapter-out", help="Write one LoRA adapter instead of full weights.")
]
ProveOption = Annotated[
    bool,
    typer.Option(
        "--prove/--no-prove",
        help="Compare its answers with the trained model's, or with the weighted sum of several.",
    ),
]


def merge(
    runs: RunsArgument = None,
    dtype: DtypeOption = "source",
    out: OutOption = None,
    weights: WeightsOption = None,
    method: MethodOption = "cat",
    density: DensityOption = None,
    rank: RankOption = None,
    average: AverageOption = None,
    checkpoints: CheckpointsOption = None,
    adapter_out: AdapterOutOption = False,
    prove: ProveOption = True,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Merge a trained model, several on one base, or checkpoints of a run, into full weights.

    Stdout is the folder; ctrl-c leaves none.
    """
    from engine.export.merged import dtype_of
    from engine.export.output import read_mark
    from engine.jobs.export import Export
    from engine.merging.several import Combination, numbers
    from engine.runs.directory.trained_model import TrainedModel

    references = _references(runs or [], average, checkpoints)
    if adapter_out and len(references) == 1:
        raise ConfigError(
            "--adapter-out writes several adapters as one, and there is one.", "ft export --format adapter"
        )
    options: dict[str, Any] = {"dtype": dtype, "models": references[1:], "method": method, "density": density}
    options |= {"rank": rank, "weights": numbers(weights) if weights else None, "adapter": adapter_out}
    dtype_of(options)
    Combination.of([TrainedModel.find(reference) for reference in references], options)
    name = Path(references[0]).name if average is None and checkpoints is None else Run.open(_one(runs)).id
    what = name if len(references) == 1 else f"{name} and {len(references) - 1} more"
    folder = (out or Path(f"merged-{name}")).expanduser().absolute()
    follow(Export(references[0], "merged", folder, options, prove=prove, force=force), f"Merging {what} …")
    report = (read_mark(folder) or {})["facts"]
    for line in lines(report):
        say(line)
    if json:
        print_json({"folder": str(folder)} | report)
        return
    print(folder)


def _references(models: Sequence[str], average: str | None, checkpoints: str | None) -> list[str]:
    """What `TrainedModel.find` takes of every model. Raises ConfigError for options that do not go together."""
    from engine.merging.several import numbers

    if average is None and checkpoints is None:
        return [reference_of(model) for model in models] or [reference_of(None)]
    if average is not None and checkpoints is not None:
        raise ConfigError("--average and --checkpoints both choose checkpoints.", "Give one of them.")
    if len(models) > 1:
        raise ConfigError(
            "Checkpoints of one run are averaged.", "Give one run, or name the checkpoints' folders."
        )
    run = Run.open(_one(models))
    there = {step_of(path): path for path in whole(run.checkpoints)}
    if average is not None:
        first, _, count = average.partition(":")
        if first != "last" or not count.isdecimal() or int(count) < 2:
            raise ConfigError(f"--average {average}: expected last:N, N at least 2.", "As --average last:3.")
        wanted = sorted(there)[-int(count) :]
        missing = len(wanted) < int(count)
    else:
        wanted = [int(step) for step in numbers(checkpoints or "")]
        missing = not there.keys() >= set(wanted)
    if missing:
        steps = ", ".join(map(str, there)) or "none"
        raise ConfigError(
            f"Run {run.id} does not have these checkpoints; it has those of the steps {steps}.",
            "checkpoints.keep in the recipe says how many stay.",
        )
    return [str(there[step]) for step in wanted]


def _one(models: Sequence[str] | None) -> str | None:
    return models[0] if models else None


def lines(report: Mapping[str, Any]) -> list[str]:
    """What is worth knowing of a merge."""
    found = [report["note"]]
    if len(report["weights"]) > 1:
        shown = ", ".join(f"{weight:.3g}" for weight in report["weights"])
        found.append(f"{report['method']} of {len(report['weights'])} models, with the weights {shown}.")
    if report["method"] != "cat":
        found.append(
            f"The result is {report['distance']:.1%} away from the weighted sum; --method cat is exact."
        )
    if "files" not in report:
        return found
    if report["untied"]:
        found.append(
            "The output layer is a matrix of its own now: it was trained otherwise than the embedding."
        )
    formats = " and ".join(report["dtypes"])
    files = len(report["files"])
    found.append(f"{report['bytes'] / 1e6:,.0f} MB in {formats}, {files} file{'s' if files > 1 else ''}.")
    return found + rounding(report)


def rounding(report: Mapping[str, Any]) -> list[str]:
    """The share of the update that rounding loses, and a format that loses less where it is much."""
    lost, worst = report["lost"], report["worst"]
    if not worst["tensor"]:
        return []
    said = [
        f"Rounding loses {lost:.1%} of the update ({worst['lost']:.1%} in {worst['tensor']}, the most of all tensors)."
    ]
    if lost > LIMIT:
        half, full = report["lost_in"]["fp16"], report["lost_in"]["fp32"]
        better = f"--dtype fp16 would lose {half:.1%}, " if half < min(lost, LIMIT) else ""
        said.append(
            f"That is more than {LIMIT:.0%}: {better}--dtype fp32 {full:.0%} in files of twice the size."
        )
    return said
