"""Layout of a dataset: which files hold the rows of a configuration and a split, on the hub or in a folder.

By the `configs` at the top of its README where it has them, else by names (`dataset_splits.py`).
"""

import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import yaml

from engine.data.readers.registry import BUILT, DOCUMENTS, KNOWN, READERS, kind_of, not_rows
from engine.data.sources.splits import ALL, Chosen, Part, pick, splits_of
from engine.errors import DataError

CONVERTED = re.compile(r"(?P<config>[^/]+)/(?:partial-)?(?P<split>[^/]+)/\d{4}\.parquet")
OF_CSV = ("sep", "delimiter", "header", "names", "column_names", "usecols", "skiprows", "skipfooter", "nrows")
OF_TEXT = ("quotechar", "quoting", "doublequote", "escapechar", "comment", "encoding", "encoding_errors")
SETTINGS = frozenset((*OF_CSV, *OF_TEXT, "on_bad_lines", "skipinitialspace", "field", "columns"))
"""Reader settings in a README: arguments of the builders of `datasets` for CSV, JSON and Parquet."""
ABOUT = {"readme.md", "license.md", "changelog.md", "contributing.md", "license.txt", "requirements.txt"} | {
    f"{name}.json" for name in ("dataset_infos", "dataset_info", "dataset_dict", "state", "config", "report")
}
"""Files about the dataset that hold no rows."""


def choose(
    names: Sequence[str],
    readme: str,
    config: str | None,
    split: str | None,
    of: str,
    part: Part = "train",
    *,
    local: bool = False,
) -> Chosen:
    """The files of a split, in order. `of` is the dataset's name.

    Where no split is asked for, that is `train`, and for validation `validation`, else `test`; where no file names a
    split, it is all files. A dataset of the hub is read in one format; a `local` folder may mix them, and have a README
    that tells of files which are not there. Raises `DataError` with what there is, where there is no such
    configuration, split or file.
    """
    there = sorted(name for name in names if (local or is_inside(name)) and holds_rows(name))
    configs = _configs(readme)
    settings: Mapping[str, Any] = {}
    splits: dict[str, list[str]] = {}
    if configs:
        declared = _declared(configs, config, of)
        splits, settings = _declared_splits(there, declared), _settings(declared)
    if not configs or (local and not any(splits.values())):
        converted = _converted(there)
        readable = _readable(_of_config(there, config, of), local) if not converted else []
        splits = _declared(converted, config, of) if converted else splits_of(readable)
    found = pick(splits, split, of, part)
    if not found.names:
        raise DataError(f"{of}: {said_of(names)}", f"Files that are read end in {KNOWN}.")
    if local and split == ALL:
        return replace(found, settings=settings)
    kept = tuple((_one_of_each if local else _one_kind)(found.names))
    same = (*found.aside.get("", ()), *(name for name in found.names if name not in kept))
    aside = {**found.aside, "": same} if same else found.aside
    return replace(found, names=kept, aside=aside, settings=settings)


def said_of(names: Iterable[str]) -> str:
    """Describe files of which none is read."""
    what = not_rows(names)
    return f"holds {what}, which ft does not train" if what else "holds no files of rows that are read"


def is_inside(name: str) -> bool:
    """Return True for a name inside its folder: no `..`, nothing absolute, nothing that another system reads so."""
    path = PurePosixPath(name)
    return (
        bool(name) and not path.is_absolute() and ".." not in path.parts and not re.search(r"[\\\0:]", name)
    )


def holds_rows(name: str) -> bool:
    """Return True for a file of a kind that is read, not hidden, and not one about the dataset."""
    path = PurePosixPath(name)
    return (
        bool(kind_of(name))
        and path.name.lower() not in ABOUT
        and not any(p.startswith(".") for p in path.parts)
    )


def _one_kind(names: Sequence[str]) -> list[str]:
    """A dataset may be there in several formats: the kind that has most files, tables before documents."""
    documents = [name for name in names if kind_of(name) in DOCUMENTS]
    tables = [name for name in names if kind_of(name) in READERS] or documents or list(names)
    kinds = Counter(kind_of(name) for name in tables)
    order = [*READERS, *DOCUMENTS, *BUILT]
    kind = max(kinds, key=lambda each: (kinds[each], order.index(each)))
    return [name for name in tables if kind_of(name) == kind]


