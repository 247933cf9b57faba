"""Dialogs of the Recipe screen: a file's path, a profile, the difference to the file."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import get_current_worker

MOST = 200
"""Files listed at most."""


class Difference(ModalScreen[None]):
    """Changes that would be saved, line by line: - is in the file, + in the text."""

    DEFAULT_CSS = """
    Difference { align: center middle; }
    Difference #sheet {
        width: 110; max-width: 96%; height: auto; max-height: 90%;
        padding: 0 1; background: $panel; border: round $primary; border-title-style: bold;
    }
    Difference VerticalScroll { height: auto; }
    Difference Static { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,d,f4,enter", "close", "close")]

    def __init__(self, title: str, before: str, after: str) -> None:
        super().__init__()
        self.heading = title
        self.before = before
        self.after = after

    def compose(self) -> ComposeResult:
        with Vertical(id="sheet") as sheet:
            sheet.border_title = self.heading
            sheet.border_subtitle = "esc closes"
            with VerticalScroll():
                yield Static(Content("\n").join(difference_lines(self.before, self.after)))

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()

    def action_close(self) -> None:
        self.dismiss(None)


def difference_lines(before: str, after: str) -> list[Content]:
    """A unified diff in the theme's colours; one line saying so where there is none."""
    styles = {"+": "$text-success", "-": "$text-error", "@": "$text-muted"}
    found = list(difflib.unified_diff(before.splitlines(), after.splitlines(), n=2, lineterm=""))[2:]
    lines = [Content.styled(line, styles.get(line[:1], "")) for line in found]
    if lines:
        return lines
    if before == after:
        return [Content("No changes: the text is the same as in the file.")]
    return [Content("Only line breaks differ from the file.")]


class ProfileList(OptionList):
    """The profiles to start from, each with what it is for."""

    DEFAULT_CSS = """
    ProfileList, ProfileList:focus {
        height: auto; max-height: 16; border: none; padding: 0; background: transparent;
    }
    """

    class Found(Message):
        """The profiles there are: name and summary."""

        def __init__(self, profiles: Sequence[tuple[str, str]]) -> None:
            super().__init__()
            self.profiles = profiles

    def on_mount(self) -> None:
        self.look()

    @work(thread=True, exclusive=True, group="profiles")
    def look(self) -> None:
        """Read the profiles again; a person's own may have come."""
        from engine.config.profiles import profile_names, profile_summary
        from engine.errors import FtError

        found = []
        for name in profile_names():
            try:
                found.append((name, profile_summary(name)))
            except (FtError, OSError) as error:
                found.append((name, f"cannot be read: {error}"))
        if not get_current_worker().is_cancelled:
            self.post_message(self.Found(found))

    def on_profile_list_found(self, message: Found) -> None:
        width = max((len(name) for name, _ in message.profiles), default=0)
        self.clear_options()
        for name, summary in message.profiles:
            row = Table.grid(padding=(0, 2, 0, 0))
            row.add_column(width=width, style="bold")
            row.add_column()
            row.add_row(Text(name), Text(summary))
            self.add_option(Option(row, id=name))
        self.highlighted = 0


class PickProfile(ModalScreen[str | None]):
    """Choice of the profile to start from; None if none."""

    DEFAULT_CSS = """
    PickProfile { align: center middle; }
    PickProfile Vertical {
        width: 100; max-width: 96%; height: auto; max-height: 90%;
        padding: 0 1; background: $panel; border: round $primary; border-title-style: bold;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "close", "close")]

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = "Start from a profile"
            box.border_subtitle = "enter chooses it · esc closes"
            yield ProfileList()

    @on(OptionList.OptionSelected)
    def _taken(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)

    def action_close(self) -> None:
        self.dismiss(None)


class AskPath(ModalScreen[Path | None]):
    """A file's name, typed or chosen below; None if none. Relative names start at the current folder."""

    DEFAULT_CSS = """
    AskPath { align: center middle; }
    AskPath Vertical {
        width: 80; max-width: 96%; height: auto; max-height: 90%;
        padding: 0 1; background: $panel; border: round $primary; border-title-style: bold;
    }
    AskPath OptionList, AskPath OptionList:focus {
        height: auto; max-height: 12; border: none; padding: 0; background: transparent;
    }
    AskPath Static { color: $text-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "close"),
        Binding("down", "list", "list", show=False),
    ]

    class Listed(Message):
        """Recipes near what is typed."""

        def __init__(self, paths: Sequence[str]) -> None:
            super().__init__()
            self.paths = paths

    def __init__(self, question: str, proposal: str, existing: bool, hint: str = "") -> None:
        """With `existing`, the recipes of the folder that is typed are listed to choose from."""
        super().__init__()
        self.question = question
        self.proposal = proposal
        self.existing = existing
        self.hint = hint

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = Content(self.question)
            box.border_subtitle = "enter chooses it · esc closes"
            yield Input(self.proposal)
            if self.hint:
                yield Static(self.hint, markup=False)
            if self.existing:
                yield OptionList(markup=False)

    def on_mount(self) -> None:
        if self.existing:
            self.look(self.proposal)

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        if self.existing:
            self.look(event.value)

    @work(thread=True, exclusive=True, group="files")
    def look(self, typed: str) -> None:
        """List the recipes in the folder that is typed."""
        worker = get_current_worker()
        found = []
        for path in _recipes_in(_folder(typed)):
            found.append(path)
            if worker.is_cancelled or len(found) == MOST:
                break
        if not worker.is_cancelled:
            self.post_message(self.Listed(sorted(found)))

    def on_ask_path_listed(self, message: Listed) -> None:
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(Option(Content(path), id=path) for path in message.paths)
        options.display = bool(message.paths)

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        typed = event.value.strip()
        self.dismiss(Path(typed).expanduser().absolute() if typed else None)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(Path(str(event.option_id)).expanduser().absolute())

    def action_list(self) -> None:
        if self.existing and self.query_one(OptionList).option_count:
            self.query_one(OptionList).focus()

    def action_close(self) -> None:
        self.dismiss(None)


def _folder(typed: str) -> Path:
    try:
        path = Path(typed or ".").expanduser()
        return path if path.is_dir() else path.parent
    except (OSError, RuntimeError, ValueError):  # no such home, or no such path can be
        return Path()


def _recipes_in(folder: Path) -> Iterator[str]:
    """YAML files of a folder; none where it cannot be read."""
    try:
        for path in folder.iterdir():
            if path.suffix in (".yml", ".yaml") and not path.name.startswith("."):
                yield str(path)
    except OSError:
        return
