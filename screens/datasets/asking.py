"""What Datasets asks, each in a thread of its own, and the messages that bring the answers."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from textual import work
from textual.message import Message
from textual.worker import get_current_worker

from engine.data.preview.values import Lengths, Opened, RowView, View
from engine.errors import FtError
from engine.service.client import Cancelled
from screens.base import FtScreen
from screens.datasets.sources import Shown, files_of, looking_through, recipe_for
from screens.messages import WentWrong

LOOK_S = 0.2
"""How often it is asked how far counting is."""
Part = Literal["source", "row", "raw row", "words", "lengths", "search"]
"""What is asked for, each by a worker of its own."""
RECIPE = Path("train.yml")
"""The recipe at hand, in the working folder."""


class DataAsking(FtScreen):
    """A screen that asks the warm child for rows. A newer question of a kind takes the place of the one before."""

    class Sources(Message):
        """The files that there are to look at, and how they are looked at."""

        def __init__(self, shown: Shown) -> None:
            super().__init__()
            self.shown = shown

    class Counted(Message):
        """A source is open, its rows counted as far as it says."""

        def __init__(self, source: str, opened: Opened) -> None:
            super().__init__()
            self.source, self.opened = source, opened

    class Rows(Message):
        """Rows that were asked for: words for the list, or the one row in full."""

        def __init__(self, source: str, rows: list[RowView], whole: bool) -> None:
            super().__init__()
            self.source, self.rows, self.whole = source, rows, whole

    class Sampled(Message):
        """The lengths of a sample."""

        def __init__(self, source: str, lengths: Lengths) -> None:
            super().__init__()
            self.source, self.lengths = source, lengths

    class Found(Message):
        """The files that a person named."""

        def __init__(self, files: list[str]) -> None:
            super().__init__()
            self.files = files

    class Written(Message):
        """A recipe that trains on the file."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Hit(Message):
        """The row that was searched for; None where there is none."""

        def __init__(self, source: str, words: str, row: int | None) -> None:
            super().__init__()
            self.source, self.words, self.row = source, words, row

    class Refused(Message):
        """A part of what was asked for cannot be had."""

        def __init__(self, source: str, part: Part, error: FtError) -> None:
            super().__init__()
            self.source, self.part, self.error = source, part, error

    @work(thread=True, exclusive=True, group="sources")
    def read_sources(self) -> None:
        """Look which files there are, and which model looks at them."""
        self.post_answer(self.Sources(looking_through(RECIPE, self.host.preferences.datasets)))

    @work(thread=True, exclusive=True, group="open")
    def open(self, source: str, view: View) -> None:
        """Open a source, and tell how far counting its rows is until they are all counted."""
        worker = get_current_worker()

        def look() -> None:
            opened = None
            while opened is None or opened.counting is not None:
                opened = self.host.service().rows(source, view, worker.cancelled_event)
                self.post_answer(self.Counted(source, opened))
                if opened.counting is not None:
                    worker.cancelled_event.wait(LOOK_S)

        self._asked(source, "source", look)

    @work(thread=True, exclusive=True, group="row")
    def read_row(self, source: str, row: int, view: View, raw: bool) -> None:
        """Read the row under the cursor in full."""
        stop = get_current_worker().cancelled_event
        how = "raw" if raw else "tokens"

        def look() -> None:
            rows = self.host.service().preview(source, [row], view, how, stop)  # type: ignore[arg-type]
            self.post_answer(self.Rows(source, rows, whole=True))

        self._asked(source, "raw row" if raw else "row", look)

    @work(thread=True, exclusive=True, group="words")
    def read_words(self, source: str, rows: tuple[int, ...], view: View) -> None:
        """Read the words of the rows in sight."""
        stop = get_current_worker().cancelled_event

        def look() -> None:
            found = self.host.service().preview(source, rows, view, "brief", stop)
            self.post_answer(self.Rows(source, found, whole=False))

        self._asked(source, "words", look)

    @work(thread=True, exclusive=True, group="lengths")
    def read_lengths(self, source: str, view: View) -> None:
        """Tokenise a sample."""
        stop = get_current_worker().cancelled_event

        def look() -> None:
            self.post_answer(self.Sampled(source, self.host.service().lengths(source, view, stop)))

        self._asked(source, "lengths", look)

    @work(thread=True, exclusive=True, group="search")
    def search_rows(self, source: str, words: str, start: int, view: View) -> None:
        """Search for the next row that holds the words."""
        stop = get_current_worker().cancelled_event

        def look() -> None:
            row = self.host.service().find(source, words, start, view, stop)
            self.post_answer(self.Hit(source, words, row))

        self._asked(source, "search", look)

    @work(thread=True, exclusive=True, group="add")
    def find(self, text: str) -> None:
        """Find the files that a person named."""
        try:
            self.post_answer(self.Found(files_of(text)))
        except FtError as error:
            self.app.post_message(WentWrong(error))

    @work(thread=True, exclusive=True, group="use")
    def write_recipe(self, source: str) -> None:
        """Make the recipe that trains on a file."""
        try:
            self.post_answer(self.Written(recipe_for(source, RECIPE)))
        except FtError as error:
            self.app.post_message(WentWrong(error))

    def _asked(self, source: str, part: Part, look: Callable[[], None]) -> None:
        """Run what asks the child; what it refuses is shown where the answer would be."""
        try:
            look()
        except Cancelled:
            return
        except FtError as error:
            self.post_answer(self.Refused(source, part, error))
