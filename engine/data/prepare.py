"""The data stage from end to end: a recipe and a model's folder → the tokens that a run trains on."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.config.schema import TrainConfig
from engine.data.rows import Keep
from engine.data.selection import Selection, choose, select
from engine.data.sources import train_sources, validation_source
from engine.data.templates import RowEncoder
from engine.data.tokenise import Tokenised, tokenise
from engine.data.tokenizer import Tokenizer
from engine.data.types import Dataset, Examples, Int32
from engine.errors import DataError

Progress = Callable[[int, int], None]


def _silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


def prepare(config: TrainConfig, model_dir: Path, progress: Progress = _silent) -> Dataset:
    """Read, convert, split and tokenise. `progress(done, total)` counts rows.

    Questions are made of at most `evaluation.max_questions` validation rows, chosen by the seed.
    Raises `DataError` with the rows at fault, `ModelError` where the tokenizer cannot do it.
    """
    encoder = encoder_of(config, model_dir)
    train, own = _select(config)
    total = train.count + (own.count if own else 0)
    held = np.zeros(train.count, dtype=np.bool_) if own else _held_out(config, train.count)
    most = config.evaluation.max_questions
    limit = config.model.max_seq_length

    ask = np.zeros(train.count, dtype=np.bool_)
    places = np.flatnonzero(held)
    ask[places[choose(len(places), most, config.seed)]] = True
    first = tokenise(train, encoder, limit, ask, lambda done: progress(done, total))
    notes = [*_notes(config, train, encoder), *first.notes]
    if own is None:
        aside = held[first.rows]
        often = np.where(held, 0, train.times)[first.rows]
        training, validation, questions = _pick(first, often), _pick(first, aside), first.questions
        if len(validation):
            notes.append(f"{len(validation)} of {len(first.rows)} rows are held out for validation")
    else:
        ask = choose(own.count, most, config.seed)
        second = tokenise(own, encoder, limit, ask, lambda done: progress(train.count + done, total))
        training, validation = _pick(first, train.times[first.rows]), second.examples
        questions = second.questions
        notes += [f"validation: {note}" for note in (*_notes(config, own, encoder), *second.notes)]
    if not len(training):
        raise DataError("no training rows are left", "Give more rows, or raise model.max_seq_length.")
    notes += _overlap(training, validation)
    return Dataset(
        train=training,
        validation=validation if len(validation) else None,
        questions=questions,
        fingerprint=_fingerprint(training, validation),
        notes=tuple(notes),
    )


def sample(
    config: TrainConfig, model_dir: Path, rows: int = 256, encoder: RowEncoder | None = None
) -> tuple[Dataset, int]:
    """A quick look at the training rows: the tokens of at most `rows` of them, and how many there are in all.

    `encoder` spares reading the tokenizer again. Raises what `prepare` raises for the rows that it looks at.
    """
    encoder = encoder or encoder_of(config, model_dir)
    train, own = _select(config)
    trained = train.times if own else train.times[~_held_out(config, train.count)]
    few = train.limited(rows, config.seed)
    looked = tokenise(few, encoder, config.model.max_seq_length, np.zeros(few.count, dtype=np.bool_))
    notes = (*_notes(config, train, encoder), *looked.notes)
    dataset = Dataset(looked.examples, None, (), _fingerprint(looked.examples), notes)
    return dataset, int(trained.sum())


def encoder_of(config: TrainConfig, model_dir: Path) -> RowEncoder:
    """What turns this recipe's rows into tokens. Raises `ModelError`, `ConfigError`."""
    return RowEncoder(Tokenizer.load(model_dir, config.model.chat_template), config.data.train_on)


def _select(config: TrainConfig) -> tuple[Selection, Selection | None]:
    """The training rows, and the rows of a validation source where there is one."""
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


def _pick(tokenised: Tokenised, often: npt.NDArray[np.int64] | Keep) -> Examples:
    """Each example as often as it says, int64 `[count]`."""
    examples = tokenised.examples
    if (often == 1).all():
        return examples
    rows = np.repeat(np.arange(len(often)), often)
    lengths = examples.lengths[rows]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.repeat(examples.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
    return Examples(examples.tokens[tokens], examples.trained[tokens], offsets)


def _overlap(train: Examples, validation: Examples) -> list[str]:
    """Validation rows that are also trained on make the validation loss look better than it is."""
    held = {ids.tobytes() for ids in _ids(validation)}
    seen = {key for ids in _ids(train) if (key := ids.tobytes()) in held} if held else set()
    if not seen:
        return []
    same = sum(1 for ids in _ids(validation) if ids.tobytes() in seen)
    return [
        f"{same} of {len(validation)} validation rows are also training rows: their loss flatters the model"
    ]


def _ids(examples: Examples) -> Iterator[Int32]:
    return (
        examples.tokens[start:end] for start, end in zip(examples.offsets, examples.offsets[1:], strict=False)
    )


def _fingerprint(*parts: Examples) -> str:
    """sha256 over tokens, trained flags and row bounds."""
    digest = hashlib.sha256()
    for part in parts:
        for array in (part.offsets, part.tokens, part.trained):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
