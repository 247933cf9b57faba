"""Evaluations of a run, over the list: scores, differences, and the rows to page through."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from rich.console import Group
from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import DataTable, Static
from textual.worker import get_current_worker

from engine.evaluation.files import REPORT, RESULT, ROWS
from engine.metrics.registry import describe
from engine.runs.directory import registry
from engine.runs.directory.run import Run
from engine.runs.index.made_of import jobs_of
from engine.runs.index.summary import RunSummary
from screens import format as show
from screens.actions import bindings
from screens.use.scores import scores_of
from screens.widgets.keys import Keys

OURS, THEIRS = "model", "against"
"""The two sides of an evaluation, as its files call them."""
NONE = """\
This run has not been evaluated by itself yet.

  [b]escape[/b], [b]u[/b], [b]evaluate[/b]   scores it, on its validation rows or others
  [b]ft evaluate[/b]          does the same in a terminal"""
UNFINISHED = """\
This evaluation has no result.

  [b]escape[/b], [b]enter[/b]   shows how far it is, or why it ended"""
LONGEST = 4000
"""Characters of a prompt or an answer that are shown."""
WIDTH = 200
"""Characters of a prompt in the list; the terminal shows as many as fit."""
END = 60
"""Characters that are shown of the end of a text."""
EXACT = "exact_match"
"""The metric that says right or wrong of a row."""


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation, as its files have it."""

    folder: Path
    created: float | None
    """Unix seconds."""
    result: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]

    @staticmethod
    def read(run: Run) -> "Evaluation":
        """The files of an evaluation's run. Raises OSError or ValueError where they are not there, or damaged."""
        result = json.loads((run.folder / RESULT).read_text(encoding="utf-8"))
        lines = (run.folder / ROWS).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        if not isinstance(result, dict) or not all(isinstance(row, dict) for row in rows):
            raise ValueError(f"{run.folder} holds no evaluation")
        return Evaluation(run.folder, registry.started_at(run.id), result, rows)

    def gap(self, row: Mapping[str, Any]) -> float:
        """Distance of the two models' scores in a row, by the metric that the evaluation compares rows by."""
        sides = (row.get("scores") or {}).get(self.result.get("differ_by")) or {}
        return abs(sides[OURS] - sides[THEIRS]) if sides.keys() >= {OURS, THEIRS} else 0.0


def evaluations_of(run: RunSummary) -> list[Evaluation]:
    """The finished evaluations of a training, or the one that `run` is, newest first. Blocks."""
    of = Run(run.folder, run.id)
    found = []
    for job in [of] if run.kind == "evaluate" else jobs_of(of, "evaluate"):
        with suppress(OSError, ValueError):  # not finished, or of an earlier version: scores without rows
            found.append(Evaluation.read(job))
    return found[::-1]


class Read(Message):
    """The evaluations are read."""

    def __init__(self, found: list[Evaluation]) -> None:
        super().__init__()
        self.found = found


