"""Settings: where ft keeps things and how much that is, and the versions of what it runs on."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import DataTable, Label, Select, Static
from textual.worker import get_current_worker

from engine import paths
from engine.backend_spec import backend_packages
from engine.errors import FtError
from engine.hardware.probe import installed
from engine.housekeeping import automatic
from engine.housekeeping.disk import Meter
from screens.format import size
from screens.host import Host

PACKAGES = ("ft-studio", "textual", "tokenizers", "huggingface-hub", "keyring")
"""Distributions whose versions are shown beside those that backends need or use."""


@dataclass(frozen=True)
class Place:
    """A folder, and what is in it."""

    name: str
    folder: Path
    about: str


class Measured(Message):
    """Room of a folder on the disk, in bytes; None where there is no such folder."""

    def __init__(self, name: str, count: int | None) -> None:
        super().__init__()
        self.name = name
        self.count = count


class Places(Vertical):
    """The folders with their sizes, which are counted in the background each time they are shown."""

    BORDER_TITLE = "folders"

    def compose(self) -> ComposeResult:
        yield DataTable[Text | str](id="places", cursor_type="row")
        yield Static(id="place", classes="note", markup=False)
        yield Static(
            "FT_HOME moves all but the hub's cache, which HF_HOME moves. "
            "`ft storage` shows what is in them, `ft storage clean` what can go.",
            classes="note",
            markup=False,
        )
        with Horizontal(classes="choice"):
            yield Label("clean up")
            yield Select(
                [(when.replace("_", " "), when) for when in automatic.WHEN],
                value=automatic.load().when,
                allow_blank=False,
                id="clean",
            )

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        for title in ("folder", "size", "path", "what"):
            table.add_column(title, key=title)
        self.places = places()
        for place in self.places:
            table.add_row(place.name, "…", str(place.folder), Text(place.about, "dim"), key=place.name)

    @work(thread=True, exclusive=True, group="places")
    def measure(self) -> None:
        """Count the bytes, folder by folder."""
        worker = get_current_worker()
        for place in self.places:
            there = place.folder.is_dir()
            count = Meter().measure(place.folder, lambda: not worker.is_cancelled).bytes if there else None
            if worker.is_cancelled:
                return
            self.post_message(Measured(place.name, count))

    def on_measured(self, message: Measured) -> None:
        text = "not there" if message.count is None else size(message.count)
        self.query_one(DataTable).update_cell(message.name, "size", text, update_width=True)

    @on(Select.Changed, "#clean")
    def _clean(self, event: Select.Changed) -> None:
        """Keep the choice where the engine reads it; the age in the file stays."""
        now = automatic.load()
        when = next((one for one in automatic.WHEN if one == event.value), now.when)
        if when == now.when:
            return
        try:
            automatic.save(replace(now, when=when))
        except FtError as error:
            cast(Host, self.app).fail(error)

    def on_data_table_row_highlighted(self) -> None:
        """Say in full what the columns of a narrow terminal cut."""
        row = self.query_one(DataTable).cursor_row
        if 0 <= row < len(self.places):
            place = self.places[row]
            self.query_one("#place", Static).update(f"{place.folder}\n{place.about}")

    @property
    def chosen(self) -> str:
        """The path under the cursor."""
        row = self.query_one(DataTable).cursor_row
        return str(self.places[row].folder) if 0 <= row < len(self.places) else ""


class Versions(Vertical):
    """Versions for a bug report."""

    BORDER_TITLE = "versions"

    def compose(self) -> ComposeResult:
        self.text = "\n".join(f"{name:<16} {version}" for name, version in versions())
        yield Static(self.text, id="versions", markup=False)


def places() -> list[Place]:
    """All folders that ft writes to. The hub's is where its client keeps models."""
    from huggingface_hub import constants

    return [
        Place("home", paths.home(), "all files of ft"),
        Place("models", paths.models(), "the starter, and models that you put there"),
        Place("runs", paths.runs(), "run directories with their checkpoints"),
        Place("profiles", paths.profiles(), "your own recipes to start from"),
        Place("cache", paths.cache(), "safe to delete at any time"),
        Place("hub cache", Path(constants.HF_HUB_CACHE), "models from the hub, shared with other programs"),
    ]


def versions() -> Iterator[tuple[str, str]]:
    """Name and version; what is not installed is left out."""
    yield "system", f"{platform.system()} {platform.release()} {platform.machine()}"
    yield "python", platform.python_version()
    yield from installed((*PACKAGES, *backend_packages())).items()
