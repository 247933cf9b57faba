"""Table of the jobs that follow training, with the options that the app asks for. A command has more of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ConfigError
from engine.runs.directory.run import Run

Values = Mapping[str, str]
"""Text of each option by its name; empty where the default is meant."""


@dataclass(frozen=True)
class Option:
    """One line of a form."""

    name: str
    help: str
    empty: str = ""
    """Meaning of a line that is left empty."""
    default: str = ""
    choices: tuple[str, ...] = ()
    """Values to choose from; empty where text is typed."""


@dataclass(frozen=True)
class Use:
    """One job that takes a trained model."""

    name: str
    """Name of the command that does the same."""
    summary: str
    options: tuple[Option, ...]
    create: Callable[[str, Values], Run]
    """Makes the run of the job from a model's reference, as `TrainedModel.find` takes it. Raises FtError where the
    options or the model do not allow it. Blocks: called in a thread."""


def _evaluate(reference: str, values: Values) -> Run:
    from engine.config.recipe_paths import data_source
    from engine.jobs.evaluate import Evaluation
    from engine.runs.directory.trained_model import TrainedModel

    rows = data_source(values["data"], Path.cwd()) if values["data"] else None
    metrics = tuple(name.strip() for name in values["metrics"].split(",") if name.strip())
    evaluation = Evaluation(reference, rows, metrics or None, _whole(values, "max_questions"))
    evaluation.check(TrainedModel.find(reference))
    return evaluation.create()


def _whole(values: Values, name: str) -> int | None:
    """A positive whole number; None where nothing is typed. Raises ConfigError for anything else."""
    typed = values[name].strip()
    if not typed:
        return None
    if not typed.isdecimal() or int(typed) < 1:
        raise ConfigError(
            f"{name}: {typed} is not a whole number above 0.", "Leave it empty for the default."
        )
    return int(typed)


USES = (
    Use(
        "evaluate",
        "score it on its validation rows, or on others",
        (
            Option(
                "data", "A file, folder, address or hub data set to score on.", "the run's validation rows"
            ),
            Option("metrics", "Names of metrics, with commas between them.", "those of the recipe"),
            Option("max_questions", "Most prompts that are answered.", "as the recipe says"),
        ),
        _evaluate,
    ),
)
"""In the order in which they are offered."""
