"""Driving the app in a test: wait for what a person would wait for, and read what is on the screen."""

from collections.abc import Callable
from typing import Any

from textual.app import App
from textual.pilot import Pilot

TRIES = 1500
"""At 10 ms each: far longer than anything takes, so that a slow machine fails no test."""


async def until(pilot: Pilot[Any], condition: Callable[[], object], what: str = "") -> None:
    """Let the app go on until the condition holds."""
    for _ in range(TRIES):
        if condition():
            return
        await pilot.pause(0.01)
    raise AssertionError(f"never: {what or condition}\n{shown(pilot.app)}")


def shown(app: App[Any]) -> str:
    """The screen as text, dialogs included."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)
