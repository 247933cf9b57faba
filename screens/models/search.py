"""Live search of the hub: what is typed is looked for, and what each model fits here is filled in as it arrives."""

from pathlib import Path
from typing import ClassVar, cast

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widgets import DataTable, Input, Static

from engine.errors import FtError
from engine.models.search import SORTS, Found, Query, Sort, named
from engine.models.shape import ModelShape
from engine.models.sizing import by_formula, shape_of
from engine.planning.ways import METHODS, TYPICAL_TOKENS
from screens.host import Host
from screens.models.asking import Answered, Asking, Measure, Sized
from screens.models.found import (
    WIDTHS,
    Fits,
    Places,
    about,
    cells,
    columns_for,
    fit_cells,
    merged,
    suits,
    titled,
)

PAUSE_S = 0.3
"""Seconds without a key after which the hub is asked."""
PLACEHOLDER = "words of a model's name, or a short name, as mistral-7b; empty lists the most used"
FILTERS: tuple[str | None, ...] = (None, *METHODS)
NOTHING = "No model of the hub suits."
SEARCHING = "searching …"


class HubSearch(Vertical):
    """A line to type in, the models found, and more about the one under the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("down", "to_list", show=False)]

    def __init__(self) -> None:
        super().__init__(id="search")
        self.is_open = False
        self.places = Places()
        self.asked: Query | None = None
        """The last search of the hub; None where there is none."""
        self.answered = True
        """False while the hub owes the answer to it."""
        self.method: str | None = None
        """Only models are shown that can be trained so, or of which that is not known yet."""
        self.order: Sort = "downloads"
        self._known: list[Found] = []
        self._found: list[Found] = []
        self._fits: dict[str, Fits] = {}
        self._asking: Asking | None = None
        self._pause: Timer | None = None

    def compose(self) -> ComposeResult:
        with Horizontal(id="search-line"):
            yield Static("/", id="search-slash")
            yield Input(placeholder=PLACEHOLDER, id="query", compact=True)
            yield Static(id="search-state")
        yield Static(id="search-problem", markup=False)
        yield DataTable[Text](id="found", cursor_type="row", zebra_stripes=False, cell_padding=0)
        yield Static(id="about", markup=False)

    def on_mount(self) -> None:
        self.query_one("#found").border_title = f"hub · fits for rows of {TYPICAL_TOKENS} tokens"

    def on_unmount(self) -> None:
        self._drop()

    # Opened and closed

    def open(self) -> None:
        """Put the cursor into the line; where nothing was looked for yet, look for the most used models."""
        self.is_open = True
        self.query_one(Input).focus()
        if self.asked is None and self._pause is None:
            self._known = named("")
            self._wait()

    def close(self) -> None:
        """Drop the search that is under way, and what was found."""
        self._drop()
        self.is_open = False
        self.asked, self.answered = None, True
        self._known, self._found, self._fits = [], [], {}
        self.query_one("#query", Input).value = ""

    def action_to_list(self) -> None:
        self.query_one("#found").focus()

    # Asking

    @on(Input.Changed, "#query")
    def _typed(self, event: Input.Changed) -> None:
        event.stop()
        if not self.is_open:
            return
        words = event.value.strip().lower()
        self._known = named(words)
        self._found = [one for one in self._found if words in one.name.lower()]
        self._wait()

    @on(Input.Submitted, "#query")
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        if self._pause is not None:
            self.ask()
        self.query_one("#found").focus()

    def ask(self) -> None:
        """Ask the hub for what the line says now; an answer to anything before is dropped."""
        self._drop()
        text = self.query_one("#query", Input).value.strip()
        self._known, self._fits = named(text), {}
        self.asked, self.answered = Query(text, sort=self.order), False
        self.query_one("#search-problem").display = False
        self._asking = Asking(self.asked, self._known, measure_with(cast(Host, self.app)), self.post_message)
        self._show()

    def _wait(self) -> None:
        """Ask once nothing more is typed for a moment; until then what is known already is shown."""
        self._drop()
        self._pause = self.set_timer(PAUSE_S, self.ask)
        self._show()

    def _drop(self) -> None:
        if self._pause is not None:
            self._pause.stop()
            self._pause = None
        if self._asking is not None:
            self._asking.leave()
            self._asking = None

    @on(Answered)
    def _take_answer(self, message: Answered) -> None:
        message.stop()
        if message.query is not self.asked:
            return
        self.answered, self._found = True, list(message.found)
        error = message.error
        if error is not None and not isinstance(error, FtError):
            raise error
        if error is not None or not self.models:
            self._say(error)
        self._show()

    @on(Sized)
    def _take_fits(self, message: Sized) -> None:
        message.stop()
        if message.query is not self.asked:
            return
        self._fits[message.name] = message.fits
        if not suits(self._fits, message.name, self.method):
            self._show()
            return
        table = self.query_one("#found", DataTable)
        if message.name in table.rows:
            for method, cell in fit_cells(message.name, self._fits, self.app.theme_variables).items():
                table.update_cell(message.name, method, cell)
        self._show_state()
        if self.chosen is not None and self.chosen.name == message.name:
            self._show_about()

    # Filter and order

    def next_filter(self) -> None:
        """Show all, or those alone that fit one way to train."""
        self.method = FILTERS[(FILTERS.index(self.method) + 1) % len(FILTERS)]
        self._show()

    def next_order(self) -> None:
        """Ask for the next order."""
        self.order = cast(Sort, SORTS[(SORTS.index(self.order) + 1) % len(SORTS)])
        self.ask()

    # What is shown

    @property
    def models(self) -> list[Found]:
        """The models in the list."""
        every = merged(self._known, self._found)
        return [one for one in every if suits(self._fits, one.name, self.method)]

    @property
    def chosen(self) -> Found | None:
        """The model under the cursor."""
        table = self.query_one("#found", DataTable)
        models = {one.name: one for one in self.models}
        if not table.is_valid_row_index(table.cursor_row):
            return None
        return models.get(str(table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value))

    def fits(self, name: str) -> Fits:
        """What one of the models found fits; None where it is not known, or not yet."""
        return self._fits.get(name)

    def place(self, places: Places) -> None:
        """Mark what is on this machine, and what is on its way to it."""
        if places != self.places:
            self.places = places
            self._show()

    def on_resize(self) -> None:
        self._show()

    def _show(self) -> None:
        if not self.is_open:
            return
        table = self.query_one("#found", DataTable)
        chosen, colours = self.chosen, self.app.theme_variables
        columns, room = columns_for(self.size.width)
        models = self.models
        table.clear(columns=True)
        for column in columns:
            table.add_column(titled(column), width=WIDTHS.get(column, room) + 1, key=column)
        for one in models:
            table.add_row(*cells(one, self._fits, self.places, columns, room, colours), key=one.name)
        names = [one.name for one in models]
        if chosen is not None and chosen.name in names:
            table.move_cursor(row=names.index(chosen.name), animate=False)
        self._show_state()
        self._show_about()

    def _show_state(self) -> None:
        """Order, filter and count on the right of the line; what is still to come below the list."""
        parts = [f"by {self.order}"] + ([f"fits {self.method}"] if self.method else [])
        models = self.models
        parts.append(f"{len(models)} model{'s' if len(models) != 1 else ''}")
        self.query_one("#search-state", Static).update(" · ".join(parts))
        open_ = sum(one.name not in self._fits for one in models)
        table = self.query_one("#found", DataTable)
        coming = f"{open_} config{'s are' if open_ > 1 else ' is'} on the way" if open_ else ""
        pausing = self._pause is not None
        table.border_subtitle = SEARCHING if pausing or not self.answered else coming

    @on(DataTable.RowHighlighted, "#found")
    def _moved(self) -> None:
        self._show_about()

    def _show_about(self) -> None:
        chosen = self.chosen
        text = about(chosen, self._fits, self.places) if chosen is not None else Text("")
        self.query_one("#about", Static).update(text)

    def _say(self, error: FtError | None) -> None:
        """Say above the list why the hub has given nothing."""
        line = Text(NOTHING) if error is None else Text(error.message.strip(), self._error_style)
        if error is not None and error.hint:
            line.append(f" {error.hint}", "dim")
        problem = self.query_one("#search-problem", Static)
        problem.update(line)
        problem.display = True

    @property
    def _error_style(self) -> str:
        colour = self.app.theme_variables.get("text-error", "")
        return colour if colour.startswith("#") else "bold"


def measure_with(host: Host) -> Measure:
    """Sizes models by formula here, and others in the service process, because that may load transformers."""

    def measure(folder: Path) -> ModelShape:
        return shape_of(folder) if by_formula(folder) else host.service().shape(folder)

    return measure
