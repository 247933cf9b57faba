"""A table of runs, thousands if need be: only the lines that are seen are ever made."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.metrics.registry import EVAL_LOSS, describe
from engine.runs.index.summary import RunSummary
from engine.units import sparkline
from screens import format as show
from screens.run_row import SIGNS, status_of
from screens.runs.selection import NUMBERS, SLOTS, colour_of

KINDS = {
    "running": "good",
    "paused": "warn",
    "completed": "good",
    "stopped": "warn",
    "failed": "bad",
    "crashed": "bad",
    "new": "muted",
    "damaged": "bad",
}
"""Kind of style by status."""


@dataclass(frozen=True)
class Column:
    """A column: how wide, how wanted (less goes later), and a run's cell with its kind of style."""

    title: str
    width: int
    rank: int
    cell: Callable[[RunSummary, float], tuple[str, str]]
    right: bool = False


def _status(run: RunSummary, now: float) -> tuple[str, str]:
    status = status_of(run)
    return f"{SIGNS[status]} {status}" + (" !" if run.damaged and status != "damaged" else ""), KINDS[status]


def _steps(run: RunSummary, now: float) -> tuple[str, str]:
    state = run.state
    return (f"{state.step}/{state.total}" if state.total else show.MISSING, "")


def _best(run: RunSummary, now: float) -> tuple[str, str]:
    """Without its unit, which the column has no room for."""
    return show.score(replace(describe(run.state.best_metric), unit=""), run.state.best), ""


def _metric(run: RunSummary, now: float) -> tuple[str, str]:
    return (describe(run.state.best_metric).title if run.state.best is not None else "", "muted")


def _setting(key: str) -> Callable[[RunSummary, float], tuple[str, str]]:
    def cell(run: RunSummary, now: float) -> tuple[str, str]:
        value = run.config.get(key)
        return (
            show.MISSING if value is None else f"{value:g}" if isinstance(value, float) else str(value),
            "",
        )

    return cell


def _speed(run: RunSummary, now: float) -> tuple[str, str]:
    return (show.MISSING if run.tokens_per_s is None else f"{run.tokens_per_s:.0f}", "")


CURVE = Column("curve", 16, 5, lambda run, now: (sparkline(run.losses, 16), "curve"))
NAME = Column("name", 16, 0, lambda run, now: (run.name, ""))
METRIC = Column("metric", 15, 1, _metric)
"""Metric of the best value; a column only where it is not the validation loss of every run."""
COLUMNS = (
    Column("", 3, 0, lambda run, now: ("", "")),
    Column("status", 13, 0, _status),
    NAME,
    Column("began", 8, 2, lambda run, now: (show.ago(run.created, now).removesuffix(" ago"), "muted")),
    Column("steps", 9, 3, _steps, right=True),
    Column("loss", 7, 1, lambda run, now: (show.loss(run.state.loss), ""), right=True),
    Column("best", 7, 1, _best, right=True),
    METRIC,
    CURVE,
    Column("lr", 8, 6, _setting("training.learning_rate"), right=True),
    Column("tok/s", 6, 7, _speed, right=True),
    Column("rank", 5, 9, _setting("adapter.rank"), right=True),
    Column("tags", 12, 10, lambda run, now: (" ".join(run.tags), "muted")),
    Column("model", 20, 8, _setting("model.base")),
)
GAP = 2
NAME_MOST = 34


def layout(width: int, columns: Sequence[Column]) -> list[tuple[Column, int]]:
    """The columns that fit, each with its width; the name gets what is left, to a point, and then the curve."""
    shown = [column for column in columns if column.rank == 0]
    room = width - sum(column.width + GAP for column in shown)
    for column in sorted((c for c in columns if c.rank), key=lambda c: c.rank):
        if column.width + GAP <= room:
            shown.append(column)
            room -= column.width + GAP
    more = max(0, min(room, NAME_MOST - NAME.width))
    return [(c, c.width + (more if c is NAME else 0)) for c in columns if c in shown]


