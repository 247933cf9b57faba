"""Time and memory of reading rows from a file of a million, as Datasets requests them.

    .venv/bin/python benchmarks/rows.py [--rows 1000000]

A .jsonl and a .csv are made on the spot, and requested through the app's own client and its service: when the
first row can be shown (the start of the service not counted), when all are counted, how long one late row takes token
by token (the median of 20 places), a search for words of the last row, and opening the file a second time, in a new
service. Wall time; the memory is the resident set of the service after all of it, and this process's, which stands for
the app's share.
"""

import argparse
import csv
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from engine import paths  # noqa: E402
from engine.data.preview.values import View  # noqa: E402
from engine.service.client import Client  # noqa: E402

PLACES = 20


def texts(row: int) -> tuple[str, str]:
    """A question and its answer, of a few dozen words, another for each row."""
    return (
        f"What is asked in row {row}? " + "Say it in a few words. " * 3,
        f"Order {row}. " + "It is so. " * 10,
    )


def write(folder: Path, rows: int) -> list[Path]:
    """The same rows as .jsonl and as .csv."""
    lines, table = folder / "rows.jsonl", folder / "rows.csv"
    with lines.open("w") as out, table.open("w", newline="") as sheet:
        writer = csv.writer(sheet)
        writer.writerow(("prompt", "completion"))
        for row in range(rows):
            prompt, completion = texts(row)
            out.write(json.dumps({"prompt": prompt, "completion": completion}) + "\n")
            writer.writerow((prompt, completion))
    return [lines, table]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def counted(client: Client, source: str, rows: int) -> None:
    """Wait until all rows are counted."""
    while (opened := client.rows(source)).counting is not None:
        time.sleep(0.02)
    assert opened.known == rows, opened


def measure(path: Path, rows: int, log: Path) -> dict[str, float]:
    """Seconds of each thing, and the resident MB of the service."""
    view, source, late = View(), str(path), rows * 9 // 10
    with Client(log) as client:
        client.preview("starter", [0], view)  # the service is up, and its tokenizer read
        found = {"first row": seconds(lambda: (client.rows(source), client.preview(source, [0], view)))}
        found["all counted"] = seconds(lambda: counted(client, source, rows))
        places = [seconds(lambda at=late + n: client.preview(source, [at], view)) for n in range(PLACES)]  # type: ignore[misc]
        found["a late row"] = statistics.median(places)
        words = texts(rows - 1)[1].partition(".")[0]
        found["search to the last row"] = seconds(lambda: client.find(source, words, 0, view))
        assert client.find(source, words, 0, view) == rows - 1
        found["child, MB"] = psutil.Process(client.transport.child.pid).memory_info().rss / 1e6
    with Client(log) as client:
        client.preview("starter", [0], view)
        found["opened again"] = seconds(lambda: counted(client, source, rows))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    starters = paths.models()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch, "home")
        home.mkdir()
        (home / "models").symlink_to(starters)  # so that the starter need not be made ready again
        os.environ["FT_HOME"] = str(home)
        found = {path: measure(path, rows, home / "log") for path in write(Path(scratch), rows)}
        print(f"{rows:,} rows, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
        for path, figures in found.items():
            print(f"{path.suffix}, {path.stat().st_size / 1e6:.0f} MB")
            for name, value in figures.items():
                print(f"  {name:<24}{f'{value:.0f}' if 'MB' in name else f'{value:.3f} s'}")
    print(f"this process: {psutil.Process().memory_info().rss / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
