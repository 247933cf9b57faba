"""The plan of a recipe: whether it fits, memory by part, steps, time, and why."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from textual import events
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.errors import FtError
from screens.format import count, duration, size

if TYPE_CHECKING:
    from engine.planning.plan import Plan

VERDICTS = {
    "yes": ("✔ fits", "bold $text-success"),
    "tight": ("▲ tight, may just fit", "bold $text-warning"),
    "no": ("✖ does not fit", "bold $text-error"),
}
NAME, AMOUNT = 13, 8
"""Columns of a part's name and of its size."""
MUTED = "$foreground 65%"
DETAILS = frozenset({"accumulation", "weights", "attention"})
"""Lines of a plan that `ft plan` alone shows."""
Part = tuple[str, str] | str


class PlanView(VerticalScroll):
    """The plan pane. The last plan stays until there is another; a note above says what is the matter with it."""

    DEFAULT_CSS = """
    PlanView { padding: 0 1; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    PlanView > Static { height: auto; }
    PlanView > #plan-note { margin-bottom: 1; display: none; }
    PlanView.-noted > #plan-note { display: block; }
    PlanView.-old > .plan { opacity: 50%; }
    PlanView:focus { background-tint: $foreground 4%; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.plan: Plan | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="plan-note")
        yield Static(id="plan", classes="plan")
        yield Static(id="plan-choices", classes="plan")

    def show(self, plan: "Plan") -> None:
        """A plan of the text as it is."""
        self.plan = plan
        self.note("")
        self._draw()

    def forget(self) -> None:
        """No plan: the text is another."""
        self.plan = None
        self._draw()

    def note(self, text: str, old: bool = False) -> None:
        """A line above the plan; `old` says that the plan below is not of the text as it is."""
        self._say(Content(text), old)

    def fail(self, error: FtError) -> None:
        """Reason why the text cannot be planned."""
        parts: list[Part] = [("✖ This cannot be planned.", "bold $text-error"), f"\n{error.message}"]
        if error.hint:
            parts.append((f"\n{error.hint}", MUTED))
        self._say(Content.assemble(*parts), old=True)

    def _say(self, note: Content, old: bool) -> None:
        there = self.query_one("#plan-note", Static)
        if note != there.content:
            there.update(note)
        self.set_class(bool(note), "-noted")
        self.set_class(old, "-old")

    def on_resize(self, event: events.Resize) -> None:
        self._draw()

    def _draw(self) -> None:
        """Show the plan; what stays as it is is not drawn again, for that is most of it while somebody types."""
        width = self.scrollable_content_region.width or 40
        for name, described in (("#plan", numbers), ("#plan-choices", choices)):
            shown, there = (
                Content("\n").join(described(self.plan, width) if self.plan else ()),
                self.query_one(name, Static),
            )
            if shown != there.content:
                there.update(shown, layout=len(shown.wrap(width)) != there.size.height)


def numbers(plan: "Plan", width: int) -> Iterator[Content]:
    """Return True if it fits, memory by part, steps and time, in lines for a pane `width` columns wide."""
    words, style = VERDICTS[plan.fits]
    peak = plan.memory.peak_bytes
    yield Content.assemble((words, style), f": {size(peak)} of {size(plan.limit_bytes)}")
    yield _bar("", peak / max(plan.limit_bytes, 1), width, style, over=plan.fits == "no")
    yield Content("")
    parts = plan.memory.parts
    most = max(*parts.values(), 1)
    for name, amount in parts.items():
        bar = "█" * math.ceil(max(width - NAME - AMOUNT - 1, 1) * amount / most)
        yield Content.assemble((f"{name:<{NAME}}", MUTED), f"{size(amount):>{AMOUNT}} ", (bar, "$primary"))
    yield Content("")
    time = (
        "time unknown"
        if plan.estimate.seconds is None
        else f"about {duration(max(plan.estimate.seconds, 1))}"
    )
    yield Content.assemble((f"{count(plan.steps)} steps, {time}", "bold"))
    for line in plan.advice:
        yield Content.assemble(("→ ", "$text-warning"), line)
    for notice in plan.warnings:
        yield Content.assemble(("! ", "$text-warning"), f"{notice.message} ", (notice.hint, MUTED))


def choices(plan: "Plan", width: int) -> Iterator[Content]:
    """The choices with their reasons."""
    for name, chosen, why in (line for line in plan.lines() if line.name not in DETAILS):
        yield Content("")
        yield Content.assemble((f"{name} ", MUTED), (chosen, "bold"))
        yield Content.assemble((why, MUTED))


def _bar(label: str, share: float, width: int, style: str, over: bool) -> Content:
    """A share of the limit as a bar over the whole width; more than all of it ends in ▶."""
    cells = max(width, 1)
    full = min(cells, math.ceil(cells * share))
    filled = "█" * (full - 1) + "▶" if over else "█" * full
    return Content.assemble(label, (filled, style), ("░" * (cells - full), MUTED))
