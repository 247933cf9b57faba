"""Rows of any source → clean JSONL: conversations as `messages`, copies left out, split by the seed, with a report."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.config.schema import TrainConfig
from engine.data.augment import journal as journals
from engine.data.augment.journal import Journal
from engine.data.formats.base import RowError
from engine.data.jsonl import RowLines, content_of, pair_line
from engine.data.lint.likeness import Likeness
from engine.data.lint.texts import said
from engine.data.prepare import Progress, selections
from engine.data.readers.table import Keep
from engine.data.samples import read_row
from engine.data.selection import CHUNK, Selection
from engine.data.sources.resolve import ResolvedSources, resolve
from engine.data.split import share_of, validation_mask
from engine.data.types import Preference, Row
from engine.data.unusable_rows import Problems
from engine.data.unused_fields import Unused
from engine.errors import ConfigError, DataError
from engine.storage.disk_errors import explaining

TRAIN, VALIDATION, PAIRS, REPORT = "train.jsonl", "validation.jsonl", "pairs.jsonl", "report.json"


@dataclass
class Report:
    """Counts of what happened to the rows."""

    rows: int = 0
    train: int = 0
    validation: int = 0
    pairs: int = 0
    copies: int = 0
    near_copies: int = 0
    unused: int = 0
    """Labelled as bad answers."""
    broken: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Broken rows by what is wrong with them."""
    problems: list[str] = field(default_factory=list)
    """The first broken rows, and why."""
    unreadable: int = 0
    """Not even read, and not among `rows`; `sources` names them."""
    sources: list[str] = field(default_factory=list)
    """Notes on the sources and their formats."""
    seed: int = 0
    augmented: dict[str, Any] | None = None
    """Counts of augmentation, if it was asked for."""


Selections = tuple[Selection, Selection | None]
"""Training rows, and rows of a validation source."""
NumberedRow = tuple[int, str, Row | RowError | None]
"""Number and place of a row, and the row: None for a bad answer, an error if it cannot be read."""
Rows = Callable[[], Iterator[NumberedRow]]
"""Reads all rows."""
Make = Callable[[Journal], tuple[Sequence[Row | Preference], dict[str, Any]]]
"""Makes more training rows, or pairs, from those that are written; returns them, and counts for the report."""


def rewrite(
    config: TrainConfig,
    folder: Path,
    *,
    near: bool = False,
    progress: Progress = lambda done, total: None,
    make: Make | None = None,
    sources: ResolvedSources | None = None,
) -> Report:
    """Write `train.jsonl`, `validation.jsonl` and `report.json` into a new folder.

    Rows keep their order. Validation gets those of a source that `data.validation` names, or a share of all, chosen by
    the seed. `near` also leaves out rows that are nearly the same as an earlier one. Broken rows are left out and
    reported. The rows of `make` are added to the training rows, its pairs written to `pairs.jsonl`; a folder where that
    was stopped is written again.
    `sources` are those of the recipe, None resolves them.

    Raises ConfigError where the folder is taken, `DataError` where no row is left, MachineError where the disk is full:
    then nothing is left in the folder, unless a later call continues it.
    """
    if _is_taken(folder, going_on=make is not None):
        raise ConfigError(f"{folder} is there already", "Name a new folder, or an empty one.")
    report = Report(seed=config.seed)
    lines = RowLines()
    selected = selections(config, sources or resolve(config.data))
    rows = partial(_rows, config, selected)
    keys, left_out = _copies(selected, rows, report, lines, near, progress)
    if not keys.keys() - left_out:
        raise DataError("no row is left to write", "\n".join(report.problems[:3]))
    validates = _validation_rows(config, selected, keys)
    sides = {number: bool(validates[number]) for number in keys if number not in left_out}
    report.validation = sum(sides.values())
    report.train = len(sides) - report.validation
    with (
        _filling(folder, going_on=make is not None),
        journals.opened(folder) if make else nullcontext() as journal,
    ):
        _write(rows, folder, sides, lines)
        if make and journal:
            made, report.augmented = make(journal)
            pairs = [one for one in made if isinstance(one, Preference)]
            more = [one for one in made if not isinstance(one, Preference)]
            with (folder / TRAIN).open("a", encoding="utf-8") as train:
                train.writelines(map(lines.line, more))
            if pairs:
                (folder / PAIRS).write_text("".join(map(pair_line, pairs)), encoding="utf-8")
            report.train, report.pairs = report.train + len(more), len(pairs)
        text = json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n"
        (folder / REPORT).write_text(text, encoding="utf-8")
    return report


