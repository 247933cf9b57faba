"""What the Recipe screen's workers tell it."""

from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

from engine.errors import FtError
from screens.recipe.document import Check

if TYPE_CHECKING:
    from engine.planning.plan import Plan
    from screens.recipe.unsaved import LeftBehind


class Opened(Message):
    """A recipe to edit. `in_file` is what its file holds, None where there is none; `number` that of the wish.

    `left`: where the text comes from that an app had not saved.
    """

    def __init__(
        self,
        path: Path | None,
        in_file: str | None,
        text: str,
        number: int,
        left: "LeftBehind | None" = None,
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
    """What a text says and what is wrong with it. A newer one replaces an older one in the queue."""

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
    """Why a text cannot be planned."""

    def __init__(self, text: str, error: FtError) -> None:
        super().__init__()
        self.text = text
        self.error = error
