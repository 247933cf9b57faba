"""Rows of the source that is shown: what is known of them, and the threads that ask for more."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from textual.message import Message
from textual.worker import get_current_worker

from engine.data.preview.values import Lengths, Opened, RowView, View
from engine.errors import FtError
from engine.service.client import Cancelled, Client
from screens.base import FtScreen
from screens.datasets.sources import Shown, files_of, looking_through, recipe_for
from screens.messages import WentWrong

LOOK_S = 0.2
"""Seconds between two requests for the progress of counting."""
Part = Literal["source", "row", "raw row", "words", "lengths", "search"]
"""Kinds of requests, each with a worker of its own."""
RECIPE = Path("train.yml")
"""The recipe in the working folder."""


class RowBrowser:
    """State of Datasets. Asks the inference service in threads of the screen's, which post the messages below to it.

    A newer request of a kind takes the place of the one before.
    """

    class Sources(Message):
        """The sources to choose from, and the model that their rows are shown for."""

        def __init__(self, shown: Shown) -> None:
            super().__init__()
            self.shown = shown

    class Counted(Message):
        """A source is open, and its rows are counted so far."""

        def __init__(self, source: str, opened: Opened) -> None:
            super().__init__()
            self.source, self.opened = source, opened

    class Rows(Message):
        """Rows that were asked for: first words for the list, or the one row in full."""

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
        """A request failed."""

        def __init__(self, source: str, part: Part, error: FtError) -> None:
            super().__init__()
            self.source, self.part, self.error = source, part, error

    def __init__(self, screen: FtScreen) -> None:
        self._screen = screen
        self.shown = Shown()
        """The sources to choose from."""
        self.source = ""
        """The source that is shown."""
        self.opened: Opened | None = None
        self.lengths: Lengths | None = None
        self.words = ""
        """The text searched for last."""

    @property
    def view(self) -> View:
        """All that the tokens of the source's rows depend on."""
        return self.shown.view_of(self.source)

    def problem_rows(self) -> set[int]:
        """Rows, from 0, of the sample's problems."""
        if self.lengths is None:
            return set()
        found = {row for row, _ in self.lengths.problems}
        return found | {row for finding in self.lengths.findings for row in finding.rows}

    def read_sources(self) -> None:
        """List the sources, and post them as `Sources`."""
        own = self._screen.host.preferences.datasets
        self._in_thread("sources", lambda: self.Sources(looking_through(RECIPE, own)))

    def find(self, text: str) -> None:
        """Find the files that a person named, and post them as `Found`."""
        self._in_thread("add", lambda: self.Found(files_of(text)))

    def write_recipe(self) -> None:
        """Write a recipe that trains on the source, and post it as `Written`."""
        source = self.source
        self._in_thread("use", lambda: self.Written(recipe_for(source, RECIPE)))

    def _in_thread(self, group: str, find: Callable[[], Message]) -> None:
        def work() -> None:
            try:
                self._screen.post_answer(find())
            except FtError as error:
                self._screen.app.post_message(WentWrong(error))

        self._screen.run_worker(work, thread=True, exclusive=True, group=group)

    def open(self, source: str) -> None:
        """Show another source: post `Counted` until all its rows are counted."""
        self.source, self.opened, self.lengths = source, None, None
        self._ask("open", "source", self._count)

    def read_row(self, row: int, raw: bool) -> None:
        """Read a row in full, and post it as `Rows`."""
        self._ask("row", "raw row" if raw else "row", partial(self._row, row, raw))

    def read_words(self, rows: tuple[int, ...]) -> None:
        """Read the first words of rows, and post them as `Rows`."""
        self._ask("words", "words", partial(self._words, rows))

    def read_lengths(self) -> None:
        """Tokenise a sample of the rows, and post it as `Sampled`."""
        self._ask("lengths", "lengths", self._lengths)

    def search(self, words: str, start: int) -> None:
        """Search for the next row with these words, and post it as `Hit`."""
        self.words = words
        self._ask("search", "search", partial(self._search, words, start))

    def stop_searching(self) -> None:
        """Give up a search."""
        self._screen.workers.cancel_group(self._screen, "search")

    def _ask(self, group: str, part: Part, request: Callable[[str, View], None]) -> None:
        """Run a request in a thread; a failure is posted as `Refused`, to be shown where the answer would be."""
        source, view = self.source, self.view

        def work() -> None:
            try:
                request(source, view)
            except Cancelled:
                return
            except FtError as error:
                self._screen.post_answer(self.Refused(source, part, error))

        self._screen.run_worker(work, thread=True, exclusive=True, group=group)

    # Requests; each runs in a thread

    def _service(self) -> Client:
        return self._screen.host.service()

    def _count(self, source: str, view: View) -> None:
        stop, opened = get_current_worker().cancelled_event, None
        while opened is None or opened.counting is not None:
            opened = self._service().rows(source, view, stop)
            self._screen.post_answer(self.Counted(source, opened))
            if opened.counting is not None:
                stop.wait(LOOK_S)

    def _row(self, row: int, raw: bool, source: str, view: View) -> None:
        stop = get_current_worker().cancelled_event
        rows = self._service().preview(source, [row], view, "raw" if raw else "tokens", stop)
        self._screen.post_answer(self.Rows(source, rows, whole=True))

    def _words(self, rows: tuple[int, ...], source: str, view: View) -> None:
        found = self._service().preview(source, rows, view, "brief", get_current_worker().cancelled_event)
        self._screen.post_answer(self.Rows(source, found, whole=False))

    def _lengths(self, source: str, view: View) -> None:
        found = self._service().lengths(source, view, get_current_worker().cancelled_event)
        self._screen.post_answer(self.Sampled(source, found))

    def _search(self, words: str, start: int, source: str, view: View) -> None:
        row = self._service().find(source, words, start, view, get_current_worker().cancelled_event)
        self._screen.post_answer(self.Hit(source, words, row))
