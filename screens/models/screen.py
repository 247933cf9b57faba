"""Models: what is on this machine, whether it can be trained here, and more from the hub."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import DataTable, Input, Static

from engine.errors import ConfigError, FtError
from engine.jobs.download import Download
from engine.models import catalogue, starter
from engine.models.catalogue import Entry
from engine.models.hub import refuse_gated
from engine.models.names import expanded
from engine.planning.feasibility import Fit, better_in_4_bits
from engine.planning.trainability import Model, TrainableModels
from engine.storage.disk_errors import explained
from screens.base import FtScreen
from screens.format import size
from screens.intents import EditRecipe
from screens.messages import RunsChanged, WentWrong
from screens.models.details import COLUMNS, cells, facts, load_text, memory
from screens.models.downloads import LOOK_S, Pull, PullLine, under_way
from screens.models.found import Places
from screens.models.search import HubSearch
from screens.recipe.files import NAME, read
from screens.widgets.confirm import Confirm

if TYPE_CHECKING:
    from engine.runs.index.index import RunSummary

SHORTEST_NAME, LONGEST_NAME = 16, 44
OTHER_COLUMNS, ARCHITECTURE_WIDTH, DETAILS_WIDTH = 70, 14, 76
"""Columns that the list needs beside a model's name, those of them for the architecture, and the details' width."""
SIDE_BY_SIDE = 116
"""Columns from which facts and memory have room beside each other."""
ADD = "hub id (OWNER/NAME), short name, or a model's folder"


class ModelsListed(Message):
    """The models as they are now."""

    def __init__(self, models: tuple[Model, ...]) -> None:
        super().__init__()
        self.models = models


class ModelsScreen(FtScreen):
    """The list above, the chosen model below (beside it where there is room), a download between them."""

    SCOPE = "models"
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "#models"

    def __init__(self) -> None:
        super().__init__()
        self.models: tuple[Model, ...] = ()
        self.pull: Pull | None = None
        self._line = PullLine(
            id="pull"
        )  # held, because the following of a download may outlive the mounted widgets
        self.search = HubSearch()
        self._trainable = TrainableModels()
        self._chosen: str | None = None

    def body(self) -> Iterable[Widget]:
        yield self._line
        yield Input(placeholder=ADD, id="add")
        yield self.search
        with Vertical(id="panes"):
            yield DataTable[object](id="models", cursor_type="row", zebra_stripes=False)
            with VerticalScroll(id="details", can_focus=True), Horizontal(id="columns"):
                yield Static(id="facts", markup=False)
                yield Static(id="memory", markup=False)

    def on_mount(self) -> None:
        table = self.query_one("#models", DataTable)
        table.border_title = "models"
        table.loading = True
        self.query_one("#memory").border_title = load_text()
        self.query_one("#facts").border_title = "model"

    def on_screen_resume(self) -> None:
        self.list_models()

    def on_resize(self) -> None:
        self.query_one("#columns").set_class(self.size.width < SIDE_BY_SIDE, "-stacked")
        if self.models:
            self.call_after_refresh(self._show_list)

    # What is there

    @work(thread=True, exclusive=True, group="list")
    def list_models(self) -> None:
        """Read what there is, away from the loop."""
        try:
            self.post_answer(ModelsListed(self._trainable.list()))
        except FtError as error:
            self.post_message(WentWrong(error))
        except OSError as error:
            self.post_message(WentWrong(explained(error)))

    def on_models_listed(self, message: ModelsListed) -> None:
        self.models = message.models
        self._place()
        self.query_one("#models").loading = False
        self._show_list()

    def _show_list(self) -> None:
        table = self.query_one("#models", DataTable)
        narrow = self.has_class("-narrow")
        colours = self.app.theme_variables
        taken = OTHER_COLUMNS - ARCHITECTURE_WIDTH * narrow + DETAILS_WIDTH * self.has_class("-wide")
        room = max(SHORTEST_NAME, min(LONGEST_NAME, self.size.width - taken))
        chosen = self._chosen
        table.clear(columns=True)
        for title in COLUMNS:
            if not (narrow and title == "architecture"):
                table.add_column(title, key=title)
        for model in self.models:
            table.add_row(*cells(model, narrow, room, colours), key=model.entry.base)
        keys = [model.entry.base for model in self.models]
        if chosen in keys:
            table.move_cursor(row=keys.index(chosen), animate=False)
        on_disk = sum(model.entry.bytes for model in self.models)
        table.border_title = f"models · {len(self.models)}"
        table.border_subtitle = f"{size(on_disk)} on disk" if on_disk else "a downloads one from the hub"
        self._show_details()

    @on(DataTable.RowHighlighted, "#models")
    def _row_changed(self, event: DataTable.RowHighlighted) -> None:
        if event.row_key is not None and event.row_key.value is not None:
            self._chosen = event.row_key.value
            self._show_details()
            self.refresh_bindings()

    @property
    def chosen(self) -> Model | None:
        """The model under the cursor."""
        return next((model for model in self.models if model.entry.base == self._chosen), None)

    def _show_details(self) -> None:
        model = self.chosen
        if model is None:
            return
        self.query_one("#facts").border_title = Content(model.entry.name)
        self.query_one("#facts", Static).update(facts(model))
        self.query_one("#memory", Static).update(memory(model, self.app.theme_variables))

    # Fetching

    def action_pull(self) -> None:
        if self.searching:
            self._pull_found()
            return
        model = self.chosen
        if model is None:
            return
        if model.entry.state == "ready" and model.entry.source != "hub":
            self.notify(f"{model.entry.name} is already on this machine.")
            return
        self.fetch(model.entry.name)

    def action_add(self) -> None:
        box = self.query_one("#add", Input)
        box.add_class("-open")
        box.focus()

    @on(Input.Submitted, "#add")
    def _typed(self, event: Input.Submitted) -> None:
        name = event.value.strip()
        self._close_add()
        try:
            name = expanded(name)
        except FtError as error:
            self.host.fail(error)
            return
        if name:
            self.fetch(name)

    def _close_add(self) -> None:
        box = self.query_one("#add", Input)
        box.value = ""
        box.remove_class("-open")
        self.query_one("#models").focus()

    def fetch(self, name: str) -> None:
        """Have a run fetch a model, or follow the one that does already; one at a time."""
        download = Download(name)
        if self.pull is None:
            self._take_up(Pull(download))
        elif self.pull.download == download:
            self.notify(f"{name} is already downloading.")
        else:
            hint = "Wait for it to finish, or cancel it; what is downloaded is kept."
            self.host.fail(ConfigError(f"{self.pull.name} is still downloading.", hint))

    def on_runs_changed(self, message: RunsChanged) -> None:
        found = [run for run in message.runs if run.alive and run.kind == "download"]
        if found and self.pull is None:
            self._find(found)

    @work(exclusive=True, group="find")
    async def _find(self, runs: "Sequence[RunSummary]") -> None:
        """Follow a download that an earlier app or a terminal has started."""
        pull = await asyncio.to_thread(under_way, runs)
        if pull is not None and self.pull is None:
            self._take_up(pull)

    def _take_up(self, pull: Pull) -> None:
        self.pull = pull
        self._place()
        self._line.begin(pull.name)
        self.refresh_bindings()
        self._follow(pull)

    @work(group="pull")
    async def _follow(self, pull: Pull) -> None:
        """Show how far a download is until it has ended. The end of the app ends the following alone."""
        reason, failure = "", None
        try:
            await asyncio.to_thread(pull.begin)
            while pull.alive:
                phase = await asyncio.to_thread(pull.look)
                if phase is not None and not pull.stopping:
                    self._line.tell(phase.note, phase.done or 0, phase.total or 0, phase.t)
                await asyncio.sleep(LOOK_S)
            reason = await asyncio.to_thread(pull.end)
        except FtError as error:
            failure = error
        except OSError as error:
            failure = explained(error)
        self.pull = None
        self._place()
        self._line.end()
        self.refresh_bindings()
        if failure is not None:
            self.host.fail(failure)
        elif reason == "stopped":
            self.notify(f"Cancelled {pull.name}; what is downloaded is kept for the next time.")
        else:
            self.notify(f"{pull.name} is ready.")
            self._chosen = self._chosen if Path(pull.name).exists() else pull.name
        self.list_models()

    def action_cancel(self) -> None:
        if self.pull is not None:
            self.pull.stopping = True
            self._line.update("cancelling …")

    # The hub

    @property
    def searching(self) -> bool:
        """True while the search takes the place of the list."""
        return self.has_class("-searching")

    def action_search(self) -> None:
        self.add_class("-searching")
        self.search.open()
        self.refresh_bindings()

    def action_close(self) -> None:
        if self.query_one("#add").has_class("-open"):
            self._close_add()
            return
        self.search.close()
        self.remove_class("-searching")
        self.query_one("#models").focus()
        self.refresh_bindings()

    def action_fits(self) -> None:
        self.search.next_filter()

    def action_order(self) -> None:
        self.search.next_order()

    def _pull_found(self) -> None:
        found = self.search.chosen
        if found is None:
            return
        if found.name in self.search.places.here:
            self.notify(f"{found.name} is already on this machine.")
            return
        try:
            if found.gated:
                refuse_gated(found.name)
        except FtError as error:
            self.host.fail(error)
            return
        self.fetch(found.name)

    def _place(self) -> None:
        """Let the search know what is here, and what is downloaded."""
        here = frozenset(model.entry.name for model in self.models if model.entry.state == "ready")
        self.search.place(Places(here, self.pull.name if self.pull else None))

    @on(DataTable.RowSelected, "#found")
    def _found_selected(self) -> None:
        self._pull_found()

    # Using and removing

    def action_use(self) -> None:
        entry, fits = (self.chosen.entry, self.chosen.fits) if self.chosen else (None, ())
        if self.searching:
            found = self.search.chosen
            entry = Entry(found.name, "absent", None, 0, source="hub") if found else None
            fits = (self.search.fits(found.name) or ()) if found else ()
        if entry is None:
            return
        try:
            path, text = recipe_for(entry, fits)
        except FtError as error:
            self.host.fail(error)
            return
        self.host.open(EditRecipe(path, text))

    @on(DataTable.RowSelected, "#models")
    def _row_selected(self) -> None:
        self.action_use()

    @work(exclusive=True, group="delete")
    async def action_delete(self) -> None:
        model = self.chosen
        if model is None or not self._removable(model):
            return
        entry = model.entry
        again = "p creates it again." if entry.source == "starter" else "It can be downloaded again."
        details = f"{entry.folder}\n{size(entry.bytes)}. {again}"
        if entry.source == "folder" and entry.folder is not None:
            linked = entry.folder.is_symlink()
            details = f"{entry.folder}\n" + ("A link; its target stays." if linked else size(entry.bytes))
        if not await self.app.push_screen_wait(
            Confirm(f"Delete {entry.name} from this disk?", "Delete", details)
        ):
            return
        try:
            await asyncio.to_thread(catalogue.remove, entry)
        except FtError as error:
            self.host.fail(error)
        else:
            self.notify(f"Deleted {entry.name}.")
        self.list_models()

    def action_reload(self) -> None:
        if self.searching:
            self.search.ask()
        self.list_models()

    def _removable(self, model: Model) -> bool:
        busy = self.pull is not None and self.pull.name == model.entry.name
        return model.entry.folder is not None and not busy

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Only what can be done now is shown and done."""
        if action == "cancel":
            return self.pull is not None
        if action == "close":
            return self.searching or (self.is_mounted and self.query_one("#add").has_class("-open"))
        if action in ("fits", "order"):
            return self.searching
        if action == "add":
            return not self.searching
        if action == "search":
            return not (self.searching and isinstance(self.focused, Input))
        if action == "delete":
            return not self.searching and self.chosen is not None and self._removable(self.chosen)
        return super().check_action(action, parameters)


def recipe_for(entry: Entry, fits: Sequence[Fit]) -> tuple[Path | None, str]:
    """This folder's train.yml with another model in it, not saved; where there is none, a profile, which has no file,
    in 4 bits where this machine needs that.

    Raises FtError where the recipe cannot be read, or not be changed in place.
    """
    from engine.config.patch import remove, set_value
    from engine.config.profiles import profile_text

    path = Path(NAME).absolute()
    if path.is_file():
        return path, set_value(remove(read(path), "model.revision"), "model.base", entry.base)
    text = profile_text("starter" if entry.name == starter.NAME else "instruction")
    text = set_value(text, "model.base", entry.base)
    return None, set_value(text, "model.quantization", "4bit") if better_in_4_bits(fits) else text
