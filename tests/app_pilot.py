"""Drive the app in a test: wait, read what is on the screen, and freeze what a snapshot must not show."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot

from engine.hardware.monitor import Sample
from engine.hardware.probe import Machine

PATIENCE_S = 60.0
"""Far longer than anything takes, so that a slow machine fails no test."""

MACHINE = Machine(
    system="Linux",
    cpu="AMD EPYC 9B14",
    cores=8,
    ram_bytes=34_000_000_000,
    available_bytes=30_000_000_000,
    bf16=True,
    device="cpu",
    gpus=(),
    packages={"torch": "2.13.0", "transformers": "5.17.0", "peft": "0.21.2", "bitsandbytes": "0.50.2"},
)
NOW = 1_780_003_600.0
SAMPLE = Sample(
    t=NOW, cpu=0.25, memory_used=4_000_000_000, memory_total=34_000_000_000, disk_free=200_000_000_000
)


async def until(pilot: Pilot[Any], happened: Callable[[], Any], what: str = "") -> Any:
    """Wait, while the app goes on, for something to become true; returns it."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if found := happened():
            return found
        await pilot.pause(0.02)
    raise AssertionError(f"never: {what or happened}; in front is {pilot.app.screen!r}\n{shown(pilot.app)}")


def shown(app: App[Any]) -> str:
    """The screen as text, dialogs included."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def freeze(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same machine, and the same moment, for every picture."""

    class Clock:
        @staticmethod
        def time() -> float:
            return NOW

    class Still:
        def sample(self, engine_pid: int | None = None) -> Sample:
            return SAMPLE

    monkeypatch.setattr("engine.hardware.probe.probe", lambda: MACHINE)
    monkeypatch.setattr("screens.home.screen.time", Clock)
    monkeypatch.setattr("engine.hardware.monitor.Monitor", Still)
