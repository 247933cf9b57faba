"""Verdict on the text: its problems, its plan, or that it is being planned, in the panes and their names."""

from typing import TYPE_CHECKING

from textual.timer import Timer

from engine.errors import FtError
from screens.base import FtScreen
from screens.recipe.document import counted_problems
from screens.recipe.plan_view import PlanView
from screens.widgets.panes import Panes

if TYPE_CHECKING:
    from engine.planning.plan import Plan

SLOW_S = 0.4
"""A plan that takes longer is announced; before that, the one before stays."""
FITS = {"yes": "✔ fits", "tight": "▲ tight", "no": "✖ too large"}


class Verdict:
    """Says it on the screen that has the plan's pane and the names of the panes."""

    def __init__(self, screen: FtScreen) -> None:
        self._screen = screen
        self._slow: Timer | None = None

    def checked(self, problems: int) -> None:
        """The text has so many problems; with none, its plan is to come."""
        self._panes.say("text", f"✖ {problems}" if problems else "")
        self._no_longer_slow()
        if problems:
            self._plan.note(f"✖ Fix {counted_problems(problems)} to see the plan.", old=True)
            self._panes.say("plan", "")
        else:
            self._slow = self._screen.set_timer(SLOW_S, self._say_slow)

    def planned(self, plan: "Plan") -> None:
        """The text has a plan."""
        self._no_longer_slow()
        self._plan.show(plan)
        self._panes.say("plan", FITS[plan.fits])

    def not_planned(self, error: FtError) -> None:
        """The text cannot be planned."""
        self._no_longer_slow()
        self._plan.fail(error)
        self._panes.say("plan", "✖")

    @property
    def _plan(self) -> PlanView:
        return self._screen.query_one(PlanView)

    @property
    def _panes(self) -> Panes:
        return self._screen.query_one(Panes)

    def _say_slow(self) -> None:
        self._plan.note("… planning")
        self._panes.say("plan", "…")

    def _no_longer_slow(self) -> None:
        if self._slow is not None:
            self._slow.stop()
