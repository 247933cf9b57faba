"""Lint of rows: they go in chunk by chunk as they are tokenised, findings come out."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.data.findings import RULES, SHOWN, Finding, Kind, sorted_by_weight
from engine.data.lint.likeness import Likeness, Numbers
from engine.data.lint.spread import Labels, extremes, foreign
from engine.data.lint.texts import PLACEHOLDER, control_tokens, damage, order, said, script, texts
from engine.data.tokenization.row_encoder import Encoded
from engine.data.tokenization.token_limits import Limit
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Conversation, Row

LintedRow = tuple[int, Row, Encoded]
"""A row's number from 0, the row, and its tokens before anything is cut."""


class Linter:
    """Checks rows for one tokenizer and one limit of tokens. Holds about 40 bytes a row, and 1 kB on disk."""

    def __init__(self, tokenizer: Tokenizer, limit: Limit) -> None:
        self._stops = tokenizer.stop_ids
        self._limit = limit
        self._controls = control_tokens(tokenizer.control_tokens)
        self._found: dict[Kind, _Rows] = {}
        self._numbers = array("q")
        self._lengths = array("q")
        self._contents = array("q")
        """A hash of each row's ids."""
        self._made = array("q")
        self._held = np.empty(0, dtype=np.int64)
        self._scripts: Counter[str] = Counter()
        self._rare_scripts: dict[str, list[int]] = defaultdict(list)
        self._labels = Labels()
        self._likeness = Likeness()
        self._lost = self._needed = 0

    @property
    def count(self) -> int:
        """Number of rows so far."""
        return len(self._numbers)

    def add(self, rows: Sequence[LintedRow]) -> None:
        """Add a chunk of rows, in the order of their numbers."""
        whole = []
        for number, row, encoded in rows:
            self._tokens(number, row, encoded)
            if self._numbers and number == self._numbers[-1]:
                continue  # another example of the same row
            self._numbers.append(number)
            self._lengths.append(len(encoded.ids))
            self._contents.append(hash(tuple(encoded.ids)))
            if row.augmented:
                self._made.append(number)
            self._words(number, row)
            whole.append((number, said(row)))
        self._likeness.add(whole)

    def mark_validation(self, numbers: Iterable[int]) -> None:
        """Mark rows as those that validate."""
        self._held = np.concatenate((self._held, np.fromiter(numbers, np.int64)))

    def _tokens(self, number: int, row: Row, encoded: Encoded) -> None:
        left = sum(max(0, min(end, self._limit.tokens) - start) for start, end in encoded.spans)
        if encoded.splittable:
            left = encoded.trained  # in chunks, nothing of it is lost
        if not left:
            self._note("untrained", number)
        elif left < encoded.trained:
            self._note("truncated", number)
            self._lost += encoded.trained - left
        self._needed = max(self._needed, len(encoded.ids))
        # Where a template has no end of turn, only the last answer can be given one.
        if isinstance(row, Conversation) and encoded.ids[encoded.spans[-1][1] - 1] not in self._stops:
            self._note("no-end", number)
        if encoded.unseen:
            self._note("not-shown", number, " and ".join(encoded.unseen))

    def _words(self, number: int, row: Row) -> None:
        said_by = list(texts(row))
        if wrong := order(row):
            self._note("roles", number, wrong)
        whole = "\n".join(text for _, text in said_by)
        if broken := damage(whole):
            self._note("encoding", number, broken)
        if self._controls and (token := self._controls.search(whole)):
            self._note("special-tokens" if isinstance(row, Conversation) else "rendered", number, token[0])
        if place := PLACEHOLDER.search(whole):
            self._note("placeholder", number, place[0])
        answer = next((text for role, text in reversed(said_by) if role == "assistant"), "")
        self._labels.add(answer)
        if kind := script(answer):
            self._scripts[kind] += 1
            if len(self._rare_scripts[kind]) < SHOWN:
                self._rare_scripts[kind].append(number)

    def _note(self, kind: Kind, number: int, example: str = "") -> None:
        found = self._found.setdefault(kind, _Rows(example=example))
        if number != found.last:  # a row of several examples is one row
            found.count += 1
            found.last = number
            if len(found.first) < SHOWN:
                found.first.append(number)

    def findings(self) -> tuple[Finding, ...]:
        """Findings about the rows so far, the worst first. May be called again when there are more rows."""
        numbers = np.array(self._numbers, dtype=np.int64)
        lengths = np.array(self._lengths, dtype=np.int64)
        far = extremes(lengths)
        together = self._compared(numbers)
        together["length"] = _some(numbers[far], f"{lengths[far[0]]:,}" if len(far) else "")
        everything = self._found | {kind: rows for kind, rows in together.items() if rows.count}
        found = [self._finding(kind, rows) for kind, rows in everything.items()]
        if (others := foreign(self._scripts)) is not None:
            own, strange = others
            rows = sorted(row for kind in strange for row in self._rare_scripts[kind])
            count = sum(self._scripts[kind] for kind in strange)
            message = (
                f"{_rows(count)} in {' and '.join(sorted(strange))} script, where the others are in {own}"
            )
            found.append(self._as_finding("script", message, count, rows))
        if (label := self._labels.one_sided()) is not None:
            message = f"{label[1]:.0%} of the answers are {label[0]!r}"
            found.append(self._as_finding("one-sided", message, len(numbers), []))
        return sorted_by_weight(found)

    def _compared(self, numbers: Numbers) -> "dict[Kind, _Rows]":
        """Rows that are equal to an earlier one, or nearly; across training and validation it is an overlap."""
        contents = np.array(self._contents, dtype=np.int64)
        held, made = (np.isin(numbers, np.array(some, dtype=np.int64)) for some in (self._held, self._made))
        kinds, first, kind_of = np.unique(contents, return_index=True, return_inverse=True)
        trained = np.zeros(len(kinds), dtype=np.bool_)
        trained[kind_of[~held]] = True
        overlap = held & trained[kind_of]
        duplicate = ~overlap & (first[kind_of] < np.arange(len(numbers)))
        near, others = (np.searchsorted(numbers, side) for side in self._likeness.pairs())
        new = ~(overlap | duplicate)[near]
        near, others = near[new], others[new]
        apart = held[near] != held[others]
        # One that was made is meant to be like the row that it was made from, and was compared when it was made.
        alike = ~apart & ~made[near]
        return {
            "overlap": _some(numbers[overlap]),
            "duplicate": _some(numbers[duplicate]),
            "augmented": _some(numbers[made & held]),
            "near-overlap": _some(numbers[np.unique(np.where(held[near], near, others)[apart])]),
            "near-duplicate": _some(numbers[near[alike]]),
        }

    def _finding(self, kind: Kind, rows: "_Rows") -> Finding:
        count, example = rows.count, rows.example
        have, are = ("has", "is") if count == 1 else ("have", "are")
        message = {
            "untrained": f"{_rows(count)} {have} nothing to train within {self._limit.name}",
            "no-end": f"{_rows(count)} {have} an answer that the model's end token does not end",
            "not-shown": f"{_rows(count)} {have} {example}, which the chat template does not show",
            "truncated": (
                f"{_rows(count)} {have} an answer cut at {self._limit.name}: {self._lost:,} trained tokens "
                + (
                    "are lost"
                    if self._limit.of_model
                    else f"are lost ({self._needed:,} would keep every row whole)"
                )
            ),
            "duplicate": f"{_rows(count)} {are} the same as an earlier one",
            "near-duplicate": f"{_rows(count)} {are} nearly the same as an earlier one",
            "overlap": f"{_rows(count)} of the validation set {are} trained on too",
            "augmented": (
                f"{_rows(count)} of the validation set {have} been made from others by a model, which may be trained on"
            ),
            "near-overlap": f"{_rows(count)} of the validation set {are} nearly the same as a training row",
            "roles": f"{_rows(count)} {have} turns out of order: the first {example}",
            "encoding": f"{_rows(count)} {have} characters of a wrong encoding, as {example!r}",
            "special-tokens": f"{_rows(count)} {have} control tokens in the text, as {example}",
            "placeholder": f"{_rows(count)} {have} a placeholder in the text and nothing in its place, as {example}",
            "rendered": f"{_rows(count)} of text {have} control tokens, as {example}, and {are} trained as they stand",
            "length": f"{_rows(count)} {are} far longer than all others, up to {example} tokens",
        }[kind]
        return self._as_finding(kind, message, count, rows.first)

    def _as_finding(self, kind: Kind, message: str, count: int, rows: list[int]) -> Finding:
        of = len(self._held) if kind in ("overlap", "near-overlap", "augmented") else len(self._numbers)
        severity = RULES[kind].severity(count, of)
        fix = RULES[kind].fix
        if kind == "truncated" and self._limit.of_model:
            fix = "Shorten the rows, or take a model with more positions."
        return Finding(kind, severity, message, fix, count, of, tuple(rows[:SHOWN]))


@dataclass
class _Rows:
    """The rows of one kind of finding: how many, the first of them, the last, and what was seen in the first."""

    count: int = 0
    first: list[int] = field(default_factory=list)
    last: int = -1
    example: str = ""


def _some(numbers: Numbers, example: str = "") -> _Rows:
    return _Rows(len(numbers), numbers[:SHOWN].tolist(), example=example)


def _rows(count: int) -> str:
    return f"{count:,} row" if count == 1 else f"{count:,} rows"
