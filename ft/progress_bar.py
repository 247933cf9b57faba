"""Progress of something that a command waits for: a bar on a terminal; elsewhere an occasional line, or nothing."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ft.console import err


@contextmanager
def fetching() -> Iterator[Callable[[str, int, int], None]]:
    """Callback for downloads and the starter's conversion: a name, and bytes done and in all."""
    if not sys.stderr.isatty():
        from engine.runs.directory.events import Phase
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


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Callback for rows done and in all; shows nothing where stderr is not a terminal."""
    from rich.progress import Progress

    with Progress(console=err(), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
