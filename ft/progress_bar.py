"""Progress of something that a command waits for: a bar on a terminal; elsewhere an occasional line, or nothing."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

from engine.runs.directory.events import Event, Phase, Warned
from ft import run_text
from ft.console import err, say


@contextmanager
def fetching() -> Iterator[Callable[[str, int, int], None]]:
    """Callback for downloads and the starter's conversion: a name, and bytes done and in all."""
    if not sys.stderr.isatty():
        from ft.live import Plain

        plain = Plain()
        yield lambda what, done, total: plain.show(Phase(name="loading", done=done, total=total, note=what))
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err(), transient=True) as bar:
        task = bar.add_task("", total=None, visible=False)
        yield lambda what, done, total: bar.update(
            task, description=what, completed=done, total=total or None, visible=True
        )


class FetchingView:
    """Shows the phases of a run that downloads as `fetching` does, and its warnings."""

    def __init__(self) -> None:
        self._shown = ExitStack()

    def __enter__(self) -> Self:
        self._progress = self._shown.enter_context(fetching())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.close()

    def show(self, event: Event) -> None:
        """Move the bar, or say what the event warns of."""
        match event:
            case Phase(done=int(done), total=int(total)):
                self._progress(event.note, done, total)
            case Warned():
                self.say(run_text.line(event))

    def say(self, text: str) -> None:
        """Show a line of narration."""
        say(text)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Callback for rows done and in all; shows nothing where stderr is not a terminal."""
    from rich.progress import Progress

    with Progress(console=err(), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
