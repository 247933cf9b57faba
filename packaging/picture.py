"""Remake the README's picture: the live view of a recorded run, as it stood at one of its steps.

python packaging/picture.py RUN [STEP]      writes docs/training.svg
"""

import io
import sys
import time
from pathlib import Path

from rich.console import Console

from engine.runs.directory.events import Finished, Step
from engine.runs.directory.run import Run
from ft.live import Live

PICTURE = Path(__file__).parent.parent / "docs" / "training.svg"
COLUMNS = 100


def main(reference: str, last_step: int | None = None) -> None:
    run = Run.open(reference)
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False)
    view = Live(run, console)
    events = list(run.events())
    for event in events:
        if isinstance(event, Finished) or (isinstance(event, Step) and last_step and event.step > last_step):
            break
        view.show(event)
        view.began = time.time() - (event.t - events[0].t)
    console.print("[bold]$[/] ft train")
    console.print(view.render())
    PICTURE.write_text(console.export_svg(title="ft train"), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None)
