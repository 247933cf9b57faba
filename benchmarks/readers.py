"""Time of reading rows from JSONL, Parquet and Arrow, and of importing the library `datasets`.

    .venv/bin/python benchmarks/readers.py [--rows 100000] [--tries 5]

Rows are made on the spot: conversations of two turns, and conversations with calls of two tools, whose objects get the
keys of each other in Parquet and Arrow. Each file is read from its first row to its last in this process; what is shown
is the median of the tries, in seconds. The import is timed in processes of its own, with pyarrow there already.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from engine.data.readers.registry import read  # noqa: E402

KINDS = (".jsonl", ".parquet", ".arrow")
IMPORT = (
    "import pyarrow, time; start = time.perf_counter(); import datasets; print(time.perf_counter() - start)"
)


def chat(row: int) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": f"What is asked in row {row}?"},
            {"role": "assistant", "content": f"Order {row}. " + "It is so. " * 15},
        ]
    }


def with_tools(row: int) -> dict[str, Any]:
    arguments = {"city": "Oslo"} if row % 2 else {"x": row, "y": 2}
    call = {"id": "c", "type": "function", "function": {"name": f"f{row % 2}", "arguments": arguments}}
    turns = chat(row)["messages"]
    return {"messages": [turns[0], {"role": "assistant", "content": None, "tool_calls": [call]}, turns[1]]}


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> list[Path]:
    """The same rows as JSONL, Parquet and Arrow."""
    import pyarrow as pa
    import pyarrow.parquet

    paths = [folder / f"{name}{kind}" for kind in KINDS]
    paths[0].write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = pa.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, paths[1])
    with pa.ipc.new_stream(paths[2], table.schema) as out:
        out.write_table(table, max_chunksize=1000)
    return paths


def seconds(path: Path) -> float:
    start = time.perf_counter()
    for _ in read(path, path.name, path.suffix, "document").rows():
        pass
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--tries", type=int, default=5)
    options = parser.parse_args()
    print(f"{options.rows:,} rows, seconds (median of {options.tries})\n")
    print(f"{'':12}{''.join(f'{kind:>10}' for kind in KINDS)}")
    with tempfile.TemporaryDirectory() as folder:
        for name, make in {"chats": chat, "with tools": with_tools}.items():
            paths = write(Path(folder), name, [make(row) for row in range(options.rows)])
            taken = [statistics.median(seconds(path) for _ in range(options.tries)) for path in paths]
            print(f"{name:12}{''.join(f'{each:10.2f}' for each in taken)}")
    imports = [
        float(
            subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True).stdout
        )
        for _ in range(options.tries)
    ]
    print(f"\nimport datasets: {statistics.median(imports):.2f} s")


if __name__ == "__main__":
    main()
