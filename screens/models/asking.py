"""One search of the hub for the Models screen: it asks in threads of its own, and posts what arrives.

The threads are daemons, not Textual's workers: the app would wait at its end for an answer that a silent hub owes.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from textual.message import Message

from engine.models.search import Found, Query, search, shapes
from engine.models.shape import ModelShape
from screens.models.found import Fits

Measure = Callable[[Path], ModelShape]


class Answered(Message):
    """The hub has answered a search, or `error` says why not."""

    def __init__(self, query: Query, found: tuple[Found, ...], error: Exception | None = None) -> None:
        super().__init__()
        self.query = query
        self.found = found
        self.error = error


class Sized(Message):
    """It is known what a model fits."""

    def __init__(self, query: Query, name: str, fits: Fits) -> None:
        super().__init__()
        self.query = query
        self.name = name
        self.fits = fits


class Asking:
    """A search under way. After `leave` nothing is posted any more, and no further config is asked for."""

    def __init__(
        self, query: Query, known: Sequence[Found], measure: Measure, post: Callable[[Message], object]
    ) -> None:
        """`known` are models that are sized while the hub is asked; `measure` is that of `shapes`."""
        self._query = query
        self._known = tuple(known)
        self._measure = measure
        self._send = post
        self._left = threading.Event()
        for task in (self._ask, lambda: self._size(self._known)):
            threading.Thread(target=task, name="search", daemon=True).start()

    def leave(self) -> None:
        """Drop the search."""
        self._left.set()

    def _ask(self) -> None:
        try:
            found = tuple(search(self._query))
        except Exception as error:  # shown, or raised, where the answer is wanted
            self._post(Answered(self._query, (), error))
            return
        self._post(Answered(self._query, found))
        names = {one.name for one in self._known}
        self._size([one for one in found if one.name not in names])

    def _size(self, models: Sequence[Found]) -> None:
        from engine.hardware.probe import probe
        from engine.planning.feasibility import fits_of

        if not models or self._left.is_set():
            return
        machine = probe()
        with closing(shapes(models, self._measure)) as arriving:
            for model, shape in arriving:
                if self._left.is_set():
                    return
                self._post(Sized(self._query, model.name, fits_of(shape, machine) if shape else None))

    def _post(self, message: Message) -> None:
        if not self._left.is_set():
            with suppress(RuntimeError):  # the app has just been left, and its loop with it
                self._send(message)