class EvaluationsSheet(ModalScreen[None]):
    """One evaluation at a time: its metrics above, its rows below, the row under the cursor in full."""

    BINDINGS: ClassVar[list[BindingType]] = bindings("evaluations")
    DEFAULT_CSS = """
    EvaluationsSheet { align: center middle; }
    EvaluationsSheet #evaluations { width: 98%; max-width: 150; height: 94%; padding: 0 1; }
    EvaluationsSheet #evaluations { background: $surface; border: round $primary; }
    EvaluationsSheet #scores { height: auto; max-height: 40%; overflow-y: auto; }
    EvaluationsSheet #both { height: 1fr; border-top: solid $panel; border-title-color: $text-muted; }
    EvaluationsSheet DataTable { width: 2fr; height: 1fr; overflow-x: hidden; }
    EvaluationsSheet VerticalScroll { width: 3fr; height: 1fr; padding: 0 0 0 1; border-left: solid $panel; }
    EvaluationsSheet #row { height: auto; }
    EvaluationsSheet.-narrow #evaluations { width: 100%; height: 1fr; }
    EvaluationsSheet.-narrow #both { layout: vertical; }
    EvaluationsSheet.-narrow DataTable { width: 1fr; height: 5; }
    EvaluationsSheet.-narrow VerticalScroll {
        width: 1fr; padding: 0; border-left: none; border-top: solid $panel;
    }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-medium")]  # noqa: RUF012 - Textual's own

    def __init__(self, run: RunSummary) -> None:
        super().__init__()
        self.run = run
        self.found: list[Evaluation] = []
        self.here = 0
        self.by_difference = False
        """True if the rows that differ most come first."""

    def compose(self) -> ComposeResult:
        with Vertical(id="evaluations") as box:
            box.border_title = f"evaluations of {self.run.name}"
            yield Static("Reading …", id="scores")
            with Horizontal(id="both"):
                yield DataTable[Text](cursor_type="row", show_header=False, zebra_stripes=False)
                with VerticalScroll(can_focus=False):
                    yield Static(id="row")
        yield Keys()

    def on_mount(self) -> None:
        self.query_one("#both").display = False
        self.query_one(DataTable).add_columns("", "")
        self._read()

    @work(thread=True, exclusive=True, exit_on_error=False)
    def _read(self) -> None:
        found = evaluations_of(self.run)
        if not get_current_worker().is_cancelled:
            self.post_message(Read(found))

    def on_read(self, message: Read) -> None:
        self.found = message.found
        if self.found:
            self.query_one("#both").display = True
            self.query_one(DataTable).focus()
            self._show()
        else:
            self.query_one("#scores", Static).update(UNFINISHED if self.run.kind == "evaluate" else NONE)

    def action_older(self) -> None:
        self._turn(1)

    def action_newer(self) -> None:
        self._turn(-1)

    def _turn(self, by: int) -> None:
        if 0 <= self.here + by < len(self.found):
            self.here += by
            self._show()

    def action_order(self) -> None:
        if self.found and self._evaluation.result.get("against"):
            self.by_difference = not self.by_difference
            self._show()
        else:
            self.notify("Rows differ only where two models are compared: evaluate against base.")

    def action_report(self) -> None:
        if self.found:
            self.notify(str(self._evaluation.folder / REPORT), title="The same as a page for a browser")

    def action_close(self) -> None:
        self.dismiss()

    @property
    def _evaluation(self) -> Evaluation:
        return self.found[self.here]

    @property
    def _names(self) -> dict[str, str]:
        """Names of the models by side."""
        result = self._evaluation.result
        return {OURS: str(result.get("model")), THEIRS: str(result.get("against"))}

    @property
    def _rows(self) -> Sequence[Mapping[str, Any]]:
        evaluation = self._evaluation
        if not self.by_difference:
            return evaluation.rows
        return sorted(evaluation.rows, key=evaluation.gap, reverse=True)

    def _show(self) -> None:
        evaluation = self._evaluation
        self.query_one(
            "#evaluations"
        ).border_subtitle = f"{self.here + 1} of {len(self.found)}, {show.ago(evaluation.created)}"
        order = ", the rows that differ most first" if self.by_difference else ""
        self.query_one("#both").border_title = f"rows{order}{self._legend()}"
        self.query_one("#scores", Static).update(Group(*scores_of(evaluation.result)))
        table = self.query_one(DataTable)
        table.clear()
        for row in self._rows:
            table.add_row(_marks(row), _first_words(row))
        self._show_row(0)

    def _legend(self) -> str:
        """Meaning of the signs before the rows, where any row has them."""
        judged = [row for row in self._evaluation.rows if (row.get("scores") or {}).get(EXACT)]
        if not judged:
            return ""
        sides = [name for side, name in self._names.items() if side in judged[0]["scores"][EXACT]]
        return f" · ✓ ✗ the expected answer: {', '.join(sides)}"

    @on(DataTable.RowHighlighted)
    def _moved(self, event: DataTable.RowHighlighted) -> None:
        self._show_row(event.cursor_row)

    def _show_row(self, number: int) -> None:
        rows = self._rows
        if number < len(rows):
            self.query_one("#row", Static).update(row_text(rows[number], self._names))
            self.query_one(VerticalScroll).scroll_home(animate=False)


def row_text(row: Mapping[str, Any], names: Mapping[str, str]) -> Text:
    """A row in full: question, expected answer, the answers by name of the model, scores, the prompt as it was read."""
    text = Text()
    answers, prompt = row.get("answers") or {}, str(row.get("prompt"))
    asked = str(row.get("asked") or prompt)
    parts = {"question" if answers else "text": asked, "expected": row.get("reference")}
    parts |= {names.get(side, side): said for side, said in answers.items()}
    for title, said in parts.items():
        text.append(f"{title}\n", "bold").append(f"{str(said)[:LONGEST].strip()}\n\n")
    for name, sides in (row.get("scores") or {}).items():
        values = ", ".join(
            f"{names[side]} {describe(name).written(sides[side])}" for side in (OURS, THEIRS) if side in sides
        )
        text.append(f"{describe(name).title}  ", "dim").append(f"{values}\n")
    if row.get("where"):
        text.append(f"{row['where']}\n", "dim")
    if prompt != asked:
        text.append("\nthe prompt as the model read it\n", "bold").append(prompt[:LONGEST].strip(), "dim")
    return text


def _first_words(row: Mapping[str, Any]) -> Text:
    """The question in one line; of a row that only has a loss, the end of its text, since such begin alike."""
    asked = show.one_line(str(row.get("asked") or row.get("prompt")), LONGEST)
    if not row.get("answers") and len(asked) > END:
        asked = f"…{asked[-END:]}"
    return Text(asked[:WIDTH], no_wrap=True)


def _marks(row: Mapping[str, Any]) -> Text:
    """A sign for the row: right, wrong, or neither where no answer is expected to be the very same."""
    sides = (row.get("scores") or {}).get(EXACT) or {}
    return Text("".join("✓" if sides[side] else "✗" for side in (OURS, THEIRS) if side in sides) or "·")
