"""Selected rows → tokens, a thousand rows at a time; what was wrong or cut is told."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from engine.data.formats.base import NOTHING, RowError
from engine.data.formats.registry import read_row
from engine.data.selection import Selection
from engine.data.tokenization.dropped_content import OF_ANSWERS
from engine.data.tokenization.row_encoder import Encoded, Rendered, RowEncoder
from engine.data.tokenization.token_limits import Limit, check_ids
from engine.data.tokenization.truncation import Truncator
from engine.data.types import Row
from engine.data.unusable_rows import Problems
from engine.data.unused_fields import Unused

Text = tuple[int, Row, Rendered]
"""The number of a row among the selected ones, the row, and a text of it."""

CHARACTERS = 1_000_000
"""That are encoded at once, and at most one text more: their tokens take about 150 MB."""
Taker = Callable[[list[tuple[int, Encoded]]], None]
"""Takes a chunk of examples, each with the number of the row that it came from."""
Look = Callable[[list[tuple[int, Row, Encoded]]], None]
"""Sees the rows of a chunk with their numbers and tokens; a row of several examples comes once for each."""


@dataclass
class _Told:
    """What the rows turn out to be, as far as the person should know."""

    worse: int = 0
    """Labelled as bad answers."""
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

    def count(self, row: Row, rendered: Sequence[Rendered], encoder: RowEncoder) -> None:
        if len(rendered) > 1 and not rendered[0].plain:
            self.several += 1
            self.examples += len(rendered)
        self.long += rendered[0].beyond > 0
        self.beyond += rendered[0].beyond
        self.unused.count(row)
        self.borrowed += encoder.borrows(row)
        for what in rendered[0].unseen:
            self.unseen[what] = self.unseen.get(what, 0) + 1

    def notes(self, rows: int) -> list[str]:
        found = []
        if self.worse:
            found.append(
                f"{self.worse} of {rows} rows are labelled false and left out: sft trains good answers"
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


def tokenise(
    selection: Selection,
    encoder: RowEncoder,
    limit: Limit,
    overlap: int,
    take: Taker,
    look: Look = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[list[str], Problems]:
    """Convert and encode all selected rows, and hand them to `take` by the chunk.

    `overlap` is that of the chunks of long texts, see `split_long`. `look` sees each row as it is before anything is
    cut. Returns notes, and the rows that are left out because the recipe says so.
    Raises `DataError` naming the first rows that are wrong or have nothing to train, where it does not, and
    where no other rows are left; `ModelError` where a row has a token that the model does not have.
    """
    fitting = Truncator(limit, overlap, encoder.tokenizer.prefix_ids)
    told, problems = _Told(), Problems(selection.skip)
    found = 0
    for done, chunk, examples in _ahead(_rendered(selection, encoder, limit.tokens, problems, told), encoder):
        looked = [(number, row, example) for (number, row, _), example in zip(chunk, examples, strict=True)]
        for _, row, example in looked:
            check_ids(example.ids, encoder.tokenizer, encoder.room, row.where)
        empty = {number: row.where for number, row, example in looked if not example.spans}
        for number, where in empty.items():
            problems.add(number, where, RowError("nothing to train: it has no tokens of its own", NOTHING))
        looked = [one for one in looked if one[0] not in empty]
        kept = [
            (number, part) for number, row, example in looked for part in fitting.apply(example, row.where)
        ]
        found += len(kept)
        take(kept)
        look(looked)
        progress(done)
    if problems.stop or (problems.count and not found):
        raise problems.error(selection.count)
    left_out = [problems.note(selection.count)] if problems.count else []
    return [*left_out, *told.notes(selection.count), *fitting.notes(selection.count)], problems


def _rendered(
    selection: Selection, encoder: RowEncoder, limit: int, problems: Problems, told: _Told
) -> Iterator[tuple[int, list[Text]]]:
    """Rows done, and their texts, by the chunk or less where they are long; what is wrong goes to `problems`, and where
    that stops the run, rows are only checked from there on."""
    done = 0
    for row_format, chunk in selection.chunks():
        texts: list[Text] = []
        size = 0
        for number, (where, columns) in enumerate(chunk, start=done):
            try:
                row = read_row(columns, where, row_format, encoder.train_on)
                if row is None:
                    told.worse += 1
                    continue
                rendered = encoder.render(row, limit)
            except RowError as error:
                problems.add(number, where, error)
                continue
            told.count(row, rendered, encoder)
            for text in rendered:
                texts.append((number, row, text))
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
    chunks: Iterator[tuple[int, list[Text]]], encoder: RowEncoder
) -> Iterator[tuple[int, list[Text], list[Encoded]]]:
    """Encode each chunk while the next one is read and rendered: the encoder works outside Python's lock."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[tuple[int, list[Text], Future[list[Encoded]]]] = deque()
        for done, texts in chunks:
            waiting.append((done, texts, pool.submit(encoder.encode, [text for _, _, text in texts])))
            if len(waiting) > 1:
                before, rows, encoded = waiting.popleft()
                yield before, rows, encoded.result()
        for before, rows, encoded in waiting:
            yield before, rows, encoded.result()
