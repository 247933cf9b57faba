"""A metric in a Python file of the person's own: one `METRIC`, or a function `score(answer, reference)`."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from engine.errors import ConfigError
from engine.metrics.base import Metric, Results, Statistics


def names_file(name: str) -> bool:
    """Return True where a metric is named by the path of a file."""
    return name.endswith(".py")


def load_file(path: Path) -> Metric:
    """The metric of a file; one made of `score` is named as the file, and higher is better.

    The file is run: it is the person's own code. Raises ConfigError where it is not there, does not run, or has
    neither.
    """
    module = _module(path)
    metric = getattr(module, "METRIC", None)
    if isinstance(metric, Metric) and metric.compute is not None:
        return metric
    score = getattr(module, "score", None)
    if not callable(score):
        raise ConfigError(
            f"{path} has neither METRIC nor score.",
            "Write `def score(answer: str, reference: str) -> float`, or METRIC = engine.metrics.base.Metric(…).",
        )
    return Metric.of_rows(path.stem, _rows(path, score), "an expected answer", better="higher")


def _rows(path: Path, score: Callable[[str, str], float]) -> Callable[[Results], list[Statistics | None]]:
    def rows(results: Results) -> list[Statistics | None]:
        assert results.answers is not None
        found: list[Statistics | None] = []
        for answer, reference in zip(results.answers, results.references, strict=True):
            try:
                found.append((float(score(answer, reference)), 1.0))
            except Exception as error:  # a person's own code may fail in any way
                message = f"{path}: score({answer[:60]!r}, {reference[:60]!r}) failed: {type(error).__name__}: {error}"
                raise ConfigError(message, "It has to return a number for every answer.") from error
        return found

    return rows


def _module(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(
            f"{path}: no such file.", "A metric of your own is a Python file: --metrics ./mine.py"
        )
    spec = importlib.util.spec_from_file_location(f"ft_metric_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a person's own code may fail in any way
        raise ConfigError(
            f"{path} does not run: {type(error).__name__}: {error}",
            "Correct it, or leave it out of --metrics.",
        ) from error
    return module
