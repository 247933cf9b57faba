"""The data stage from end to end: a recipe and a model's folder → the tokens that a run trains on."""

import errno
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

from engine.config.schema import TrainConfig
from engine.data import cache
from engine.data.cache import Inputs
from engine.data.lint.findings import SoFar, Watch
from engine.data.lint.linter import Linter
from engine.data.looker import Looker
from engine.data.rows import Keep
from engine.data.selection import Selection, choose, select
from engine.data.sources import files, train_sources, validation_source
from engine.data.store import Store
from engine.data.templates import Encoded, RowEncoder
from engine.data.tokenise import tokenise
from engine.data.tokenizer import Tokenizer
from engine.data.types import Dataset
from engine.errors import DataError

Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


def _unwatched(so_far: SoFar) -> None:
    """Findings that nobody asks for before they are whole."""


def prepare(
    config: TrainConfig,
    model_dir: Path,
    progress: Progress = _silent,
    *,
    lint: bool = False,
    watch: Watch = _unwatched,
    day: date | None = None,
) -> Dataset:
    """Read, convert, split and tokenise, or take what an earlier run has made of the same. `progress(done, total)`
    counts rows. `lint` also looks for what would waste a run, and tells `watch` after every chunk of rows; `day` is
    what a template that writes the date is told, None is today.

    Questions are made of at most `evaluation.max_questions` validation rows, chosen by the seed.
    Raises `DataError` with the rows at fault, `ModelError` where the tokenizer cannot do it, OSError where the disk
    takes no more.
    """
    inputs = Inputs(config, model_dir, files(config.data), lint, day)
    if (known := cache.find(inputs.key)) is not None:
        count = len(known.train) + len(known.validation or ())
        return replace(known, notes=(*known.notes, f"{count:,} examples were tokenised by an earlier run"))
    with cache.making(inputs.key) as folder:
        _make(config, encoder_of(config, model_dir, day), folder, progress, watch if lint else None)
        inputs.check()
    made = cache.find(inputs.key)
    if made is None:
        raise OSError(errno.EIO, "the prepared data cannot be read back", str(folder.parent))
    return made


def _make(
    config: TrainConfig, encoder: RowEncoder, folder: Path, progress: Progress, watch: Watch | None
) -> None:
    """Write a cache's entry into `folder`; the lint looks where somebody watches it."""
    train, own = selections(config)
    total = train.count + (own.count if own else 0)
    held = np.zeros(train.count, dtype=np.bool_) if own else _held_out(config, train.count)
    most = config.evaluation.max_questions
    limit, overlap = config.model.max_seq_length, config.data.chunk_overlap
    training, validation = Store(folder / cache.TRAIN), Store(folder / cache.VALIDATION)

    def split(chunk: Sequence[tuple[int, Encoded]]) -> None:
        training.add([row for number, row in chunk if not held[number] for _ in range(train.times[number])])
        validation.add([row for number, row in chunk if held[number]])

    looker = Looker(Linter(encoder.tokenizer, limit), train, own, held, watch) if watch else None

    def told(done: int) -> None:
        progress(done, total)
        if looker:
            looker.told()

    ask = np.zeros(train.count, dtype=np.bool_)
    aside = np.flatnonzero(held)
    ask[aside[choose(len(aside), most, config.seed)]] = True
    questions, found = tokenise(
        train, encoder, limit, overlap, ask, split, looker.train if looker else None, told
    )
    notes = [*_notes(config, train, encoder), *found]
    if own is None:
        if len(validation):
            notes.append(f"{int(held.sum())} of {train.count} rows are held out for validation")
    else:
        ask = choose(own.count, most, config.seed)
        questions, found = tokenise(
            own, encoder, limit, overlap, ask, lambda chunk: validation.add([row for _, row in chunk]),
            looker.validation if looker else None, lambda done: told(train.count + done),
        )  # fmt: skip
        notes += [f"validation: {note}" for note in (*_notes(config, own, encoder), *found)]
    if not len(training):
        raise DataError("no training rows are left", "Give more rows, or raise model.max_seq_length.")
    training.close()
    validation.close()
    notes += _overlap(training, validation)
    fingerprint = hashlib.sha256(f"{training.digest} {validation.digest}".encode()).hexdigest()
    cache.describe(folder, questions, fingerprint, notes, looker.findings() if looker else ())


def sample(
    config: TrainConfig, model_dir: Path, rows: int = 256, encoder: RowEncoder | None = None
) -> tuple[Dataset, int]:
    """A quick look at the training rows: the examples of at most `rows` of them, and about how many there are in all.

    `encoder` spares reading the tokenizer again. Raises what `prepare` raises for the rows that it looks at.
    """
    encoder = encoder or encoder_of(config, model_dir)
    train, own = selections(config)
    trained = train.times if own else train.times[~_held_out(config, train.count)]
    few = train.limited(rows, config.seed)
    looked, nobody = Store(), np.zeros(few.count, dtype=np.bool_)
    limit, overlap = config.model.max_seq_length, config.data.chunk_overlap
    _, found = tokenise(
        few, encoder, limit, overlap, nobody, lambda chunk: looked.add([row for _, row in chunk])
    )
    notes = (*_notes(config, train, encoder), *found)
    count = round(int(trained.sum()) * len(looked) / few.count)
    return Dataset(looked.close(), None, (), looked.digest, notes), count


def encoder_of(config: TrainConfig, model_dir: Path, day: date | None = None) -> RowEncoder:
    """What turns this recipe's rows into tokens. Raises `ModelError`, `ConfigError`."""
    return RowEncoder(Tokenizer.load(model_dir, config.model.chat_template, day), config.data.train_on)


def selections(config: TrainConfig) -> tuple[Selection, Selection | None]:
    """The training rows, and the rows of a validation source where there is one. Raises `DataError`."""
    train = select(train_sources(config.data), config.data.max_samples, config.seed)
    source = validation_source(config.data)
    return train, select([source], None, config.seed) if source else None


def _held_out(config: TrainConfig, count: int) -> Keep:
    """Which training rows are held out: the share of the recipe, at least one row and never all of them."""
    share = config.data.validation
    if not isinstance(share, float | int) or share == 0 or count < 2:
        return np.zeros(count, dtype=np.bool_)
    return choose(count, min(max(round(share * count), 1), count - 1), config.seed)


def _notes(config: TrainConfig, selection: Selection, encoder: RowEncoder) -> list[str]:
    notes = [*selection.notes, *(detected.evidence for detected in selection.detected)]
    there = sum(len(mask) for mask in selection.keep)
    limits = (config.data.max_samples, *(source.max_samples for source in selection.sources))
    if selection.count < there and any(limits):
        notes.append(
            f"{selection.count} of {there} rows are used (max_samples), chosen by seed {config.seed}"
        )
    return notes


def _overlap(train: Store, validation: Store) -> list[str]:
    """Validation rows that are also trained on make the validation loss look better than it is."""
    same = int(np.isin(validation.contents, train.contents).sum())
    if not same:
        return []
    return [
        f"{same} of {len(validation)} validation rows are also training rows: their loss flatters the model"
    ]
