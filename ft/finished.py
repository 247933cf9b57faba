"""Scores and exports of a trained model, from code: the jobs of `ft evaluate` and `ft export`.

scores = ft.evaluate(run, against="base").scores
folder = ft.export(run, "gguf", "orders-gguf", quantize="q8_0")
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import TrainingError
from engine.evaluation.files import REPORT, RESULT, ROWS
from engine.jobs.evaluation_options import Evaluation as EvaluationJob
from engine.jobs.evaluation_options import metric_names
from engine.process import launcher
from engine.runs.directory import control
from engine.runs.directory.events import Finished, Warned
from engine.runs.directory.run import Run as RunFolder
from engine.runs.directory.trained_model import TrainedModel
from ft.api import PathLike, Run
from ft.commands.trained import reference_of

if TYPE_CHECKING:
    from engine.data.sources.in_memory import Rows

Model = Run | PathLike | None
"""A run, its id, a checkpoint's path, a folder of a model or an adapter, `starter`, a hub id; None = the latest run."""


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation. `result` is what `ft evaluate` writes as evaluation.json."""

    folder: Path
    result: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    @property
    def scores(self) -> dict[str, float]:
        """The model's value of each metric."""
        return {name: line["value"] for name, line in self.result["metrics"].items()}

    @property
    def against(self) -> dict[str, float]:
        """The other model's value of each metric that was compared."""
        lines = self.result["metrics"].items()
        return {name: line["against"] for name, line in lines if line["against"] is not None}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Each row with its prompt, expected answer, answers and scores."""
        with (self.folder / ROWS).open(encoding="utf-8", newline="\n") as file:
            return [json.loads(line) for line in file]

    @property
    def report(self) -> Path:
        """The report, one HTML page."""
        return self.folder / REPORT


def evaluate(
    model: Model = None,
    *,
    checkpoint: str | int | None = None,
    data: "Rows | PathLike | None" = None,
    metrics: Sequence[str] | None = None,
    against: Model = None,
    forgetting: bool = False,
    tasks: Sequence[str] = (),
    max_questions: int | None = None,
    max_tokens: int | None = None,
) -> Evaluation:
    """Score a trained model in a process of its own, and wait for it.

    `data` is a source as in a recipe, or rows that this program holds; None for the run's validation rows. `against` is
    `base`, or another model. `metrics` are names and Python files, `tasks` those of lm-eval and YAML files. The rest is
    as for `ft evaluate`. Raises FtError for what is wrong, and TrainingError where somebody stops it.
    """
    from engine.evaluation.harness import names

    reference = _reference(model, checkpoint)
    job = EvaluationJob(
        reference,
        data=_source(data),
        metrics=metric_names(metrics) if metrics else None,
        max_questions=max_questions,
        against=against if against in (None, "base") else _reference(against),
        forgetting=forgetting,
        max_tokens=max_tokens,
        tasks=",".join(names(",".join(tasks))) or None,
    )
    job.check(TrainedModel.find(reference))
    run = job.create()
    _wait(run)
    result = json.loads((run.folder / RESULT).read_text(encoding="utf-8"))
    warnings = (event.message for event in run.events() if isinstance(event, Warned))
    return Evaluation(run.folder, result, tuple(warnings))


def export(
    model: Model,
    format: str,  # noqa: A002 - the option's name
    out: PathLike | None = None,
    *,
    quantize: str | None = None,
    options: Mapping[str, Any] | None = None,
    checkpoint: str | int | None = None,
    data: "Rows | PathLike | None" = None,
    prove: bool = True,
    force: bool = False,
) -> Path:
    """Write a trained model in the files of another program, prove it, and return the folder.

    Without `out` it is FORMAT-NAME in the current folder. `options` are those of `--set`, the rest is as for `ft
    export`. Raises FtError for what is wrong, CheckFailed where it answers otherwise, TrainingError for a stop.
    """
    from ft.commands.export import check, export_job

    folder = Path(out) if out is not None else None
    which = None if checkpoint is None else str(checkpoint)
    reference = _reference(model)
    job = export_job(reference, which, format, folder, quantize, options or {}, _source(data), prove, force)
    check(job)
    _wait(job.create())
    return job.out


def _reference(model: Model, checkpoint: str | int | None = None) -> str:
    """What `TrainedModel.find` takes."""
    if isinstance(model, Run):
        model = model.folder
    return reference_of(
        None if model is None else os.fspath(model), None if checkpoint is None else str(checkpoint)
    )


def _source(data: "Rows | PathLike | None") -> str | None:
    """A source as jobs take it; rows that a program holds are written to a file first."""
    from engine.config.recipe_paths import data_source
    from engine.data.sources.in_memory import stored

    if data is None or isinstance(data, str | os.PathLike):
        return None if data is None else data_source(os.fspath(data), Path.cwd())
    return str(stored(data))


def _wait(run: RunFolder) -> Finished:
    """Do a run's job, to its end. ctrl-c stops it. Raises the error that it failed with, TrainingError for a stop."""
    engine = launcher.start(run)
    try:
        for _ in run.events(follow=True, since=engine.since):
            pass
        ended = launcher.outcome(run, engine.since, engine.supervisor.wait())
    except KeyboardInterrupt:
        control.send(run, "stop")
        engine.supervisor.wait()
        raise
    if ended.reason == "stopped":
        raise TrainingError(f"{run.id} was stopped.", run.how_to_resume)
    return ended
