"""Which reader reads a file: one a suffix."""

from collections.abc import Callable
from pathlib import Path

from engine.data.column_rows import read_arrow, read_parquet
from engine.data.csv_rows import read_csv, read_tsv
from engine.data.json_arrays import read_json
from engine.data.json_rows import read_jsonl
from engine.data.rows import Table
from engine.data.text_rows import Html, SampleBy, Text

READERS: dict[str, Callable[[Path, str], Table]] = {
    ".json": read_json,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
}
"""Readers by suffix: a new kind of file enters here."""
DOCUMENTS: dict[str, Callable[[Path, str, SampleBy], Table]] = {
    ".txt": Text,
    ".md": Text,
    ".markdown": Text,
    ".html": Html,
    ".htm": Html,
}
"""Readers of running text, which are also told what a row is."""
PACKED = (".gz", ".zst")
"""Suffixes of compressed files, behind that of any kind above."""
KNOWN = f"{', '.join((*READERS, *DOCUMENTS))}, and any of them with {' or '.join(PACKED)} behind"


def kind_of(path: Path | str) -> str:
    """A file's suffix, without that of a compression: `.jsonl` of `chats.jsonl.gz`; empty where it has no reader."""
    name = Path(path).name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    suffix = Path(name).suffix
    return suffix if suffix in READERS or suffix in DOCUMENTS else ""


def read(path: Path, name: str, kind: str, by: SampleBy) -> Table:
    """The rows of a plain file. Raises `DataError` where it is not what its kind says."""
    return DOCUMENTS[kind](path, name, by) if kind in DOCUMENTS else READERS[kind](path, name)
