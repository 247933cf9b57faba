"""Examples longer than `max_seq_length`: plain text is split into chunks, anything else is cut on the right."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from engine.data.tokenization.row_encoder import Encoded
from engine.data.tokenization.token_limits import Limit
from engine.errors import DataError

LOST_SHARE = 0.01
"""Share of rows that may lose everything trained to truncation (and are left out) before a run is refused."""
Group = tuple[Encoded, ...]
"""Examples that stay together: one, or the chosen and the rejected answer of a pair."""


def split_long(example: Encoded, limit: int, overlap: int, prefix_ids: Sequence[int]) -> list[Encoded]:
    """Split a splittable example into chunks of at most `limit` tokens; any other is returned as it is.

    Each chunk begins with `prefix_ids` (what the tokenizer puts in front of a text) and repeats the last `overlap`
    tokens of the one before, but no more than half of it, as context: a token is trained once, with what stands before
    it in sight.
    """
    if not example.splittable or len(example.ids) <= limit:
        return [example]
    front = len(prefix_ids)
    body, room = example.ids[front:], limit - front
    shared = min(max(overlap, 0 if prefix_ids else 1), room // 2)  # the very first token cannot be trained
    found = []
    for start in range(0, len(body) - shared, room - shared):
        ids = [*prefix_ids, *body[start : start + room]]
        first = front + (shared if start else 0)
        found.append(Encoded(ids, ((first, len(ids)),), splittable=True))
    return [chunk for chunk in found if chunk.spans]


@dataclass
class Truncator:
    """Fits examples into `limit`, and counts what becomes of them."""

    limit: Limit
    overlap: int
    prefix_ids: Sequence[int]
    cut: set[str] = field(default_factory=set)
    """Rows that were cut, by their place."""
    tokens_lost: int = 0
    emptied: list[str] = field(default_factory=list)
    """Rows that are left out because nothing trained was left."""
    alike: list[str] = field(default_factory=list)
    """Rows that are left out because both answers of a pair are the same once they are cut."""
    needed: int = 0
    """Fewest tokens with which every row would keep something trained."""
    longest: int = 0
    split: set[str] = field(default_factory=set)
    """Texts that were split into chunks, by their place."""
    chunks: int = 0
    beyond: int = 0
    """Rows longer than what the model was made for."""
    _beyond: str = ""
    """The last of them."""

    def apply(self, group: Group, where: str) -> list[Group]:
        """Fit a group: itself, its chunks, or cut; empty if no trained token is left of one of its examples, or if
        nothing is left by which they differ. `where` is the place of its row.
        """
        size, limit = max([len(example.ids) for example in group]), self.limit.tokens
        if self.limit.context is not None and min(size, limit) > self.limit.context and where != self._beyond:
            self.beyond, self._beyond = self.beyond + 1, where
        if size <= limit:
            self.longest = max(self.longest, size)
            return [group]
        if group[0].splittable:
            found = split_long(group[0], limit, self.overlap, self.prefix_ids)
            self.split.add(where)
            self.chunks += len(found)
            return [(chunk,) for chunk in found]
        self.longest = max(self.longest, size)
        short = tuple(replace(example, ids=example.ids[:limit]) for example in group)
        self.cut.add(where)
        self.tokens_lost += _trained(group) - _trained(short)
        whole = all(example.spans for example in short)
        if whole and (len(group) == 1 or _differ(short)):
            return [short]
        (self.alike if whole else self.emptied).append(where)
        self.needed = max(self.needed, *(_needed(example) for example in group), _difference(group))
        return []

    def notes(self, rows: int) -> list[str]:
        """Sentences on what became of so many rows. Raises `DataError` if too many lost all that was trained."""
        lost = [*self.emptied, *self.alike]
        if len(lost) > LOST_SHARE * rows:
            raise DataError(
                f"{len(lost)} of {rows} rows have nothing left to train once they are cut to "
                f"{self.limit.name}, the first at {lost[0]}",
                "Shorten the rows, or take a model with more positions."
                if self.limit.of_model
                else f"Set model.max_seq_length to {self.needed} or more ({self.longest} keeps every row whole), "
                "or shorten the rows.",
            )
        found = []
        if self.split:
            found.append(
                f"{len(self.split)} of {rows} rows are texts longer than {self.limit.name}: "
                f"trained in {self.chunks} chunks, none of it lost"
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
        if self.alike:
            found.append(
                f"{len(self.alike)} of them {'has' if len(self.alike) == 1 else 'have'} two answers that are the same "
                f"once they are cut, and {'is' if len(self.alike) == 1 else 'are'} left out: {self.alike[0]}…"
            )
        return found


def _trained(group: Group) -> int:
    return sum(example.trained for example in group)


def _needed(example: Encoded) -> int:
    """Fewest tokens of an example that keep one that is trained."""
    return example.spans[0][0] + 1


def _differ(group: Group) -> bool:
    return any(example.ids != group[0].ids for example in group)


def _difference(group: Group) -> int:
    """Fewest tokens of two examples by which they differ; 0 where there is one example, or no difference."""
    ids = [example.ids for example in group]
    places = (at for at, tokens in enumerate(zip(*ids, strict=False), start=1) if len(set(tokens)) > 1)
    shortest = min(map(len, ids))
    return next(places, 0 if max(map(len, ids)) == shortest else shortest + 1)
