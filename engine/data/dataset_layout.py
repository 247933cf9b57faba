"""Which files of a dataset are the rows of a configuration and a split: of the hub, a clone of it, or any folder.

By the `configs` at the top of its README where it has them, else by names, as the hub reads them: `train/0.jsonl`,
`data/train-00000-of-00002.parquet`, `valid.jsonl`.
https://huggingface.co/docs/hub/datasets-file-names-and-splits
"""

import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

import yaml

from engine.data.readers import DOCUMENTS, KNOWN, READERS, kind_of
from engine.errors import DataError

Part = Literal["train", "validation"]
"""What the rows of a source are for."""
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
WORDS: Mapping[str, str] = MappingProxyType(
    {word: split for split, words in SPLITS.items() for word in words}
)
"""The split that each of the words means."""
OF_DOCUMENTS = ("train", "validation", "valid", "val", "dev", "test")
"""The words that tell the split of running text: of `training.md` they tell its subject."""
WHOLE_NAME = re.compile(r"([A-Za-z]+)(?:[-_ ]?\d[\w-]*)?(?:\.\w+)*")
ALL = "all"
"""The split that is every file."""
PREFERRED: Mapping[Part, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "test", "train"),
}
"""The splits that are taken where none is asked for, by what for; the first that there is."""
SHARD = re.compile(r"(?:^|/)data/(?P<split>(?!data-)\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*\.[^/]*$")
ABOUT = {"readme.md", "license.md", "changelog.md", "contributing.md", "license.txt", "requirements.txt"} | {
    f"{name}.json" for name in ("dataset_infos", "dataset_info", "dataset_dict", "state", "config", "report")
}
"""Files that tell of the rows and hold none."""


@dataclass(frozen=True)
class Chosen:
    """The files to read, the split that they are (empty where no file names one), and the files of other splits.

    In `aside`, files that name no split are under an empty name.
    """

    names: tuple[str, ...]
    split: str = ""
    aside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def note(self, of: str) -> str:
        """What is used and what is not, for people; empty where nothing is left aside."""
        if not self.aside:
            return ""
        used = (
            f"the files of split {self.split} are used" if self.split else "files that name no split are used"
        )
        aside = [f"{split or 'other files'} ({_count(names)})" for split, names in sorted(self.aside.items())]
        return f"{of}: {used}, not: {', '.join(aside)}"


