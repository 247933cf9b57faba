"""Selected rows → tokens, a thousand rows at a time, with notes on what was wrong or cut."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from engine.data.collector import held_back
from engine.data.formats.base import NOTHING, RowError
from engine.data.formats.registry import read_sample
from engine.data.selection import Selection
from engine.data.tokenization.dropped_content import OF_ANSWERS
from engine.data.tokenization.row_encoder import RowEncoder, TextGroup
from engine.data.tokenization.token_limits import Limit, check_ids
from engine.data.tokenization.truncation import Group, Truncator
from engine.data.types import Row
from engine.data.unusable_rows import Problems
from engine.data.unused_fields import Unused

CHARACTERS = 1_000_000
"""Most characters that are encoded together, and at most one group more: their tokens take about 150 MB."""
Numbered = tuple[int, TextGroup]
"""Number of a row among the selected ones, and texts of it."""
AddGroups = Callable[[list[tuple[int, Group]]], None]
"""Receives a chunk of groups of examples, each with the number of its row."""
Observe = Callable[[list[tuple[int, tuple[Row, ...], Group]]], None]
"""Receives rows of a chunk with their numbers and tokens before truncation; a row of several examples comes once for
each, a pair with both answers."""


@dataclass
class _RowNotes:
    """Counts of what the person should know about the rows."""

    bad: int = 0
    """Rows labelled as bad answers."""
    several: int = 0
    """Rows of several examples, because the template shows earlier turns differently later."""
    examples: int = 0
    long: int = 0
    """Rows with answers that begin beyond what is trained of a row."""
    beyond: int = 0
    """Such answers."""
    unseen: dict[str, int] = field(default_factory=dict)
    """Rows with something that the template does not show."""
    borrowed: int = 0
    """Rows with tools that ft's template shows, because the model's own does not."""
    unused: Unused = field(default_factory=Unused)
    """Rows with something that is not read."""

    def count(self, groups: Sequence[TextGroup], encoder: RowEncoder) -> None:
        """Count a row by its texts."""
        row, first = groups[0].rows[0], groups[0].texts[0]
        if len(groups) > 1 and not first.plain and not first.sign:
            self.several += 1
            self.examples += len(groups)
        self.long += first.beyond > 0
        self.beyond += first.beyond
        self.unused.count(row)
        self.borrowed += encoder.borrows(row)
        for what in first.unseen:
            self.unseen[what] = self.unseen.get(what, 0) + 1

    def notes(self, rows: int) -> list[str]:
        """Sentences, out of so many rows."""
        found = []
        if self.bad:
            found.append(
                f"{self.bad} of {rows} rows are labelled false and left out: sft trains good answers"
            )
        if self.several:
            found.append(
                f"{self.several} of {rows} rows are split into {self.examples} examples: the chat template "
                "shows earlier turns differently once later ones follow"
            )
        if self.borrowed:
            found.append(
                f"{self.borrowed} of {rows} rows have tools, which the model's chat template does not show: they are "
                "shown by ft's chatml"
            )
        if self.long:
            found.append(
                f"{self.long} of {rows} rows have answers that begin beyond what is trained of a row: "
                f"{self.beyond} are left out"
            )
        found += [
            f"{count} of {rows} rows have {what}, which the chat template does not show: the model will not "
            f"{'learn' if what in OF_ANSWERS else 'see'} it"
            for what, count in self.unseen.items()
        ]
        return [*found, *self.unused.notes(rows)]


@held_back()
def tokenise(
    selection: Selection,
    encoder: RowEncoder,
    limit: Limit,
    overlap: int,
    add: AddGroups,
    observe: Observe = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[list[str], Problems]:
    """Convert and encode all selected rows, and hand them to `add` chunk by chunk.

    `overlap` is that of the chunks of long texts, see `split_long`. `observe` receives each row before truncation.
    Returns notes, and the rows that are left out because the recipe says so.
    Raises `DataError` naming the first rows that are wrong or have nothing to train, unless the recipe skips them, and
    where no other rows are left; `ModelError` where a row has a token that the model does not have.
    """
    truncator = Truncator(limit, overlap, encoder.tokenizer.prefix_ids)
    counted, problems = _RowNotes(), Problems(selection.skip)
    found = 0
    for done, chunk, groups in _ahead(
        _rendered(selection, encoder, limit.tokens, problems, counted), encoder
    ):
        encoded = [(number, texts.rows, group) for (number, texts), group in zip(chunk, groups, strict=True)]
        empty: dict[int, str] = {}
        for number, rows, group in encoded:
            for row, example in zip(rows, group, strict=True):
                check_ids(example.ids, encoder.tokenizer, encoder.room, row.where)
                if not example.spans:
                    empty[number] = rows[0].where
        for number, where in empty.items():
            problems.add(number, where, RowError("nothing to train: it has no tokens of its own", NOTHING))
        encoded = [one for one in encoded if one[0] not in empty]
        fitted = [
            (number, short)
            for number, rows, group in encoded
            for short in truncator.apply(group, rows[0].where)
        ]
        found += len(fitted)
        add(fitted)
        observe(encoded)
        progress(done)
    if problems.stop or (problems.count and not found):
        raise problems.error(selection.count)
    left_out = [problems.note(selection.count)] if problems.count else []
    return [*left_out, *counted.notes(selection.count), *truncator.notes(selection.count)], problems


def _rendered(
    selection: Selection, encoder: RowEncoder, limit: int, problems: Problems, counted: _RowNotes
) -> Iterator[tuple[int, list[Numbered]]]:
    """Render the rows: the number done, and their texts, by the chunk or less where they are long.

    What is wrong goes to `problems`; where that stops the run, the rows after it are only checked.
    """
    done = 0
    for row_format, chunk in selection.chunks():
        texts: list[Numbered] = []
        size = 0
        for number, (where, columns) in enumerate(chunk, start=done):
            try:
                groups = encoder.groups(read_sample(columns, where, row_format), limit)
            except RowError as error:
                problems.add(number, where, error)
                continue
            if not groups:
                counted.bad += 1
                continue
            counted.count(groups, encoder)
            for group in groups:
                texts.append((number, group))
                for text in group.texts:
                    size += len(text.text)
                if size > CHARACTERS and not problems.stop:
                    yield number, texts
                    texts, size = [], 0
        done += len(chunk)
        if problems.enough:
            return
        if not problems.stop:
            yield done, texts


def _ahead(
    chunks: Iterator[tuple[int, list[Numbered]]], encoder: RowEncoder
) -> Iterator[tuple[int, list[Numbered], list[Group]]]:
    """Encode each chunk while the next one is read and rendered: the encoder works outside Python's lock."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[tuple[int, list[Numbered], Future[list[Group]]]] = deque()
        for done, texts in chunks:
            waiting.append((done, texts, pool.submit(_encoded, [group for _, group in texts], encoder)))
            if len(waiting) > 1:
                before, rows, encoded = waiting.popleft()
                yield before, rows, encoded.result()
        for before, rows, encoded in waiting:
            yield before, rows, encoded.result()


def _encoded(groups: Sequence[TextGroup], encoder: RowEncoder) -> list[Group]:
    examples = iter(encoder.encode([text for group in groups for text in group.texts]))
    return [tuple(islice(examples, len(group.texts))) for group in groups]
