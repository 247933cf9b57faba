"""Every metric there is: ft's own, and those that other packages bring by the entry point group `ft.metrics`."""

from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from engine import plugins
from engine.errors import FtError
from engine.metrics import evaluation, source_file
from engine.metrics.base import Metric
from engine.metrics.training import METRICS, PREFERENCE

EVAL_LOSS = "eval_loss"
"""Name of the validation loss, which every evaluation reports."""


@cache
def own() -> Mapping[str, Metric]:
    """ft's own metrics by name: those of steps, and one a module of `engine.metrics.evaluation`."""
    modules = [
        import_module(f"{evaluation.__name__}.{found.name}") for found in iter_modules(evaluation.__path__)
    ]
    return {metric.name: metric for metric in (*METRICS, *PREFERENCE, *(module.METRIC for module in modules))}


def computed() -> tuple[str, ...]:
    """Names of ft's own metrics that a recipe can ask for, in order."""
    return tuple(sorted(name for name, metric in own().items() if metric.compute is not None))


def reported() -> tuple[str, ...]:
    """Names of the metrics that training methods of ft report, without being asked for them."""
    return tuple(metric.name for metric in PREFERENCE)


def known() -> tuple[str, ...]:
    """Names of all metrics that can be asked for, those of other packages last."""
    return (*computed(), *plugins.installed(plugins.METRICS))


def load(name: str) -> Metric:
    """The metric of that name, or of a Python file's path, to be computed.

    Raises MachineError where a package does not bring its metric, ConfigError where a file has none.
    """
    if source_file.names_file(name):
        return source_file.load_file(Path(name))
    if name in own():
        return own()[name]
    return plugins.load_as(plugins.METRICS, name, Metric)


@lru_cache(maxsize=256)
def describe(name: str) -> Metric:
    """The metric of that name, to be shown: a plain number where it is not known here. Never raises."""
    if name in own() or name in plugins.installed(plugins.METRICS):
        try:
            return load(name)
        except FtError:
            pass  # recorded elsewhere, or its package is broken here: the number is still one
    return Metric(name)


def written(name: str, value: float) -> str:
    """`exact_match 12.5%`: title and value as a person reads them."""
    metric = describe(name)
    return f"{metric.title} {metric.written(value)}"
