"""Options of the job `evaluate`, and the recipe by which its rows are read."""

import json
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from engine import addresses
from engine.errors import ConfigError
from engine.metrics import registry as metric_registry
from engine.metrics.source_file import load_file, names_file
from engine.runs.directory import registry
from engine.runs.directory.create_job import create_job
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel

if TYPE_CHECKING:
    from engine.config.schema import TrainConfig

BASE = "base"
"""Value of `against` that names the model as it was before training."""
DIFFERING = 5
"""Rows that are shown where two models differ most, unless a number is given."""


@dataclass(frozen=True)
class Evaluation:
    """Options of the job: what `TrainedModel.find` takes, a source of rows, names of metrics, and most prompts.

    The source is one as `recipe_paths.data_source` gives it, a file by its absolute path. What is None is taken from
    the recipe that trained the model: its validation rows, its metrics, its prompts.
    """

    model: str
    data: str | None = None
    metrics: tuple[str, ...] | None = None
    """Names, and absolute paths of Python files."""
    max_questions: int | None = None
    against: str | None = None
    """`base`, or another model as `TrainedModel.find` takes it; None compares with nothing."""
    forgetting: bool = False
    """Score general rows that were not the task, too."""
    max_tokens: int | None = None
    """Most tokens of an answer; None is the longest expected one and a little more."""
    rows: int = DIFFERING
    """Rows to show where the two differ most."""
    judge: str | None = None
    """Address of an OpenAI-compatible server that judges the two answers of each row."""
    judge_model: str | None = None
    """Name of its model; None takes the first that it lists."""
    judge_key: str | None = None
    """Name of the secret that it takes as a key."""
    tasks: str | None = None
    """Tasks of lm-evaluation-harness with commas between them; YAML files by their absolute paths."""

    def create(self) -> Run:
        """A new run for this evaluation. Raises MachineError where its folder cannot be made."""
        data, secret = addresses.without_secrets(self.data)
        options = asdict(self) | {"data": data, "again": shlex.join(self._words(data))}
        trained_by = TrainedModel.find(self.model).run
        name = registry.name_in(trained_by.name) if trained_by else Path(self.model).name
        run = create_job("evaluate", f"evaluate-{name}", options)
        run.addresses = secret
        return run

    def _words(self, data: str | None) -> list[str]:
        """The command that does it again."""
        words = ["ft", "evaluate", self.model]
        words += ["--data", data] if data else []
        words += ["--metrics", ",".join(self.metrics)] if self.metrics else []
        for name in ("max_questions", "against", "max_tokens", "judge", "judge_model", "judge_key", "tasks"):
            if value := getattr(self, name):
                words += [f"--{name.replace('_', '-')}", str(value)]
        words += ["--forgetting"] if self.forgetting else []
        return words + (["--rows", str(self.rows)] if self.rows != DIFFERING else [])

    @staticmethod
    def of(run: Run) -> "Evaluation":
        """The evaluation that a run was created for. Raises ConfigError where its job.json is damaged."""
        try:
            given = {field.name: run.job[field.name] for field in fields(Evaluation) if field.name in run.job}
            metrics = given["metrics"] and tuple(map(str, given["metrics"]))
            return Evaluation(**given | {"model": str(given["model"]), "metrics": metrics})
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"{run.folder / 'job.json'} is damaged: {error}.", "Start the evaluation again."
            ) from error

    @property
    def needs_no_rows(self) -> bool:
        """True if it has something to score without rows of the task, and nothing that is asked for needs them."""
        return bool(self.tasks or self.forgetting) and not (self.metrics or self.judge)

    @property
    def compared(self) -> str | None:
        """The model that it is compared with: forgetting is what the base could do, so it compares with that."""
        return self.against or (BASE if self.forgetting or self.judge else None)

    def other(self, model: TrainedModel) -> TrainedModel | None:
        """The model that it is compared with. Raises ConfigError where that is the same one, or there is none."""
        if self.compared is None:
            return None
        if self.compared != BASE:
            other = TrainedModel.find(self.compared)
            if _place(other) == _place(model):
                raise ConfigError(
                    f"{self.compared} is the model itself.", "Name another run, or base: --against base"
                )
            return other
        if model.run is not None:
            return TrainedModel.before(Run.open(model.run))
        if model.adapter is None:
            raise ConfigError(
                f"{self.model} has no adapter, and no run says what it was trained from.",
                "Name the model to compare with: --against FOLDER",
            )
        return TrainedModel(model.base, None, model.spec, model.revision)

    def check(self, model: TrainedModel) -> None:
        """Raise ConfigError where there is no such metric, no rows, or no other model to compare with."""
        known = metric_registry.known()
        for name in self.metrics or ():
            if names_file(name):
                load_file(Path(name))
            elif name not in known:
                raise ConfigError(
                    f"There is no metric {name!r}.",
                    f"There are: {', '.join(known)}; or a Python file of yours, as ./mine.py.",
                )
        if self.judge is None and (self.judge_model or self.judge_key):
            raise ConfigError(
                "--judge-model and --judge-key are of a judge, and none is named.", "Add --judge URL"
            )
        if self.tasks:
            from engine.evaluation import harness

            harness.require()
        self.recipe(model)
        self.other(model)

    def recipe(self, model: TrainedModel) -> "TrainConfig":
        """The recipe by which rows are read and scored: that of the model's run, with what is given here in its place.

        Raises ConfigError where a model that no run has trained is to be scored on rows that are not given.
        """
        if model.run is not None:
            config = Run.open(model.run).config
        elif self.data is not None or self.needs_no_rows:
            config = recipe_of(model, self.data or "starter")
        else:
            raise ConfigError(
                f"No run says which rows {self.model} is to be scored on.", "Name them: --data FILE"
            )
        if self.data is not None:
            only = {"train": self.data, "validation": 0.0, "max_samples": None}
            config = config.model_copy(update={"data": config.data.model_copy(update=only)})
        wanted = {"metrics": self.metrics and list(self.metrics), "max_questions": self.max_questions}
        given = {name: value for name, value in wanted.items() if value is not None}
        return config.model_copy(update={"evaluation": config.evaluation.model_copy(update=given)})


def _place(model: TrainedModel) -> tuple[str, str]:
    """Base and adapter of a model, the same by whatever path they are named."""
    base = model.base.resolve() if isinstance(model.base, Path) else model.base
    return str(base), str(model.adapter and model.adapter.resolve())


def metric_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names of metrics as the job takes them: the path of a Python file is made absolute."""
    return tuple(str(Path(name).expanduser().absolute()) if names_file(name) else name for name in names)


def recipe_of(model: TrainedModel, data: str) -> "TrainConfig":
    """A recipe for a model that no run has trained."""
    from engine.config.load import load_text

    of_model = {"base": str(model.base), "chat_template": model.spec.chat_template}
    body = {"model": of_model, "data": {"train": data, "validation": 0}}
    return load_text(json.dumps(body), Path("train.yml").absolute()).config
