"""Kinds of jobs, each a module here that is imported when a run of that kind is done.

A module has `run(context) -> str`, which returns the reason of the `finished` event. It may have `clean_up(run)`, which
removes what an engine that was killed has left half done; `needed_secrets(run)`, the names of the tokens without which
the job may fail; and `useful_secrets(run)`, of those that it may do without. The engine is given these and no others.
"""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

from engine.errors import ConfigError
from engine.jobs.base import JobContext
from engine.runs.directory.run import Run

KINDS = ("train", "evaluate", "export", "serve", "download", "push")


def job(kind: str) -> Callable[[JobContext], str]:
    """The job of that kind. Raises ConfigError where there is none."""
    run: Callable[[JobContext], str] = _module(kind).run
    return run


def clean_up(run: Run) -> None:
    """Remove what the engine of a run has left half done; for when it is gone."""
    if run.kind in KINDS and (remove := getattr(_module(run.kind), "clean_up", None)):
        remove(run)


def needed_secrets(run: Run) -> tuple[str, ...]:
    """Names of the tokens without which a run of another kind than training may fail."""
    return _names(run, "needed_secrets")


def useful_secrets(run: Run) -> tuple[str, ...]:
    """Names of the tokens that a run of another kind than training may use, and need not have."""
    return _names(run, "useful_secrets")


def _names(run: Run, which: str) -> tuple[str, ...]:
    names: Callable[[Run], tuple[str, ...]] | None = getattr(_module(run.kind), which, None)
    return names(run) if names else ()


def _module(kind: str) -> ModuleType:
    if kind not in KINDS:
        raise ConfigError(
            f"There is no job of the kind {kind!r}.",
            f"There are {', '.join(KINDS)}. The run may be of a later version of ft.",
        )
    return import_module(f"engine.jobs.{kind}")
