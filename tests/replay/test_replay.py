"""Every way of training gives the plan, the rows, the tokens and the losses that it gave when it was recorded.

In fp32 the losses of two machines agree closely; bits agree only between two versions of ft on one machine, which is
what `make replay BASE=…` compares. A change that is meant to change a run records it anew:
`python -m tests.replay --record`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.hardware.probe import cpu_has_bf16
from tests.replay.__main__ import RECORDED, ROOT
from tests.replay.recipes import REPLAYS
from tests.replay.record import record

pytestmark = pytest.mark.slow
Events = Sequence[Mapping[str, Any]]
CLOSE: dict[str, dict[str, float]] = {
    "loss": {"abs": 1e-4},
    "grad_norm": {"rel": 1e-2},
    "perplexity": {"rel": 1e-3},
    "metrics": {"rel": 1e-3},
}
"""Tolerances of numbers, in the units of the event; all others have to be equal."""


@pytest.mark.parametrize("name", REPLAYS)
def test_a_run_is_as_it_was_recorded(name: str, tmp_path: Path) -> None:
    if name == "qlora" and not cpu_has_bf16():
        pytest.skip("bitsandbytes multiplies 4-bit weights otherwise where the CPU has bf16 instructions")
    before = json.loads((RECORDED / f"{name}.json").read_text())
    now = record(ROOT, REPLAYS[name], tmp_path).portable()
    assert now["plan"] == before["plan"]
    assert list(now["tokens"]) == before["tokens"], "other rows, in another order, or other tokens of them"
    assert now["weights"] == before["weights"], "other files"
    assert_the_same(now["events"], before["events"])


def assert_the_same(now: Events, before: Events) -> None:
    """Compare the portable part of two runs' events, and see that nothing is left unsaid."""
    for event, recorded in zip(portable(now), portable(before), strict=True):
        for key, value in recorded.items():
            due = pytest.approx(value, **CLOSE[key]) if key in CLOSE else value
            assert event[key] == due, f"{key} of {recorded}"
    assert warnings(before) <= warnings(now), "nothing is said any more of what happened"


def portable(events: Events) -> list[Mapping[str, Any]]:
    """Events without those that tell of the machine, and without texts, where a near tie may make another word."""
    return [event for event in events if event["type"] not in ("warning", "phase", "sample")]


def warnings(events: Events) -> set[str]:
    """Warnings of a run; a small or busy machine may add some."""
    return {event["message"] for event in events if event["type"] == "warning"}
