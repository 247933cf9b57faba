"""Which files of a hub dataset, or of a folder laid out like one, are the rows of a configuration and a split.

By the `configs` at the top of its README where it has them, else by names: `train-00000-of-00002.parquet`,
`en/test.jsonl`. The keywords are those of the hub: https://huggingface.co/docs/hub/datasets-file-names-and-splits
"""

import fnmatch
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

import yaml

from engine.data.readers import DOCUMENTS, KNOWN, READERS, kind_of
from engine.errors import DataError

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
ABOUT = {"readme.md", "license.md", "changelog.md", "contributing.md", "license.txt", "requirements.txt"} | {
    f"{name}.json" for name in ("dataset_infos", "dataset_info", "dataset_dict", "state", "config")
}
"""Files that tell of the rows and hold none."""


def choose(names: Sequence[str], readme: str, config: str | None, split: str | None, of: str) -> list[str]:
    """The files of a split, `train` where none is asked for, in order. `of` is the dataset's name.

    Raises `DataError` with what there is, where there is no such configuration, split or file.
    """
    there = sorted(name for name in names if is_inside(name) and _holds_rows(name))
    configs = _configs(readme)
    if configs:
        chosen = _declared(there, configs, config, split, of)
    else:
        chosen = _of_split(_of_config(there, config, of), split, of)
    if not chosen:
        raise DataError(
            f"{of}: holds no files of rows that are read",
            f"Known: {KNOWN}. For a dataset of the hub, revision: refs/convert/parquet may have it as Parquet.",
        )
    return _one_kind(chosen)


def is_inside(name: str) -> bool:
    """Whether a name leads into its folder: no `..`, nothing absolute, nothing that another system reads so."""
    path = PurePosixPath(name)
    return (
        bool(name) and not path.is_absolute() and ".." not in path.parts and not re.search(r"[\\\0:]", name)
    )


def _holds_rows(name: str) -> bool:
    path = PurePosixPath(name)
    return (
        bool(kind_of(name))
        and path.name.lower() not in ABOUT
        and not any(p.startswith(".") for p in path.parts)
    )


def _one_kind(names: list[str]) -> list[str]:
    """A dataset may be there in several formats: the kind that has most files, tables before documents."""
    tables = [name for name in names if kind_of(name) in READERS] or names
    kinds = Counter(kind_of(name) for name in tables)
    order = [*READERS, *DOCUMENTS]
    kind = max(kinds, key=lambda each: (kinds[each], order.index(each)))
    return [name for name in tables if kind_of(name) == kind]


def _configs(readme: str) -> dict[str, dict[str, Any]]:
    """The configurations that a README declares with their files, by name."""
    head = re.match(r"\s*---\r?\n(.*?)\r?\n---", readme, re.DOTALL)
    try:
        about = yaml.safe_load(head.group(1)) if head else None
    except yaml.YAMLError:
        return {}
    listed = about.get("configs") if isinstance(about, dict) else None
    return {
        str(one.get("config_name", "default")): one
        for one in (listed if isinstance(listed, list) else [])
        if isinstance(one, dict) and (one.get("data_files") or one.get("data_dir"))
    }


def _declared(
    names: list[str], configs: dict[str, dict[str, Any]], config: str | None, split: str | None, of: str
) -> list[str]:
    default = next((name for name, one in configs.items() if one.get("default") is True), None)
    wanted = config or default or ("default" if "default" in configs else None)
    if wanted is None and len(configs) == 1:
        wanted = next(iter(configs))
    if wanted not in configs:
        said = f"has no configuration {config}" if config else "has several configurations"
        raise DataError(f"{of}: {said}", f"Name one with `config`: {_listed(configs)}.")
    root = str(configs[wanted].get("data_dir") or ".")
    files = configs[wanted].get("data_files")
    if not files:
        return _of_split([name for name in names if _matches(name, root, "**")], split, of)
    if not (isinstance(files, list) and all(isinstance(each, dict) for each in files)):
        files = [{"split": "train", "path": files}]
    patterns: dict[str, list[str]] = {}
    for each in files:
        paths = each.get("path", [])
        patterns.setdefault(str(each.get("split", "train")), []).extend(
            str(path) for path in (paths if isinstance(paths, list) else [paths])
        )
    asked = split or "train"
    if asked not in patterns:
        raise DataError(f"{of}: has no split {asked}", f"Name one with `split`: {_listed(patterns)}.")
    return [name for name in names if any(_matches(name, root, pattern) for pattern in patterns[asked])]


def _matches(name: str, root: str, pattern: str) -> bool:
    """Whether a name fits a pattern in which `*` stops at a folder's end and `**` does not."""
    whole = str(PurePosixPath(root) / pattern)
    if whole == "**" or (whole.endswith("/**") and name.startswith(whole[:-2])):
        return True
    if "**" in whole:
        return fnmatch.fnmatchcase(name, whole.replace("**/", "*")) or fnmatch.fnmatchcase(
            name, whole.replace("**/", "")
        )
    return name.count("/") == whole.count("/") and fnmatch.fnmatchcase(name, whole)


def _of_config(names: list[str], config: str | None, of: str) -> list[str]:
    if config is None:
        return names
    found = [name for name in names if config in PurePosixPath(name).parts[:-1]]
    found = found or [name for name in names if PurePosixPath(name).name.partition(".")[0] == config]
    if not found:
        folders = {part for name in names for part in PurePosixPath(name).parts[:-1]} - {"data"}
        raise DataError(f"{of}: has no configuration {config}", f"There is {_listed(folders)}.")
    return found


def _of_split(names: list[str], split: str | None, of: str) -> list[str]:
    """Those that name the split; all of them, where none is asked for and no file names any."""
    by = {known: [name for name in names if _names(name, words)] for known, words in SPLITS.items()}
    if split is None:
        if by["train"] or not any(by.values()):
            return by["train"] or names
        split = "train"
    found = by.get(split) or [name for name in names if _names(name, (split,))]
    if not found:
        there = [known for known, files in by.items() if files]
        raise DataError(f"{of}: has no split {split}", f"Its files name {_listed(there)}.")
    return found


def _names(name: str, words: Sequence[str]) -> bool:
    """Whether one of the words stands in a name by itself, as in `train-00000.parquet` and `data/train/a.csv`."""
    pattern = "|".join(map(re.escape, words))
    return re.search(rf"(?:^|[/._\- ])(?:{pattern})(?=$|[/._\- \d])", name, re.IGNORECASE) is not None


def _listed(names: Any) -> str:
    names = sorted(names)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return (", ".join(names[:10]) + more) or "none"
