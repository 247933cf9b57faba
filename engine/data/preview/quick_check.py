"""The lint for somebody who waits: what the first rows tell comes before a large file is read whole."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from engine.config.schema import Source, TrainConfig
from engine.data import cache
from engine.data.cache import Inputs
from engine.data.findings import SoFar, Watch
from engine.data.formats.choice import choice_of
from engine.data.lint.linter import Linter
from engine.data.prepare import Progress, prepare
from engine.data.preview.encoded_rows import EncodedRow
from engine.data.preview.previews import Previews
from engine.data.preview.values import View
from engine.data.sources.archives import beginning, is_beginning
from engine.data.sources.resolve import as_text, everything, files, find, training
from engine.data.sources.splits import Part
from engine.data.tokenization.token_limits import Limit
from engine.data.types import Dataset

FIRST = 2000
"""Rows of the first look."""
STEP = 500
"""Rows after which it says something for the first time, and then again."""
LARGE = 16_000_000
"""Bytes from which a first look is worth its time: less is read at once."""


def check(config: TrainConfig, model_dir: Path, progress: Progress, watch: Watch) -> Dataset:
    """What `prepare` makes with the lint. `watch` hears of the first rows of large files before all else, and then of
    more and more rows. Raises as `prepare` does.
    """
    looked = any(_waits_for_unpacking(source, part) for source, part in everything(config.data))
    if looked:
        check_first_rows(config, watch)
    read = files(config.data)
    if not looked and sum(file.stat().st_size for file in read) > LARGE:
        inputs = Inputs(config, model_dir, read, True, None)
        if inputs.unread > LARGE or cache.find(inputs.key) is None:
            check_first_rows(config, watch)
    return prepare(config, model_dir, progress, lint=True, watch=watch)


def check_first_rows(config: TrainConfig, watch: Watch) -> None:
    """Tell what the first rows of the training sources are like. Raises `DataError`, `ModelError`, `ConfigError`."""
    sources = training(config.data)
    most = -(-FIRST // len(sources))
    problems: list[str] = []
    places: dict[int, str] = {}
    previews = Previews(beginning)
    encoder = previews.encoder(view_of(config, sources[0]))
    linter = Linter(encoder.tokenizer, Limit.of(config.model.max_seq_length, encoder.room))
    told = 0

    def tell() -> None:
        nonlocal told
        told = linter.count
        found = tuple(
            replace(one, places=tuple(places[row] for row in one.rows)) for one in linter.findings()
        )
        watch(SoFar(linter.count, None, lambda: found, tuple(problems)))

    for first, source in zip(itertools.count(0, most), sources, strict=False):
        for looked in _first(previews, as_text(source), view_of(config, source), most):
            problems += [each.problem for each in looked if not each.examples and not each.left_out]
            rows = [(first + number, row, example) for each in looked for number, row, example in each.whole]
            linter.add(rows)
            places |= {number: row.where for number, row, _ in rows}
            if linter.count >= told + STEP:
                tell()
    if linter.count > told:
        tell()


def _waits_for_unpacking(source: Source, part: Part) -> bool:
    """Whether a file of a source is so large and compressed that a first look at its beginning is worth its time."""
    waiting = False

    def noted(path: Path, name: str, packed: str, kind: str) -> Path:
        nonlocal waiting
        plain = beginning(path, name, packed, kind)
        waiting |= is_beginning(plain, path)
        return plain

    find(source, part, unpack=noted)
    return waiting


def view_of(config: TrainConfig, source: Source) -> View:
    """What a recipe says of how the rows of one of its sources become tokens."""
    return View.of(config).of_format(choice_of(source, config.data))


def _first(previews: Previews, source: str, view: View, most: int) -> Iterator[list[EncodedRow]]:
    """The first rows of a source; none if their format is unknown, which preparation reports better."""
    previews.wait_for(source, most - 1, view)
    previews.stop()  # it would take the time of those who wait
    opened = previews.open(source, view)
    if opened.format:
        yield from previews.encoded(source, range(min(most, opened.known)), view)
