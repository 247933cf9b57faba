"""Which reader reads a file: one a suffix."""

from collections.abc import Callable
from pathlib import Path

from engine.data.csv_rows import read_csv
from engine.data.json_rows import read_json, read_jsonl
from engine.data.parquet_rows import read_parquet
from engine.data.rows import Table

READERS: dict[str, Callable[[Path, str], Table]] = {
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".parquet": read_parquet,
}
"""Readers by suffix: a new kind of file enters here."""
