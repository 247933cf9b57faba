"""Lint for somebody who waits: findings about the first rows come before a large file is read whole."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from engine.config.schema import TrainConfig
from engine.config.sections import Source
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
from engine.data.sources.resolve import Fetched, FetchedSources, as_text, fetch, training
from engine.data.tokenization.token_limits import Limit
from engine.data.types import Dataset

FIRST = 2000
"""First rows that are checked."""
STEP = 500
"""Rows between two reports."""
LARGE = 16_000_000
"""Bytes from which checking the first rows is worth its time: less is read in a moment."""


def check(
    config: TrainConfig,
    model_dir: Path,
    progress: Progress,
    watch: Watch,
    fetched: FetchedSources | None = None,
) -> Dataset:
    """Prepare a recipe with the lint. `watch` gets findings about the first rows of large files first, then of
    more and more rows. Raises as `prepare` does.
    """
    fetched = fetched or fetch(config.data)
    early = any(map(_waits_for_unpacking, fetched.sources))
    if early:
        check_first_rows(config, watch, fetched)
    sources = fetched.unpacked()
    if not early and sum(path.stat().st_size for path in sources.paths) > LARGE:
        inputs = Inputs(config, model_dir, sources.paths, True, None)
        if inputs.unread > LARGE or cache.find(inputs.key) is None:
            check_first_rows(config, watch, fetched)
    return prepare(config, model_dir, progress, lint=True, watch=watch, sources=sources)


def check_first_rows(config: TrainConfig, watch: Watch, fetched: FetchedSources) -> None:
    """Report findings about the first rows of the training sources. Raises `DataError`, `ModelError`, `ConfigError`."""
    sources = training(config.data)
    most = -(-FIRST // len(sources))
    problems: list[str] = []
    places: dict[int, str] = {}
    previews = Previews(beginning, fetched)
    encoder = previews.encoder(view_of(config, sources[0]))
    linter = Linter(encoder.tokenizer, Limit.of(config.model.max_seq_length, encoder.room))
    reported = 0

    def report() -> None:
        nonlocal reported
        reported = linter.count
        found = tuple(
            replace(one, places=tuple(places[row] for row in one.rows)) for one in linter.findings()
        )
        watch(SoFar(linter.count, None, lambda: found, tuple(problems)))

    for first, source in zip(itertools.count(0, most), sources, strict=False):
        for chunk in _first(previews, as_text(source), view_of(config, source), most):
            problems += [each.problem for each in chunk if not each.examples and not each.left_out]
            rows = [(first + number, row, example) for each in chunk for number, row, example in each.whole]
            linter.add(rows)
            places |= {number: row.where for number, row, _ in rows}
            if linter.count >= reported + STEP:
                report()
    if linter.count > reported:
        report()


def _waits_for_unpacking(source: Fetched) -> bool:
    """Return True if a file of a source is compressed and so large that its first rows are checked on their own."""
    waiting = False

    def noted(path: Path, name: str, packed: str, kind: str) -> Path:
        nonlocal waiting
        plain = beginning(path, name, packed, kind)
        waiting |= is_beginning(plain, path)
        return plain

    source.unpacked(noted)
    return waiting


def view_of(config: TrainConfig, source: Source) -> View:
    """Keys of a recipe by which the rows of one of its sources become tokens."""
    return View.of(config).of_format(choice_of(source, config.data))


def _first(previews: Previews, source: str, view: View, most: int) -> Iterator[list[EncodedRow]]:
    """The first rows of a source; none if their format is unknown, which preparation reports better."""
    previews.wait_for(source, most - 1, view)
    previews.stop()  # it would take the time of those who wait
    opened = previews.open(source, view)
    if opened.format:
        yield from previews.encoded(source, range(min(most, opened.known)), view)