@contextmanager
def _filling(folder: Path, going_on: bool) -> Iterator[None]:
    """Make a folder for what the block writes; where that fails, remove it, unless a later call continues with it."""
    made = not folder.exists()
    with explaining(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            yield
        except BaseException:
            if not going_on:
                for name in (TRAIN, VALIDATION, PAIRS, REPORT):
                    (folder / name).unlink(missing_ok=True)
                if made:
                    folder.rmdir()
            raise


def _validation_rows(config: TrainConfig, selected: Selections, keys: Mapping[int, int]) -> Keep:
    """Mask over all rows of those that validate: rows of a validation source, or the share that a run chooses."""
    train, validation = selected
    if validation is not None:
        return np.arange(train.count + validation.count) >= train.count
    numbers, contents = (np.fromiter(each, np.int64, len(keys)) for each in (keys.keys(), keys.values()))
    return validation_mask(numbers, contents, train.count, share_of(config, None), config.seed)


def _write(rows: Rows, folder: Path, sides: Mapping[int, bool], lines: RowLines) -> None:
    """Write the rows of `sides` to the file for validation where they are True, else to that for training."""
    files = ((folder / name).open("w", encoding="utf-8") for name in (TRAIN, VALIDATION))
    with next(files) as train, next(files) as validation:
        for number, _, row in rows():
            if number in sides and row is not None and not isinstance(row, RowError):
                (validation if sides[number] else train).write(lines.line(row))
    if not any(sides.values()):
        (folder / VALIDATION).unlink()


def _is_taken(folder: Path, going_on: bool) -> bool:
    """Return True if a folder holds anything but what a stopped call has left, which this one continues."""
    if not folder.is_dir():
        return folder.exists()
    there = {path.name for path in folder.iterdir()}
    left = {TRAIN, VALIDATION, PAIRS, journals.NAME} if going_on and journals.NAME in there else set()
    return bool(there - left)


def _copies(
    selected: Selections, rows: Rows, report: Report, lines: RowLines, near: bool, progress: Progress
) -> tuple[dict[int, int], set[int]]:
    """A hash of what each usable row says, by its number, and the numbers of those that are not to be written because
    an earlier one says the same. Counts all in the report."""
    there = [selection for selection in selected if selection is not None]
    for selection in there:
        report.sources += [*selection.notes, *(detected.evidence for detected in selection.detected)]
        report.unreadable += selection.unreadable
    total = sum(selection.count for selection in there)
    problems = Problems(skip=True)
    keys: dict[int, int] = {}
    left_out: set[int] = set()
    unused = Unused()
    seen: set[int] = set()
    likeness, waiting = Likeness(), list[tuple[int, str]]()
    for number, where, row in rows():
        report.rows = number + 1
        if isinstance(row, RowError):
            problems.add(number, where, row)
        elif row is None:
            report.unused += 1
        elif (key := keys.setdefault(number, _key(row))) in seen:
            report.copies += 1
            left_out.add(number)
        else:
            seen.add(key)
            unused.count(row)
            lines.see(row)
            if near:
                waiting.append((number, said(row)))
            if len(waiting) == CHUNK:
                likeness.add(waiting)
                waiting = []
        if not report.rows % CHUNK:
            progress(report.rows, total)
    likeness.add(waiting)
    report.sources += unused.notes(report.rows)
    alike = set(likeness.pairs()[0].tolist())
    report.near_copies = len(alike)
    report.broken, report.reasons, report.problems = (
        problems.count,
        dict(problems.reasons),
        problems.described,
    )
    return keys, left_out | alike


def _key(row: Row) -> int:
    """Equal for equal rows, int64: of a million different ones, two are taken for equal once in 37 million times."""
    digest = hashlib.blake2b(json.dumps(content_of(row), sort_keys=True).encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _rows(config: TrainConfig, selected: Selections) -> Iterator[NumberedRow]:
    """All rows by number and place: as they are read, None for a bad answer, or what is wrong with one."""
    number = 0
    for selection in selected:
        for row_format, chunk in selection.chunks() if selection else ():
            for where, columns in chunk:
                try:
                    yield number, where, read_row(columns, where, row_format, config.data.train_on)
                except RowError as error:
                    yield number, where, error
                number += 1