def choose(
    names: Iterable[str],
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
    there = sorted(name for name in names if is_inside(name) and holds_rows(name))
    configs = _configs(readme)
    splits = _declared(there, configs, config, of) if configs else {}
    if not configs or (local and not any(splits.values())):
        splits = splits_of(_of_config(there, config, of))
    found = pick(splits, split, of, part)
    if not found.names:
        raise DataError(
            f"{of}: holds no files of rows that are read",
            f"Known: {KNOWN}. For a dataset of the hub, revision: refs/convert/parquet may have it as Parquet.",
        )
    kinds = _one_of_each if local else _one_kind
    return replace(found, names=tuple(kinds(found.names)))


def pick(splits: Mapping[str, Sequence[str]], split: str | None, of: str, part: Part = "train") -> Chosen:
    """The files of a split, or of several as `train+test`, among files by their splits.

    Files that name no split are under an empty name. Raises `DataError` where there is no such split.
    """
    named = {name: tuple(files) for name, files in splits.items() if files}
    if (split == ALL and ALL not in named) or not named:
        return Chosen(tuple(sorted(file for files in named.values() for file in files)))
    asked = _preferred(named, part) if split is None else split
    found = {asked: named[asked]} if asked in named else {}
    for each in () if found else asked.split("+"):
        name, files = _meant(each, named)
        if not files:
            there = ", ".join(sorted(filter(None, named))) or "none"
            raise DataError(
                f"{of}: has no split {each}", f"Name one with `split`: {there}, or `{ALL}` for all files."
            )
        found[name] = files
    used = {file for files in found.values() for file in files}
    aside = {name: tuple(file for file in files if file not in used) for name, files in named.items()}
    return Chosen(
        tuple(file for files in found.values() for file in files),
        "+".join(found),
        {name: files for name, files in aside.items() if files},
    )


def splits_of(names: Sequence[str]) -> dict[str, list[str]]:
    """Files by the splits that their folders and names tell, those that tell none under an empty name."""
    tables = [name for name in names if kind_of(name) in READERS]
    if not tables:
        return _splits_of_documents(names)
    ranked: dict[str, dict[int, list[str]]] = {}
    for name in tables:
        rank, split = _split_in(name)
        ranked.setdefault(split, {}).setdefault(rank, []).append(name)
    found = {split: by_rank.pop(min(by_rank)) for split, by_rank in ranked.items()}
    left = [name for by_rank in ranked.values() for names in by_rank.values() for name in names]
    if left:
        found[""] = sorted([*found.get("", []), *left])
    return found


def _split_in(name: str) -> tuple[int, str]:
    """The split that a file is of, and how that is told, the surest way being 0; an empty name where it is not."""
    if shard := SHARD.search(name):
        return 0, shard["split"]
    *folders, file = PurePosixPath(name).parts
    for folder in reversed(folders):
        if split := split_called(folder):
            return 1, split
    return 2, split_called(file)


def split_called(text: str) -> str:
    """`train`, `validation` or `test`, whichever of their words stands in a name first; empty where none does."""
    found = _word(text, WORDS)
    return WORDS[found.lower()] if found else ""


def _word(text: str, words: Iterable[str]) -> str:
    """The first of some words that stands in a name by itself, as in `train-00000.parquet` and `data/train/a.csv`."""
    pattern = "|".join(map(re.escape, words))
    found = re.search(rf"(?:^|[/._\- ])({pattern})(?=$|[/._\- \d])", text, re.IGNORECASE)
    return found[1] if found else ""


def _splits_of_documents(names: Sequence[str]) -> dict[str, list[str]]:
    """Running text has such words in its names by chance: they count where they are all of a name, of two splits."""
    found: dict[str, list[str]] = {}
    for name in names:
        whole = (WHOLE_NAME.fullmatch(part) for part in reversed(PurePosixPath(name).parts))
        splits = [WORDS[each[1].lower()] for each in whole if each and each[1].lower() in OF_DOCUMENTS]
        found.setdefault(splits[0] if splits else "", []).append(name)
    return found if "train" in found and len(found.keys() - {""}) > 1 else {"": list(names)}


def _preferred(named: Mapping[str, object], part: Part) -> str:
    """The split to take where none is asked for: the usual one, else files that name none, else the only one."""
    for usual in PREFERRED[part]:
        if usual in named or len([name for name in named if split_called(name) == usual]) == 1:
            return usual
    if "" in named:
        return ""
    alone = next(iter(named)) if len(named) == 1 else ""
    return alone if alone and not split_called(alone) else PREFERRED[part][0]


def _meant(split: str, named: Mapping[str, Sequence[str]]) -> tuple[str, tuple[str, ...]]:
    """The name and the files of the split that is meant: of that name, else whose files have it in their names, else
    the only one of that kind (`dev` is `validation`). No files where there is none.
    """
    if split in named:
        return split, tuple(named[split])
    if split and split.lower() not in WORDS:
        by_name = [file for files in named.values() for file in files if _word(file, (split,))]
        if by_name:
            return split, tuple(by_name)
    kind = split_called(split)
    alike = [name for name in named if kind and split_called(name) == kind]
    if not alike and split == "train" and "" in named:
        return "", tuple(named[""])  # as on the hub, where files are for training unless they say otherwise
    return (alike[0], tuple(named[alike[0]])) if len(alike) == 1 else (split, ())


def is_inside(name: str) -> bool:
    """Whether a name leads into its folder: no `..`, nothing absolute, nothing that another system reads so."""
    path = PurePosixPath(name)
    return (
        bool(name) and not path.is_absolute() and ".." not in path.parts and not re.search(r"[\\\0:]", name)
    )


def holds_rows(name: str) -> bool:
    """Whether a file is of a kind that is read, not hidden, and does not only tell of the others."""
    path = PurePosixPath(name)
    return (
        bool(kind_of(name))
        and path.name.lower() not in ABOUT
        and not any(p.startswith(".") for p in path.parts)
    )


def _one_kind(names: Sequence[str]) -> list[str]:
    """A dataset may be there in several formats: the kind that has most files, tables before documents."""
    tables = [name for name in names if kind_of(name) in READERS] or list(names)
    kinds = Counter(kind_of(name) for name in tables)
    order = [*READERS, *DOCUMENTS]
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


def _declared(
    names: list[str], configs: Mapping[str, dict[str, Any]], config: str | None, of: str
) -> dict[str, list[str]]:
    """The files of a configuration by split, as a README declares them. Raises `DataError` where it has no such."""
    default = next((name for name, one in configs.items() if one.get("default") is True), None)
    wanted = config or default or ("default" if "default" in configs else None)
    if wanted is None and len(configs) == 1:
        wanted = next(iter(configs))
    if wanted is None or wanted not in configs:
        said = f"has no configuration {config}" if config else "has several configurations"
        raise DataError(f"{of}: {said}", f"Name one with `config`: {_listed(configs)}.")
    root = str(configs[wanted].get("data_dir") or ".")
    files = configs[wanted].get("data_files")
    if not files:
        return splits_of([name for name in names if _matches(name, root, "**")])
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


def _count(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} files"


def _listed(names: Any) -> str:
    names = sorted(names)
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return (", ".join(names[:10]) + more) or "none"
