"""A path of the recipe → the files of rows that it names: one, those of a folder, or those that fit a pattern.

Nothing outside of what is named is read: of a folder or pattern no hidden file, and no link that leads out of it.
"""

import difflib
import glob
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.data.readers.registry import BUILT, DOCUMENTS, KNOWN, READERS, kind_of, not_rows
from engine.data.sources.layout import ABOUT, choose
from engine.data.sources.saved_datasets import STATE, saved_files, saved_splits
from engine.data.sources.splits import Part, pick, split_called
from engine.errors import DataError
from engine.storage.regular_files import open_binary

README_CHARACTERS = 1_000_000
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1"
"""Beginning of the small file that a clone without Git LFS has in place of a large one."""


@dataclass(frozen=True)
class LocalFiles:
    """The files that a path names, in a fixed order, and what is to be said of those that were left aside."""

    paths: tuple[Path, ...]
    split: str = ""
    """The split of a folder that they are; empty where no file names one."""
    notes: tuple[str, ...] = ()
    aside: frozenset[str] = frozenset()
    """Splits of a folder that are not among the files."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Reader settings that a README declares."""


def find(
    source: str, config: str | None = None, split: str | None = None, part: Part = "train"
) -> LocalFiles:
    """The files that a path names. Of a folder those of a configuration and a split, as `dataset_layout.choose` has it.

    Raises `DataError` where there is none, or one may not be read.
    """
    path = Path(source).expanduser()
    name = shown(path)
    if path.is_dir():
        return _of_folder(path, config, split, part)
    if not path.exists() and glob.has_magic(str(path)):
        return _of_pattern(path, part)
    if not path.exists():
        raise DataError(f"{name}: no such file", _nearest(path))
    if not kind_of(path):
        ending = not_rows([path.name]) or (
            f"files ending in {path.suffix}" if path.suffix else "files without an ending"
        )
        raise DataError(f"{name}: cannot read {ending}", f"Data files end in {KNOWN}.")
    return LocalFiles((path,))


def _of_folder(folder: Path, config: str | None, split: str | None, part: Part) -> LocalFiles:
    name = shown(folder)
    files = _rows_of(sorted(_below(folder)), name, "files of rows in this folder")
    names = {file.relative_to(folder).as_posix(): file for file in files}
    if saved := saved_splits(folder):
        of_saved = {each: [n for n in names if n.startswith(f"{each}/")] for each in saved}
        chosen = pick(of_saved, split, name, part)
    else:
        chosen = choose(list(names), _readme(folder), config, split, name, part, local=True)
    note = chosen.note(name)
    paths = tuple(names[each] for each in chosen.names)
    aside = frozenset(filter(None, chosen.aside))
    return LocalFiles(paths, chosen.split, (note,) if note else (), aside, chosen.settings)


def _readme(folder: Path) -> str:
    """The beginning of a folder's README, where the hub's metadata stands; empty where it has none."""
    path = folder / "README.md"
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(README_CHARACTERS)


def _of_pattern(pattern: Path, part: Part) -> LocalFiles:
    """All files that fit a pattern, whatever their names say; but that is noted."""
    name = shown(pattern)
    files = _rows_of(sorted(_fitting(pattern)), name, "file of rows fits this pattern")
    others = [file.name for file in files if split_called(file.name) in ("validation", "test")]
    if part != "train" or not others or len(others) == len(files):
        return LocalFiles(tuple(files))
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return LocalFiles(tuple(files), notes=(f"{name}: the pattern takes {others[0]}{more} for training too",))


def check(path: Path, name: str) -> None:
    """Raise `DataError` where a file may not be read, or is empty."""
    try:
        with open_binary(path) as file:
            beginning = file.read(len(LFS_POINTER))
    except PermissionError as error:
        raise DataError(f"{name}: may not be read", f"Give yourself the right: chmod u+r {name}") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror}", "Check that it is a file.") from error
    if not beginning:
        raise DataError(f"{name}: the file is empty", "Put rows in it, or name another file.")
    if beginning == LFS_POINTER:
        raise DataError(
            f"{name}: a pointer of Git LFS, not the file itself", "Fetch the files of the clone: git lfs pull"
        )


def shown(path: Path) -> str:
    """The path as short as it stays clear: relative where it lies below the working folder."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _below(folder: Path) -> Iterator[Path]:
    """The files of a folder and of those in it. Linked folders are left alone: they may lead in circles."""
    inside = folder.resolve()
    for place, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        saved = saved_files(Path(place))
        for name in saved or names:
            path = Path(place, name)
            if saved and not path.exists():
                raise DataError(
                    f"{shown(path)}: no such file, but {STATE} names it", "Copy the whole folder."
                )
            if not name.startswith(".") and _leads_inside(path, inside):
                yield path


def _fitting(pattern: Path) -> Iterator[Path]:
    parts = pattern.parts
    fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    inside = Path(*parts[:fixed]).resolve()
    for found in glob.iglob(str(pattern), recursive=True):  # noqa: PTH207 - Path.glob takes no absolute pattern
        if _leads_inside(Path(found), inside):
            yield Path(found)


def _leads_inside(path: Path, folder: Path) -> bool:
    return path.is_file() and path.resolve().is_relative_to(folder)


def _rows_of(files: list[Path], name: str, sought: str) -> list[Path]:
    """Those that hold rows: tables, or where there are none, documents; not files about them (README, …)."""
    files = [file for file in files if file.name.lower() not in ABOUT]
    for kinds in (READERS, DOCUMENTS, BUILT):
        if found := [file for file in files if kind_of(file) in kinds]:
            return found
    what = not_rows(file.name for file in files)
    problem = f"holds {what}, which ft does not train" if what else f"no {sought}"
    raise DataError(
        f"{name}: {problem}", f"Data files end in {KNOWN}. Links that lead elsewhere are not read."
    )


def _nearest(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"The folder {shown(folder)} does not exist either."
    names = [entry.name for entry in folder.iterdir()]
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    files = sorted(name for name in names if kind_of(name))
    if not files:
        return f"{shown(folder)} holds no data files ({KNOWN})."
    more = f" and {len(files) - 5} more" if len(files) > 5 else ""
    return f"There is: {', '.join(files[:5])}{more}."
