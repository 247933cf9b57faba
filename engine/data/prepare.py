"""The data stage from end to end: a recipe and a model's folder → the tokens that a run trains on."""

import errno
import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np

from engine.config.schema import TrainConfig
from engine.data import cache
from engine.data.cache import Inputs
from engine.data.eval_prompts import questions
from engine.data.findings import Finding, SoFar, Watch
from engine.data.lint.compared import ComparedRow
from engine.data.lint.linter import Linter
from engine.data.lint_pass import LintPass
from engine.data.readers.table import Keep
from engine.data.selection import Selection, choose, select
from engine.data.sources.resolve import ResolvedSources, resolve
from engine.data.split import Numbers, drawn, share_of, validation_mask
from engine.data.store import Store
from engine.data.token_spec import TokenSpec
from engine.data.tokenise import tokenise
from engine.data.tokenization.row_encoder import RowEncoder
from engine.data.tokenization.token_limits import Limit
from engine.data.types import Dataset, Question, ValidationRows
from engine.data.unusable_rows import Problems, left_out
from engine.errors import DataError

WHOLE = "whole"
"""Store of all training rows until it is known which of them validate."""
Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """Ignore progress."""


def _unwatched(so_far: SoFar) -> None:
    """Ignore partial findings."""


def prepare(
    config: TrainConfig,
    model_dir: Path,
    progress: Progress = _silent,
    *,
    lint: bool = False,
    watch: Watch = _unwatched,
    day: date | None = None,
    sources: ResolvedSources | None = None,
) -> Dataset:
    """Read, convert, split and tokenise, or load from the cache what an earlier run has made of the same.

    `progress(done, total)` counts rows. `lint` also checks the rows, and calls `watch` after every chunk of them;
    `day` is the date for a template that writes it, None is today. `sources` are those of the recipe, None resolves
    them. For a training method that takes pairs or labelled answers the examples have groups and signs (see
    `Examples`).

    Questions are made of at most `evaluation.max_questions` validation rows, chosen by the seed.
    Raises `DataError` with the rows at fault, `ModelError` where the tokenizer cannot encode them, OSError where the
    disk is full.
    """
    spec = TokenSpec.of(config)
    sources = sources or resolve(config.data)
    inputs = Inputs(config, model_dir, sources.paths, lint, day)
    if (known := cache.find(inputs.key)) is not None:
        count = len(known.train) + len(known.validation or ())
        return replace(known, notes=(*known.notes, f"{count:,} examples were tokenised by an earlier run"))
    with cache.making(inputs.key) as folder:
        encoder = spec.encoder(model_dir, day)
        _make(config, sources, encoder, folder, progress, watch if lint else None)
        inputs.check()
    made = cache.find(inputs.key)
    if made is None:
        raise OSError(errno.EIO, "the prepared data cannot be read back", str(folder.parent))
    return made


def _make(
    config: TrainConfig,
    sources: ResolvedSources,
    encoder: RowEncoder,
    folder: Path,
    progress: Progress,
    watch: Watch | None,
) -> None:
    """Write a cache entry into `folder`; the rows are checked if there is somebody who watches."""
    train, own = selections(config, sources)
    total = train.count + (own.count if own else 0)
    limit, overlap = Limit.of(config.model.max_seq_length, encoder.room), config.data.chunk_overlap
    signed = encoder.samples != "supervised"
    training = Store(folder / cache.TRAIN, signed=signed)
    validation = Store(folder / cache.VALIDATION, signed=signed)
    both = [train, *([own] if own else [])]
    lint_pass = LintPass(Linter(encoder.tokenizer, limit), both, watch) if watch else None

    def made(selection: Selection, store: Store, first: int) -> tuple[list[str], list[Finding]]:
        def observe(rows: Sequence[ComparedRow]) -> None:
            if lint_pass:
                lint_pass.add(first, rows)

        def advance(done: int) -> None:
            progress(first + done, total)
            if lint_pass:
                lint_pass.report()

        found, problems = tokenise(selection, encoder, limit, overlap, store.add, observe, advance)
        return [*_notes(config, selection, encoder), *found], _left_out(selection, problems, first)

    share = share_of(config, own)
    # The split, and how often a row is trained, are settled once all rows are known.
    whole = Store(folder / WHOLE, signed=signed) if share or train.times.max() > 1 else training
    notes, findings = made(train, whole, 0)
    if whole is not training:
        validates = validation_mask(whole.row_ids, whole.content_hashes, train.count, share, config.seed)
        _divide(whole, validates, train.times, training, validation)
        shutil.rmtree(folder / WHOLE)
        if lint_pass:
            lint_pass.mark_validation(np.flatnonzero(validates))
        notes += _split_notes(validates, whole, share)
    if own:
        if lint_pass:
            lint_pass.mark_validation(range(train.count, total))
        more, strange = made(own, validation, train.count)
        notes += [f"validation: {note}" for note in more]
        findings += strange
    if not len(training):
        why = "\n  ".join(["no training rows are left:", *notes]) if notes else "no training rows are left"
        raise DataError(why, "Give other rows, or raise model.max_seq_length.")
    training.close()
    validation.close()
    notes += _overlap(training, validation)
    fingerprint = hashlib.sha256(f"{training.digest} {validation.digest}".encode()).hexdigest()
    asked = _asked(config, own or train, validation, encoder)
    found = lint_pass.findings(findings) if lint_pass else ()
    cache.describe(folder, asked, fingerprint, notes, found, encoder.samples)


