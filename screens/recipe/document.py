"""The recipe in work: its file, its problems and its plan, and the threads' part of finding them. Holds no widget."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from textual.message import Message

from engine.config.form import values
from engine.config.load import load_text
from engine.config.problems import Place, Problem, RecipeError
from engine.config.recipe_paths import check_files
from engine.config.yaml_reader import Node, read_yaml
from engine.errors import ConfigError, FtError, OutOfMemoryError
from screens.format import place
from screens.messages import WentWrong
from screens.recipe.files import NAME, on_disk, read
from screens.recipe.unsaved import LeftBehind

if TYPE_CHECKING:
    from engine.planning.plan import Plan
    from engine.service.client import Client

EACH = re.compile(r"\n(?=[a-z]+\.[a-z_]+(?:\[\d+\])?: )")
"""Between two problems of a message: each starts with its key."""


@dataclass(frozen=True)
class Check:
    """A text's values and problems."""

    text: str
    values: Mapping[str, str] | None
    """By key, as YAML; None where the text is not YAML."""
    problems: tuple[Problem, ...]


def check(text: str, path: Path) -> Check:
    """Check a text that is, or would be, in the file `path`, and that the files it names exist."""
    try:
        said = values(text)
    except RecipeError as error:
        return Check(text, None, error.problems)
    try:
        config = load_text(text, path).config
    except RecipeError as error:
        return Check(text, said, error.problems)
    try:
        check_files(config)
    except FtError as error:
        return Check(text, said, tuple(_placed(one, text, path) for one in EACH.split(error.message)))
    return Check(text, said, ())


def _placed(message: str, text: str, path: Path) -> Problem:
    """`data.train: … does not exist` with its place in the text."""
    key = message.partition(": ")[0].partition("[")[0]
    beside: list[Problem] = []
    node: Node | None = read_yaml(text, str(path), beside)
    place = Place(str(path), 1, 1)
    for step in key.split("."):
        entry = node.value.get(step) if node is not None and isinstance(node.value, dict) else None
        node = entry.node if entry else None
        place = node.place if node else place
    return Problem(place, message, key)


def counted_problems(count: int) -> str:
    """`1 problem`, `2 problems`."""
    return "1 problem" if count == 1 else f"{count} problems"


class Opened(Message):
    """A recipe to edit. `in_file` is what its file holds, None where there is none; `number` that of the request.

    `left`: where the text comes from that an app had not saved.
    """

    def __init__(
        self,
        path: Path | None,
        in_file: str | None,
        text: str,
        number: int,
        left: LeftBehind | None = None,
    ) -> None:
        super().__init__()
        self.path = path
        self.in_file = in_file
        self.text = text
        self.number = number
        self.left = left


class NothingHere(Message):
    """The current folder has no recipe."""


class Checked(Message):
    """A text was checked. A newer one replaces an older one in the queue."""

    def __init__(self, check: Check) -> None:
        super().__init__()
        self.check = check

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Checked)


class Planned(Message):
    """The plan of a text."""

    def __init__(self, text: str, plan: "Plan") -> None:
        super().__init__()
        self.text = text
        self.plan = plan


class NotPlanned(Message):
    """A text cannot be planned, and why."""

    def __init__(self, text: str, error: FtError) -> None:
        super().__init__()
        self.text = text
        self.error = error


class RecipeDocument:
    """State of the recipe in work. Its text is the editor's, and is passed in."""

    def __init__(self) -> None:
        self.path: Path | None = None
        """The file; None for a text that has none yet."""
        self.in_file: str | None = None
        """The file's text as last read or written; None where there is no file."""
        self.unchanged = ""
        """The editor's text when it was last opened or saved."""
        self.problems: tuple[Problem, ...] = ()
        self.plan: Plan | None = None
        """The plan of the text as it is; None while there is none."""
        self._planned = ""
        """The text that the plan is of."""
        self.requests = 0
        """Requests to open something, so that a slow one does not replace a later one."""

    @property
    def place(self) -> Path:
        """Path of the text's file, or of the file it would go to: relative paths in it start at its folder."""
        return self.path or Path.cwd() / NAME

    @property
    def title(self) -> str:
        """Name of the file for people."""
        return place(self.path) if self.path else f"new {NAME}"

    def heading(self, text: str) -> str:
        """The title, and whether the text is saved."""
        return self.title + (" · new" if self.in_file is None else " · changed" if self.changed(text) else "")

    @property
    def loss(self) -> str:
        """Sentence about what is lost with a text that is not saved."""
        return f"Your changes in {self.title} are not saved and will be lost."

    def changed(self, text: str) -> bool:
        """True if the text is not saved."""
        return text != self.unchanged

    def open(self, message: Opened) -> None:
        """Take what was read from a file, before the editor has it."""
        self.path, self.in_file = message.path, message.in_file

    def save(self, path: Path, text: str) -> bool:
        """Take that the text is in this file now; returns True if that is in another folder."""
        moved = path.parent != self.place.parent
        self.path, self.in_file, self.unchanged = path, text, text
        return moved

    def take_check(self, found: Check) -> None:
        """Take the problems of the text as it is."""
        self.problems = found.problems
        if found.problems or found.text != self._planned:
            self.plan = None

    def refusal(self, found: Check) -> FtError | None:
        """The reason for which the checked text cannot be trained; None where it can."""
        if found.problems:
            what = f"Fix {counted_problems(len(found.problems))} first"
            return ConfigError(what, found.problems[0].message)
        if self.plan is not None and self.plan.fits == "no":
            advice = "; ".join(self.plan.advice) or "Use a smaller model, or quantise it."
            return OutOfMemoryError("This recipe does not fit in this machine's memory.", advice)
        return None

    def take_plan(self, message: Planned) -> None:
        """Take the plan of the text as it is."""
        self.plan, self._planned = message.plan, message.text


def read_recipe(
    path: Path | None,
    text: str | None,
    number: int,
    quietly: bool,
    left: LeftBehind | None,
    post: Callable[[Message], object],
) -> None:
    """Read a file and post `Opened`, `NothingHere` or `WentWrong`. Blocks.

    `text`, if given, is a change of the file that is not saved; `quietly`: a file that is missing is no error.
    """
    try:
        found = None
        if path is not None:
            path = path.expanduser().absolute()
            found = on_disk(path) if quietly or text is not None else read(path)
        if found is None and text is None:
            post(NothingHere())
        else:
            post(Opened(path, found, text if text is not None else found or "", number, left))
    except FtError as error:
        post(WentWrong(error))


def check_and_plan(
    text: str,
    path: Path,
    service: "Callable[[], Client]",
    post: Callable[[Message], object],
    cancelled: Event,
) -> None:
    """Post a text's problems and, where it has none, its plan, or why it cannot be planned. Blocks."""
    found = check(text, path)
    post(Checked(found))
    if found.problems or cancelled.is_set():
        return
    from engine.service.client import Cancelled

    try:
        post(Planned(text, service().plan(text, path, cancelled)))
    except Cancelled:
        return
    except FtError as error:
        post(NotPlanned(text, error))
