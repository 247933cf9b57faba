"""Descriptor of a tracker, the registry of those that are installed, and following a run with one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from engine import plugins, secrets
from engine.errors import ConfigError
from engine.runs.directory.events import Event
from engine.runs.directory.run import Run


class Follower(Protocol):
    """Receives the events of one run, in their order."""

    def take(self, event: Event) -> None:
        """Report an event. After a resume, `Started.resumed_from` says from which step on earlier ones no longer
        hold."""
        ...

    def close(self) -> None:
        """Finish reporting. Called once, also where `take` has raised."""
        ...


@dataclass(frozen=True)
class Tracker:
    """Reports runs to another program. The value of an entry point in the group `ft.trackers`; its module is light."""

    name: str
    open: str | Callable[[Run, Mapping[str, Any]], Follower]
    """Begins to report a run, by the tracker's options: a callable, or `module:name` of one, imported when called."""
    secrets: tuple[str, ...] = ()
    """Names of the tokens that it needs. Those that are set are in the environment when it is opened, no others."""


def tracker_names() -> tuple[str, ...]:
    """Names of all trackers that are installed."""
    return tuple(sorted(plugins.installed(plugins.TRACKERS)))


def tracker_named(name: str) -> Tracker:
    """The tracker of a name. Raises ConfigError where there is none, MachineError where its package is broken."""
    if name not in plugins.installed(plugins.TRACKERS):
        names = ", ".join(tracker_names())
        raise ConfigError(
            f"There is no tracker {name!r}.",
            f"Installed: {names}." if names else "Install the package that brings it.",
        )
    return plugins.load_as(plugins.TRACKERS, name, Tracker)


def track(
    run: Run, tracker: Tracker, options: Mapping[str, Any], *, since: int = 0, follow: bool = True
) -> None:
    """Report a run's events, from the position `since` on, until its engine has ended; blocks until then.

    Needs only the run directory, so it works from any process, also for a run that ended long ago. Without `follow`,
    returns after the events that are there. Raises MachineError where a token that it needs is locked.
    """
    secrets.adopt(secrets.carried(tracker.secrets))
    follower = plugins.resolved(tracker.open)(run, options)
    try:
        for event in run.events(follow=follow, since=since):
            follower.take(event)
    finally:
        follower.close()