def _divide(whole: Store, validates: Keep, times: Numbers, training: Store, validation: Store) -> None:
    """Put each group of examples on the side of its row, for training as many times as an epoch trains it."""
    rows = whole.group_rows
    groups, aside = np.arange(len(rows)), validates[rows]
    training.append_from(whole, np.repeat(groups[~aside], times[rows[~aside]]))
    validation.append_from(whole, groups[aside])


def _split_notes(validates: Keep, whole: Store, share: float) -> list[str]:
    there = len(np.unique(whole.row_ids))
    if not share or there < 2:
        return []
    if not validates.any():
        return ["no row is used for validation: all of them are the same"]
    return [f"{int(validates.sum())} of {there} rows are used for validation"]


def _asked(
    config: TrainConfig, selection: Selection, validation: Store, encoder: RowEncoder
) -> tuple[Question, ...]:
    """Make questions of the validation rows, at most as many as the recipe asks for."""
    rows = np.unique(validation.row_ids)
    few = rows[choose(len(rows), config.evaluation.max_questions, config.seed)]
    limit = Limit.of(config.model.max_seq_length, encoder.room).tokens
    return questions(selection.only(few), encoder, limit) if len(few) else ()


def _left_out(selection: Selection, problems: Problems, first: int) -> list[Finding]:
    """Findings about the rows that are left out; `first` is the number of the first row of the selection."""
    rows = tuple(first + row for row in problems.rows)
    return [
        *left_out("unreadable", selection.unreadable, selection.there),
        *left_out("unusable", problems.count, selection.count, problems.counted, rows),
    ]


def sample(
    config: TrainConfig,
    model_dir: Path,
    rows: int = 256,
    encoder: RowEncoder | None = None,
    sources: ResolvedSources | None = None,
) -> tuple[Dataset, int]:
    """Encode a sample of at most `rows` training rows, and estimate how many examples there are in all.

    `encoder` spares reading the tokenizer again. `sources` as in `prepare`. Raises what `prepare` raises for the rows
    that it reads.
    """
    encoder = encoder or TokenSpec.of(config).encoder(model_dir)
    train, own = selections(config, sources or resolve(config.data))
    trained = train.times[~drawn(train.count, share_of(config, own), config.seed)]
    few = train.limited(rows, config.seed)
    sampled = Store(signed=encoder.samples != "supervised")
    limit = Limit.of(config.model.max_seq_length, encoder.room)
    found, _ = tokenise(few, encoder, limit, config.data.chunk_overlap, sampled.add)
    notes = (*_notes(config, train, encoder), *found)
    count = round(int(trained.sum()) * len(sampled) / few.count)
    return Dataset(sampled.close(), None, (), sampled.digest, notes), count


def validation_rows(
    config: TrainConfig, model_dir: Path, sources: ResolvedSources, progress: Progress = _silent
) -> ValidationRows:
    """Encode every row of the sources to be scored: nothing is split off, repeated by a weight, or kept in the cache.

    Raises what `prepare` raises.
    """
    encoder = TokenSpec.of(config).encoder(model_dir)
    selection = select(sources.training(), config.data.max_samples, config.seed)
    limit = Limit.of(config.model.max_seq_length, encoder.room)
    store = Store(signed=encoder.samples != "supervised")
    found, _ = tokenise(
        selection,
        encoder,
        limit,
        config.data.chunk_overlap,
        store.add,
        progress=lambda done: progress(done, selection.count),
    )
    asked = _asked(config, selection, store, encoder)
    return ValidationRows(store.close(), asked, (*_notes(config, selection, encoder), *found))


def selections(config: TrainConfig, sources: ResolvedSources) -> tuple[Selection, Selection | None]:
    """Select the training rows, and those of a validation source if there is one. Raises `DataError`."""
    train = select(sources.training(), config.data.max_samples, config.seed)
    source = sources.validation()
    return train, select([source], None, config.seed) if source else None


def _notes(config: TrainConfig, selection: Selection, encoder: RowEncoder) -> list[str]:
    notes = [*selection.notes, *(detected.evidence for detected in selection.detected)]
    limits = (config.data.max_samples, *(source.max_samples for source in selection.sources))
    if selection.count < selection.there and any(limits):
        notes.append(
            f"{selection.count} of {selection.there} rows are used (max_samples), chosen by seed {config.seed}"
        )
    return notes


def _overlap(train: Store, validation: Store) -> list[str]:
    """Note about validation rows that are also trained on."""
    same = int(np.isin(validation.group_hashes, train.group_hashes).sum())
    if not same:
        return []
    return [
        f"{same} of {len(validation.group_rows)} validation rows are also training rows: "
        "validation loss will look better than it is"
    ]
