"""Folders that `Dataset.save_to_disk` and `DatasetDict.save_to_disk` write: which of their files are the rows.

`state.json` names the files of a dataset, in order. Others may lie beside them: `map` and `filter` of a dataset that
was loaded from the folder leave what they computed there, as `cache-….arrow`.
"""

import json
from pathlib import Path
from typing import Any

STATE, DICT = "state.json", "dataset_dict.json"
MOST_BYTES = 16_000_000
"""A larger file of that name is somebody's rows."""


def saved_files(folder: Path) -> list[str]:
    """The names of a saved dataset's files, in the order of its rows; empty for a folder that is none."""
    listed = _read(folder / STATE).get("_data_files")
    names = (
        [each.get("filename") for each in listed if isinstance(each, dict)]
        if isinstance(listed, list)
        else []
    )
    return [name for name in names if isinstance(name, str) and Path(name).name == name]


def saved_splits(folder: Path) -> list[str]:
    """The splits of a saved `DatasetDict`, each a folder in it; empty for a folder that is none."""
    listed = _read(folder / DICT).get("splits")
    return [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []


def _read(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if the file holds something else."""
    try:
        small = path.is_file() and path.stat().st_size <= MOST_BYTES
        found = json.loads(path.read_text(encoding="utf-8")) if small else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
