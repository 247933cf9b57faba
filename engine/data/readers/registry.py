"""Readers of files by suffix."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.data.readers.arrow import read_arrow, read_parquet
from engine.data.readers.csv_table import read_csv, read_tsv
from engine.data.readers.json_array import read_json
from engine.data.readers.jsonl import read_jsonl, read_rows
from engine.data.readers.table import Table
from engine.data.readers.text import Html, SampleBy, Text

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
"""Readers of running text, which also take the setting `sample_by`."""
BUILT = {".tar": "webdataset", ".xml": "xml"}
"""Kinds of files that a builder of `datasets` converts into the cache first, as it defines their rows."""
ROWS = ".rows"
"""Suffix that they are written with: JSON lines whose places are given as rows, not lines."""
NOT_ROWS = {
    "pictures": (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
    "sound": (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a"),
    "films": (".mp4", ".avi", ".mov", ".mkv", ".webm"),
    "PDF": (".pdf",),
    "pickles, which can run code when they are read": (".pkl", ".pickle", ".pt", ".pth"),
    "HDF5": (".h5", ".hdf5"),
    "Lance tables": (".lance",),
    "evaluation logs": (".eval",),
    "archives that are not unpacked": (".zip", ".7z", ".rar"),
}
"""Other files of datasets, which are not read, by their suffixes."""
PACKED = (".gz", ".zst")
"""Suffixes of compressed files, behind that of any kind above."""
KNOWN = f"{', '.join((*READERS, *DOCUMENTS, *BUILT))}, and any of them with {' or '.join(PACKED)} behind"


def kind_of(path: Path | str) -> str:
    """A file's suffix, without that of a compression: `.jsonl` of `chats.jsonl.gz`; empty where it has no reader."""
    name = Path(path).name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    suffix = Path(name).suffix
    return suffix if suffix in READERS or suffix in DOCUMENTS or suffix in BUILT else ""


def not_rows(names: Iterable[str]) -> str:
    """Describe the most frequent kind of files that are known and not read; empty if there are none."""
    kinds = {suffix: what for what, suffixes in NOT_ROWS.items() for suffix in suffixes}
    suffixes = Counter(suffix for name in names if (suffix := Path(name).suffix.lower()) in kinds)
    return f"{kinds[most[0][0]]} ({most[0][0]})" if (most := suffixes.most_common(1)) else ""


def read(path: Path, name: str, kind: str, by: SampleBy) -> Table:
    """The rows of a plain file. Raises `DataError` where it is not what its kind says."""
    if kind == ROWS:
        return read_rows(path, name)
    return DOCUMENTS[kind](path, name, by) if kind in DOCUMENTS else READERS[kind](path, name)
