"""What the recipe names → tables of rows: finds the file, says what is wrong with it, picks its reader."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from engine.config.schema import Data, Source
from engine.data.choice import FormChoice, choice_of
from engine.data.readers import READERS
from engine.data.rows import Table
from engine.errors import DataError

STARTER = Path(__file__).parent / "starter"
DEFAULT_SHARE = 0.1
"""The validation share for which the starter's own held-out rows stand in."""


@dataclass(frozen=True)
class OpenSource:
    """A source whose file is there: its rows, what the recipe says of their form, and how many to use."""

    name: str
    table: Table
    choice: FormChoice
    max_samples: int | None


def train_sources(data: Data) -> list[OpenSource]:
    """Open every training source. Raises `DataError`."""
    return [_open(source, data, "train.jsonl") for source in _listed(data)]


def validation_source(data: Data) -> OpenSource | None:
    """Open the validation source; None where a share of the training rows is held out instead.

    The starter ships held-out rows of its own: they are used unless another share is asked for.
    Raises `DataError`.
    """
    if not isinstance(data.validation, float | int):
        return _open(data.validation, data, "validation.jsonl")
    return _open("starter", data, "validation.jsonl") if _brings_validation(data) else None


def _brings_validation(data: Data) -> bool:
    names = [source if isinstance(source, str) else source.path for source in _listed(data)]
    return names == ["starter"] and data.validation == DEFAULT_SHARE


def files(data: Data) -> list[Path]:
    """Every file that is read for training and validation, in a fixed order. Raises `DataError`."""
    named = [locate(source if isinstance(source, str) else source.path)[0] for source in _listed(data)]
    if not isinstance(data.validation, float | int):
        held = data.validation if isinstance(data.validation, str) else data.validation.path
        return [*named, locate(held, "validation.jsonl")[0]]
    return [*named, locate("starter", "validation.jsonl")[0]] if _brings_validation(data) else named


def _listed(data: Data) -> list[str | Source]:
    return data.train if isinstance(data.train, list) else [data.train]


def _open(source: str | Source, data: Data, starter_file: str) -> OpenSource:
    if isinstance(source, str):
        source = Source(path=source)
    path, name = locate(source.path, starter_file)
    table = READERS[path.suffix.lower()](path, name)
    return OpenSource(name, table, choice_of(source, data), source.max_samples)


def locate(source: str, starter_file: str = "train.jsonl") -> tuple[Path, str]:
    """The file that a source names, and its name for people: it is there, readable, not empty, of a known kind.

    Raises `DataError`.
    """
    if source == "starter":
        return STARTER / starter_file, f"starter/{starter_file}"
    path = Path(source).expanduser()
    name = _shown(path)
    if path.is_dir():
        raise DataError(f"{name}: is a folder, not a file", _offer(path, "Name one of its files"))
    if not path.exists():
        raise DataError(f"{name}: no such file", _nearest(path))
    if path.suffix.lower() not in READERS:
        known = ", ".join(READERS)
        ending = f"files ending in {path.suffix}" if path.suffix else "files without an ending"
        raise DataError(f"{name}: cannot read {ending}", f"Data files end in {known}.")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise DataError(f"{name}: the file is empty", "Put rows in it, or name another file.")
    except PermissionError as error:
        raise DataError(f"{name}: may not be read", f"Give yourself the right: chmod u+r {name}") from error
    return path, name


def _shown(path: Path) -> str:
    """The path as short as it stays clear: relative where it lies below the working folder."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _nearest(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"The folder {_shown(folder)} does not exist either."
    names = [entry.name for entry in folder.iterdir()]
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(near)}?" if near else _offer(folder, "There is")


def _offer(folder: Path, lead: str) -> str:
    files = sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in READERS)
    if not files:
        return f"{_shown(folder)} holds no data files ({', '.join(READERS)})."
    more = f" and {len(files) - 5} more" if len(files) > 5 else ""
    return f"{lead}: {', '.join(files[:5])}{more}."