class RunsTable(ScrollView, can_focus=True):
    """Runs as lines with a cursor; some may be selected, each with a number and a colour that it keeps."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"runs-table--{kind}" for kind in ("header", "cursor", "muted", "good", "warn", "bad", "curve")
    }
    DEFAULT_CSS = """
    RunsTable { background: $surface; overflow-x: hidden; }
    RunsTable .runs-table--header { color: $text-muted; text-style: bold; background: $panel; }
    RunsTable .runs-table--cursor { background: $panel; }
    RunsTable:focus .runs-table--cursor { background: $primary-muted; text-style: bold; }
    RunsTable .runs-table--muted { text-style: dim; }
    RunsTable .runs-table--good { color: $text-success; }
    RunsTable .runs-table--warn { color: $text-warning; }
    RunsTable .runs-table--bad { color: $text-error; }
    RunsTable .runs-table--curve { color: $primary; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home,g", "move(-1000000)", "First", show=False),
        Binding("end,G", "move(1000000)", "Last", show=False),
    ]

    cursor: reactive[int] = reactive(0, repaint=False)

    class Moved(Message):
        """The cursor stands on another run, or on none."""

        def __init__(self, run: RunSummary | None) -> None:
            super().__init__()
            self.run = run

    class Opened(Message):
        """A run was clicked twice."""

        def __init__(self, run: RunSummary) -> None:
            super().__init__()
            self.run = run

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id)
        self.rows: Sequence[RunSummary] = ()
        self.columns: Sequence[Column] = ()
        self.slots: Mapping[str, int] = {}

    @property
    def run(self) -> RunSummary | None:
        """The run under the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    def show(self, rows: Sequence[RunSummary]) -> None:
        """Show these runs; the cursor stays on its run, or else near its place."""
        before = self.run
        self.rows = rows
        others = any(run.state.best_metric != EVAL_LOSS for run in rows if run.state.best is not None)
        self.columns = [column for column in COLUMNS if others or column is not METRIC]
        places = {run.id: place for place, run in enumerate(rows)} if before else {}
        at = places.get(before.id, self.cursor) if before else 0
        old, self.cursor = self.cursor, max(0, min(at, len(rows) - 1))
        self.virtual_size = Size(self.size.width, len(rows) + 1)
        if self.run is not before:
            self.post_message(self.Moved(self.run))
        if old != self.cursor:
            self._follow()
        self.refresh()

    def mark(self, slots: Mapping[str, int]) -> None:
        """Show which runs are selected, with their numbers from 0."""
        self.slots = slots
        self.refresh()

    def on_resize(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.rows) + 1)
        self._follow()

    def action_move(self, by: int) -> None:
        self._go(self.cursor + by)

    def action_page(self, pages: int) -> None:
        self._go(self.cursor + pages * max(1, self.size.height - 2))

    def on_click(self, event: events.Click) -> None:
        place = self.scroll_offset.y + event.y - 1
        if event.y == 0 or not 0 <= place < len(self.rows):
            return
        self._go(place)
        if event.chain == 2:
            self.post_message(self.Opened(self.rows[place]))

    def render_line(self, y: int) -> Strip:
        columns, width = layout(self.size.width, self.columns), self.size.width
        if y == 0:
            style = self.get_component_rich_style("runs-table--header")
            titles = [_fitted(column.title, room, column.right) for column, room in columns]
            return Strip([Segment((" " * GAP).join(titles), style)]).adjust_cell_length(width, style)
        place = self.scroll_offset.y + y - 1
        if place >= len(self.rows):
            return Strip.blank(width, self.rich_style)
        base = self.rich_style
        if place == self.cursor:
            base += self.get_component_rich_style("runs-table--cursor", partial=True)
        return Strip(self._cells(self.rows[place], columns, base)).adjust_cell_length(width, base)

    def _cells(self, run: RunSummary, columns: list[tuple[Column, int]], base: Style) -> list[Segment]:
        now, slot = time.time(), self.slots.get(run.id)
        segments = self._mark(slot, base)
        for column, room in columns[1:]:
            text, kind = column.cell(run, now)
            style = base
            if kind:
                style += self.get_component_rich_style(f"runs-table--{kind}", partial=True)
            segments += [
                Segment(_fitted(show.one_line(text, 200), room, column.right), style),
                Segment(" " * GAP, base),
            ]
        return segments

    def _mark(self, slot: int | None, base: Style) -> list[Segment]:
        """A bar in the colour of the run's line, and its number in that of all text."""
        width = COLUMNS[0].width + GAP
        if slot is None:
            return [Segment(" " * width, base)]
        if slot >= SLOTS:
            return [Segment(_fitted(" +", width, False), base)]
        bar = Segment("▌", base + Style(color=colour_of(slot), bold=True))
        return [bar, Segment(_fitted(NUMBERS[slot], width - 1, False), base)]

    def _go(self, place: int) -> None:
        place = max(0, min(place, len(self.rows) - 1))
        if place != self.cursor and self.rows:
            self.cursor = place
            self._follow()
            self.refresh()
            self.post_message(self.Moved(self.run))

    def _follow(self) -> None:
        """Scroll so that the cursor is seen; by force, for more rows get their scrollbar only with the next layout."""
        seen = max(1, self.size.height - 1)
        top = self.scroll_offset.y
        if self.cursor < top:
            self.scroll_to(y=self.cursor, animate=False, force=True)
        elif self.cursor >= top + seen:
            self.scroll_to(y=self.cursor - seen + 1, animate=False, force=True)


def _fitted(text: str, width: int, right: bool) -> str:
    """Text in exactly so many columns, cut with `…`."""
    size = cell_len(text)
    if size > width:
        return set_cell_size(text, max(0, width - 1)) + "…"
    return " " * (width - size) + text if right else text + " " * (width - size)