def _one_of_each(names: Sequence[str]) -> list[str]:
    """Files without those that are there in another format too: of `train.jsonl` and `train.parquet`, one."""
    formats: dict[str, list[str]] = {}
    for name in names:
        formats.setdefault(name[: name.lower().rindex(kind_of(name))], []).append(name)
    return [name for name in names if name in _one_kind(formats[name[: name.lower().rindex(kind_of(name))]])]


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


def _declared(configs: Mapping[str, dict[str, Any]], config: str | None, of: str) -> dict[str, Any]:
    """The configuration of that name, else the default one. Raises `DataError` where there is none."""
    default = next((name for name, one in configs.items() if one.get("default") is True), None)
    wanted = config or default or ("default" if "default" in configs else None)
    if wanted is None and len(configs) == 1:
        wanted = next(iter(configs))
    if wanted is None or wanted not in configs:
        said = f"has no configuration {config}" if config else "has several configurations"
        raise DataError(f"{of}: {said}", f"Name one with `config`: {_listed(configs)}.")
    return configs[wanted]


def _settings(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Reader settings of a configuration that a builder of `datasets` would use."""
    return {key: value for key, value in declared.items() if key in SETTINGS and value is not None}


def _declared_splits(names: list[str], declared: Mapping[str, Any]) -> dict[str, list[str]]:
    """The files of a configuration by split."""
    root = str(declared.get("data_dir") or ".")
    files = declared.get("data_files")
    if not files:
        return splits_of(_readable([name for name in names if _matches(name, root, "**")], local=False))
    if not (isinstance(files, list) and all(isinstance(each, dict) for each in files)):
        files = [{"split": "train", "path": files}]
    patterns: dict[str, list[str]] = {}
    for each in files:
        paths = each.get("path", [])
        patterns.setdefault(str(each.get("split", "train")), []).extend(
            str(path) for path in (paths if isinstance(paths, list) else [paths])
        )
    return {
        split: [name for name in names if any(_matches(name, root, pattern) for pattern in listed)]
        for split, listed in patterns.items()
    }


def _matches(name: str, root: str, pattern: str) -> bool:
    """Return True if a name fits a pattern in which `*` stops at a folder's end and `**` does not."""
    whole = str(PurePosixPath(root) / pattern)
    if whole == "**" or (whole.endswith("/**") and name.startswith(whole[:-2])):
        return True
    if "**" in whole:
        return fnmatch.fnmatchcase(name, whole.replace("**/", "*")) or fnmatch.fnmatchcase(
            name, whole.replace("**/", "")
        )
    return name.count("/") == whole.count("/") and fnmatch.fnmatchcase(name, whole)


def _converted(names: Sequence[str]) -> dict[str, dict[str, list[str]]]:
    """The files by configuration and split where they lie as on the hub's `refs/convert/parquet`; else nothing."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        place = CONVERTED.fullmatch(name)
        if place is None:
            return {}
        found.setdefault(place["config"], {}).setdefault(place["split"], []).append(name)
    return found


def _readable(names: Sequence[str], local: bool) -> list[str]:
    """The files of the sort that holds the rows: tables before documents before what has to be built.

    A dataset of the hub may be archives with a table that tells of them: there the sort with more files goes first.
    """
    tables, documents, built = (
        [name for name in names if kind_of(name) in kinds] for kinds in (READERS, DOCUMENTS, BUILT)
    )
    if not local and len(built) > len(tables):
        return built
    return tables or documents or built


def _of_config(names: list[str], config: str | None, of: str) -> list[str]:
    if config is None:
        return names
    found = [name for name in names if config in PurePosixPath(name).parts[:-1]]
    found = found or [name for name in names if PurePosixPath(name).name.partition(".")[0] == config]
    if not found:
        folders = {part for name in names for part in PurePosixPath(name).parts[:-1]} - {"data"}
        raise DataError(f"{of}: has no configuration {config}", f"There is {_listed(folders)}.")
    return found


def _listed(names: Any) -> str:
    names = sorted(names)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return (", ".join(names[:10]) + more) or "none"
