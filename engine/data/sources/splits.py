"""Splits of a dataset: which one each file belongs to, by its folders and name, and which of them is read.

As the hub reads them: `train/0.jsonl`, `data/train-00000-of-00002.parquet`, `valid.jsonl`.
https://huggingface.co/docs/hub/datasets-file-names-and-splits
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Literal

from engine.data.readers.registry import DOCUMENTS, kind_of
from engine.errors import DataError

Part = Literal["train", "validation"]
"""Purpose of a source's rows."""
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
"""Words that name the split of running text; others, as in `training.md`, name its subject."""
WHOLE_NAME = re.compile(r"([A-Za-z]+)(?:[-_ ]?\d[\w-]*)?(?:\.\w+)*")
ALL = "all"
"""The split that is every file."""
PREFERRED: Mapping[Part, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("validation", "test", "train"),
}
"""The splits that are taken where none is asked for, by what for; the first that there is."""
SHARD = re.compile(r"(?:^|/)data/(?P<split>(?!data-)\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*\.[^/]*$")


@dataclass(frozen=True)
class Chosen:
    """The files to read, the split that they are (empty where no file names one), and the files of other splits.

    In `aside`, files that name no split are under an empty name.
    """

    names: tuple[str, ...]
    split: str = ""
    aside: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Reader settings that a README declares, as `sep` of CSV."""

    def note(self, of: str) -> str:
        """Note on which files are used and which are not; empty if all are used."""
        if not self.aside:
            return ""
        used = (
            f"the files of split {self.split} are used" if self.split else "files that name no split are used"
        )
        aside = [f"{split or 'other files'} ({_count(names)})" for split, names in sorted(self.aside.items())]
        return f"{of}: {used}, not: {', '.join(aside)}"


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
            some = " Some rows of a split are had with max_samples." if "[" in each else ""
            raise DataError(
                f"{of}: has no split {each}",
                f"Name one with `split`: {there}, or `{ALL}` for all files.{some}",
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
    """Files by the splits that their folders and names state; those that state none are under an empty name."""
    if all(kind_of(name) in DOCUMENTS for name in names):
        return _splits_of_documents(names)
    ranked: dict[str, dict[int, list[str]]] = {}
    for name in names:
        rank, split = _split_in(name)
        ranked.setdefault(split, {}).setdefault(rank, []).append(name)
    found = {split: by_rank.pop(min(by_rank)) for split, by_rank in ranked.items()}
    left = [name for by_rank in ranked.values() for names in by_rank.values() for name in names]
    if left:
        found[""] = sorted([*found.get("", []), *left])
    return found


def _split_in(name: str) -> tuple[int, str]:
    """Split that a file belongs to, and how certain that is, 0 being the most certain; an empty name if unknown."""
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
    """First of some words that stands alone in a name, as in `train-00000.parquet` and `data/train/a.csv`."""
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


def _count(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} files"
