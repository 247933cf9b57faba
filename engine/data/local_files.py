"""A path of the recipe → the files of rows that it names: one, those of a folder, or those that fit a pattern.

Nothing outside of what is named is read: of a folder or pattern no hidden file, and no link that leads out of it.
"""

import difflib
import glob
import os
from collections.abc import Iterator
from pathlib import Path

from engine.data.dataset_layout import ABOUT, choose
from engine.data.readers import DOCUMENTS, KNOWN, READERS, kind_of
from engine.errors import DataError


def find(source: str, config: str | None = None, split: str | None = None) -> list[Path]:
    """The files that a path names, in a fixed order. `config` and `split` choose among those of a folder.

    Raises `DataError` where there is none, or one may not be read.
    """
    path = Path(source).expanduser()
    name = shown(path)
    if path.is_dir():
        files = _rows_of(sorted(_below(path)), f"{name}: no files of rows in this folder")
        if config is None and split is None:
            return files
        names = {file.relative_to(path).as_posix(): file for file in files}
        return [names[each] for each in choose(list(names), "", config, split, name)]
    if not path.exists() and glob.has_magic(str(path)):
        return _rows_of(sorted(_fitting(path)), f"{name}: no file of rows fits this pattern")
    if not path.exists():
        raise DataError(f"{name}: no such file", _nearest(path))
    if not kind_of(path):
        ending = f"files ending in {path.suffix}" if path.suffix else "files without an ending"
        raise DataError(f"{name}: cannot read {ending}", f"Data files end in {KNOWN}.")
    return [path]


def check(path: Path, name: str) -> None:
    """Raise `DataError` where a file may not be read, or is empty."""
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise DataError(f"{name}: the file is empty", "Put rows in it, or name another file.")
    except PermissionError as error:
        raise DataError(f"{name}: may not be read", f"Give yourself the right: chmod u+r {name}") from error
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror}", "Check that it is a file.") from error


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
        for name in names:
            path = Path(place, name)
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


def _rows_of(files: list[Path], problem: str) -> list[Path]:
    """Those that hold rows: tables, or where there are none, documents; not what tells of them (README, …)."""
    files = [file for file in files if file.name.lower() not in ABOUT]
    tables = [file for file in files if kind_of(file) in READERS]
    found = tables or [file for file in files if kind_of(file) in DOCUMENTS]
    if not found:
        raise DataError(problem, f"Data files end in {KNOWN}. Links that lead elsewhere are not read.")
    return found


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
