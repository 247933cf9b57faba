"""Tasks of lm-evaluation-harness (the extra `eval`), scored by a loaded model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.backends.base import Model
from engine.data.tokenization.tokenizer import Tokenizer
from engine.errors import ConfigError, MachineError, first_line
from engine.evaluation.measuring import Measuring


@dataclass(frozen=True)
class Scored:
    """One task's score with its standard error; `metric` is as lm-eval names it, `acc,none`."""

    task: str
    metric: str
    value: float
    error: float | None


def names(text: str) -> list[str]:
    """Tasks with commas between them; the path of a task's YAML file is made absolute."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    return [
        str(Path(name).expanduser().absolute()) if name.endswith((".yaml", ".yml")) else name
        for name in found
    ]


def require() -> None:
    """Raise MachineError where lm-eval is not installed."""
    from importlib.util import find_spec

    if find_spec("lm_eval") is None:
        raise MachineError(
            "--tasks needs lm-evaluation-harness, which is not installed.", "pip install 'ft-studio[eval]'"
        )


def score(
    tasks: Sequence[str], model: Model, tokenizer: Tokenizer, measuring: Measuring, positions: int | None
) -> list[Scored]:
    """Scores of the tasks, prompts as lm-eval writes them, without a chat template, as published figures are.

    Raises ConfigError for a task that there is not, or that cannot be run here.
    """
    import lm_eval
    from lm_eval.tasks import TaskManager

    from engine.evaluation.harness_model import Harness

    files = [Path(task) for task in tasks if Path(task).suffix in (".yaml", ".yml")]
    for file in files:
        if not file.is_file():
            raise ConfigError(
                f"{file}: no such file.", "A task of your own is a YAML file: --tasks ./mine.yaml"
            )
    folders = sorted({str(file.parent) for file in files})
    # Looking through lm-eval's own thousands of tasks takes many seconds.
    manager = TaskManager(include_path=folders or None, include_defaults=len(files) < len(tasks))
    wanted = [_name(Path(task)) if Path(task) in files else task for task in tasks]
    unknown = [task for task in wanted if task not in manager.all_tasks]
    if unknown:
        raise ConfigError(f"lm-eval has no task {unknown[0]!r}.", "Its list: lm-eval ls tasks")
    harness = Harness(model, tokenizer, measuring, positions)
    try:
        found = lm_eval.simple_evaluate(model=harness, tasks=wanted, task_manager=manager, log_samples=False)
    except Exception as error:  # a task may fetch data, or run code of its own
        if error is harness.failure:
            raise
        raise ConfigError(
            f"lm-eval cannot run {', '.join(wanted)}: {type(error).__name__}: {first_line(error)}",
            "Tasks of lm-eval fetch their data from the hub; the whole message is in the run's worker.log.",
        ) from error
    return _scores(found["results"] if found else {})


def _name(file: Path) -> str:
    """Name of the task in a YAML file. Raises ConfigError."""
    import re

    found = re.search(r"^task:\s*[\"']?([\w./-]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ConfigError(f"{file} names no task.", "It needs a line `task: NAME`.")
    return found[1]


def _scores(results: Mapping[str, Mapping[str, Any]]) -> list[Scored]:
    found = []
    for task, values in results.items():
        for metric, value in values.items():
            name, _, kind = metric.partition(",")
            if name.endswith("_stderr") or not isinstance(value, int | float) or not kind:
                continue
            error = values.get(f"{name}_stderr,{kind}")
            found.append(Scored(task, metric, float(value), error if isinstance(error, float) else None))
    return found
