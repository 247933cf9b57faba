"""Rows of any source → clean JSONL: conversations as `messages`, copies left out, split by the seed, with a report."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engine.config.schema import TrainConfig
from engine.data.augment import journal as journals
from engine.data.augment.journal import Journal
from engine.data.formats.base import RowError
from engine.data.jsonl import RowLines, content_of
from engine.data.lint.likeness import Likeness
from engine.data.lint.texts import said
from engine.data.prepare import Progress, selections
from engine.data.readers.table import Keep
from engine.data.samples import read_row
from engine.data.selection import CHUNK
from engine.data.split import held_out, share_of
from engine.data.types import Row
from engine.data.unusable_rows import Problems
from engine.data.unused_fields import Unused
from engine.errors import ConfigError, DataError
from engine.storage.disk_errors import explaining

TRAIN, VALIDATION, REPORT = "train.jsonl", "validation.jsonl", "report.json"


@dataclass
class Report:
    """What became of the rows."""

    rows: int = 0
    train: int = 0
    validation: int = 0
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
    """Where the rows come from, and what was found."""
    seed: int = 0
    augmented: dict[str, Any] | None = None
    """What a model made of the training rows, where that was asked for."""


Make = Callable[[Journal], tuple[Sequence[Row], dict[str, Any]]]
"""Makes more training rows of those that are written, and says what has come of it."""


def rewrite(
    config: TrainConfig,
    folder: Path,
    *,
    near: bool = False,
    progress: Progress = lambda done, total: None,
    make: Make | None = None,
) -> Report:
    """Write `train.jsonl`, `validation.jsonl` and `report.json` into a new folder.

    Rows keep their order. Held out are those of a source that `data.validation` names, or a share of all, chosen by
    the seed. `near` also leaves out rows that are nearly the same as an earlier one. Broken rows are left out and
    told. The rows of `make` are added to the training rows; a folder where that was stopped is written anew. Raises
    ConfigError where the folder is taken, `DataError` where no row is left, MachineError where the disk takes no more:
    then nothing is left in the folder, unless a later call goes on with it.
    """
    if _is_taken(folder, going_on=make is not None):
        raise ConfigError(f"{folder} is there already", "Name a new folder, or an empty one.")
    report = Report(seed=config.seed)
    lines = RowLines()
    keys, left_out = _copies(config, report, lines, near, progress)
    if not keys.keys() - left_out:
        raise DataError("no row is left to write", "\n".join(report.problems[:3]))
    held = _held(config, keys)
    sides = {number: bool(held[number]) for number in keys if number not in left_out}
    report.validation = sum(sides.values())
    report.train = len(sides) - report.validation
    with (
        _filling(folder, going_on=make is not None),
        journals.opened(folder) if make else nullcontext() as journal,
    ):
        _write(config, folder, sides, lines)
        if make and journal:
            made, report.augmented = make(journal)
            with (folder / TRAIN).open("a", encoding="utf-8") as train:
                train.writelines(map(lines.line, made))
            report.train += len(made)
        text = json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n"
        (folder / REPORT).write_text(text, encoding="utf-8")
    return report


@contextmanager
def _filling(folder: Path, going_on: bool) -> Iterator[None]:
    """Make a folder for what the block writes; where that fails, remove it, unless a later call goes on with it."""
    made = not folder.exists()
    with explaining(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            yield
        except BaseException:
            if not going_on:
                for name in (TRAIN, VALIDATION, REPORT):
                    (folder / name).unlink(missing_ok=True)
                if made:
                    folder.rmdir()
            raise


def _held(config: TrainConfig, keys: Mapping[int, int]) -> Keep:
    """Which of all rows validate: those of a validation source, or the share that a run on the same recipe chooses."""
    train, validation = selections(config)
    if validation is not None:
        return np.arange(train.count + validation.count) >= train.count
    numbers, contents = (np.fromiter(each, np.int64, len(keys)) for each in (keys.keys(), keys.values()))
    return held_out(numbers, contents, train.count, share_of(config, None), config.seed)


def _write(config: TrainConfig, folder: Path, held: Mapping[int, bool], lines: RowLines) -> None:
    """The rows of `held`, by whether they validate."""
    files = ((folder / name).open("w", encoding="utf-8") for name in (TRAIN, VALIDATION))
    with next(files) as train, next(files) as validation:
        for number, _, row in _rows(config):
            if number in held and row is not None and not isinstance(row, RowError):
                (validation if held[number] else train).write(lines.line(row))
    if not any(held.values()):
        (folder / VALIDATION).unlink()


def _is_taken(folder: Path, going_on: bool) -> bool:
    """Whether a folder holds anything but what a call that was stopped has left there, and this one goes on with."""
    if not folder.is_dir():
        return folder.exists()
    there = {path.name for path in folder.iterdir()}
    left = {TRAIN, VALIDATION, journals.NAME} if going_on and journals.NAME in there else set()
    return bool(there - left)


def _copies(
    config: TrainConfig, report: Report, lines: RowLines, near: bool, progress: Progress
) -> tuple[dict[int, int], set[int]]:
    """A hash of what each usable row says, by its number, and the numbers of those that are not to be written because
    an earlier one says the same. Counts all in the report."""
    selected = [selection for selection in selections(config) if selection is not None]
    for selection in selected:
        report.sources += [*selection.notes, *(detected.evidence for detected in selection.detected)]
        report.unreadable += selection.unreadable
    total = sum(selection.count for selection in selected)
    problems = Problems(skip=True)
    keys: dict[int, int] = {}
    left_out: set[int] = set()
    unused = Unused()
    seen: set[int] = set()
    likeness, waiting = Likeness(), list[tuple[int, str]]()
    for number, where, row in _rows(config):
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
    report.broken, report.reasons, report.problems = problems.count, dict(problems.reasons), problems.told
    return keys, left_out | alike


def _key(row: Row) -> int:
    """Equal for equal rows, int64: of a million different ones, two are taken for equal once in 37 million times."""
    digest = hashlib.blake2b(json.dumps(content_of(row), sort_keys=True).encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _rows(config: TrainConfig) -> Iterator[tuple[int, str, Row | RowError | None]]:
    """All rows by number and place: as they are read, None for a bad answer, or what is wrong with one."""
    number = 0
    for selection in selections(config):
        for row_format, chunk in selection.chunks() if selection else ():
            for where, columns in chunk:
                try:
                    yield number, where, read_row(columns, where, row_format, config.data.train_on)
                except RowError as error:
                    yield number, where, error
                number += 1
