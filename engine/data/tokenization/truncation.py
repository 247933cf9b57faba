"""Examples longer than `max_seq_length`: plain text is parted into chunks, anything else is cut on the right."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.data.tokenization.row_encoder import Encoded
from engine.data.tokenization.token_limits import Limit
from engine.errors import DataError

LOST_SHARE = 0.01
"""Share of rows that may lose everything trained to truncation (and are left out) before a run is refused."""


def split_long(example: Encoded, limit: int, overlap: int, lead: Sequence[int]) -> list[Encoded]:
    """Parts of at most `limit` tokens of an example that may be parted; any other as it is.

    Each begins with `lead` (what the tokenizer puts in front of a text) and repeats the last `overlap` tokens of the
    one before, but no more than half of it, as context: a token is trained once, with what stands before it in sight.
    """
    if not example.splittable or len(example.ids) <= limit:
        return [example]
    front = len(lead)
    body, room = example.ids[front:], limit - front
    shared = min(max(overlap, 0 if lead else 1), room // 2)  # what nothing stands before cannot be trained
    found = []
    for start in range(0, len(body) - shared, room - shared):
        ids = [*lead, *body[start : start + room]]
        first = front + (shared if start else 0)
        found.append(Encoded(ids, ((max(first, 1), len(ids)),), splittable=True))
    return [part for part in found if part.trained > 0]


@dataclass
class Truncator:
    """Fits examples into `limit`, and knows what became of them."""

    limit: Limit
    overlap: int
    prefix_ids: Sequence[int]
    cut: set[str] = field(default_factory=set)
    tokens_lost: int = 0
    emptied: list[str] = field(default_factory=list)
    needed: int = 0
    longest: int = 0
    parted: set[str] = field(default_factory=set)
    parts: int = 0
    beyond: int = 0
    """Rows longer than what the model was made for."""
    _beyond: str = ""
    """The last of them."""

    def apply(self, example: Encoded, where: str) -> list[Encoded]:
        """The example as it fits; none where nothing trained is left of it. `where` is its row's origin."""
        size, limit = len(example.ids), self.limit.tokens
        if self.limit.context is not None and min(size, limit) > self.limit.context and where != self._beyond:
            self.beyond, self._beyond = self.beyond + 1, where
        if size <= limit:
            self.longest = max(self.longest, size)
            return [example]
        if example.splittable:
            found = split_long(example, limit, self.overlap, self.prefix_ids)
            self.parted.add(where)
            self.parts += len(found)
            return found
        self.longest = max(self.longest, size)
        spans = tuple((start, min(end, limit)) for start, end in example.spans if start < limit)
        short = Encoded(example.ids[:limit], spans)
        self.cut.add(where)
        self.tokens_lost += example.trained - short.trained
        if spans:
            return [short]
        self.emptied.append(where)
        self.needed = max(self.needed, example.spans[0][0] + 1)
        return []

    def notes(self, rows: int) -> list[str]:
        """What the person should know. Raises `DataError` where too many rows lost all that was trained."""
        if len(self.emptied) > LOST_SHARE * rows:
            raise DataError(
                f"{len(self.emptied)} of {rows} rows have nothing left to train once they are cut to "
                f"{self.limit.name}, the first at {self.emptied[0]}",
                "Shorten the rows, or take a model with more positions."
                if self.limit.of_model
                else f"Set model.max_seq_length to {self.needed} or more ({self.longest} keeps every row whole), "
                "or shorten the rows.",
            )
        found = []
        if self.parted:
            found.append(
                f"{len(self.parted)} of {rows} rows are texts longer than {self.limit.name}: "
                f"trained in {self.parts} chunks, none of it lost"
            )
        if self.cut:
            found.append(
                f"{len(self.cut)} of {rows} rows are longer than {self.limit.name} and were cut: "
                f"{self.tokens_lost} trained tokens are lost"
                + ("" if self.limit.of_model else f" ({self.longest} would keep every row whole)")
            )
        if self.beyond:
            found.append(
                f"{self.beyond} of {rows} rows are longer than the {self.limit.context} tokens that the model was made "
                "for (max_position_embeddings): what it learns beyond them may be little"
            )
        if self.emptied:
            found.append(
                f"{len(self.emptied)} of them had nothing left to train and are left out: {self.emptied[0]}…"
            )
        return found
