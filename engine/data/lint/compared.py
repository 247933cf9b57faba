"""Lint of answers that are compared: both of a pair, and those labelled good or bad."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from engine.data.findings import RULES, SHOWN, Finding, Kind
from engine.data.lint.spread import FEWEST_ROWS
from engine.data.lint.texts import texts
from engine.data.tokenization.truncation import Group
from engine.data.types import Row

ComparedRow = tuple[int, tuple[Row, ...], Group]
"""A row's number from 0, its answers with their prompts, and their tokens before anything is cut."""
BIASED = 0.9
"""Share of pairs from which a longer chosen answer is a rule that a model could learn in the place of quality."""
ALIKE = 1.1
"""Answers are as long as each other where one has at most so many times the other's tokens."""
FEW = 0.1
"""Share of the rarer label below which its answers hardly count."""
REFUSAL = re.compile(
    r"\W*(?:(?:i am|i'm|i’m|we are|we're) (?:very |really |truly )?(?:sorry|unable|not able)"
    r"|(?:sorry|apologies|unfortunately)\b.{0,40}\b(?:can't|can’t|cannot|can not|unable|not able|won't|won’t)"
    r"|i (?:can't|can’t|cannot|can not|won't|won’t|will not) "
    r"(?:help|assist|answer|provide|do|fulfil|comply|discuss|create|write)"
    r"|as an? (?:ai|artificial|language|large language)\b)",
    re.IGNORECASE,
)
"""Beginnings of answers in which a model refuses, in English."""


@dataclass
class _Some:
    """How many rows have something, and the first of them."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def note(self, number: int) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(number)


class ComparedAnswers:
    """Checks answers as they are tokenised. Holds counts alone."""

    def __init__(self) -> None:
        self._swapped, self._apart = _Some(), _Some()
        self._turn = 0
        """Turn from 1 at which the first of those pairs part."""
        self._pairs = self._longer = self._shorter = 0
        """All pairs, and those whose chosen answer is longer, or shorter, by more than `ALIKE`."""
        self._labels = {1: 0, -1: 0}

    def add(self, rows: Sequence[ComparedRow]) -> None:
        """Add rows of a chunk; those of plain answers tell nothing."""
        for number, answers, group in rows:
            if len(group) == 2:
                self._pair(number, answers, group)
            elif group[0].sign:
                self._labels[group[0].sign] += 1

    def _pair(self, number: int, answers: tuple[Row, ...], group: Group) -> None:
        self._pairs += 1
        self._longer += group[0].trained > ALIKE * group[1].trained
        self._shorter += group[1].trained > ALIKE * group[0].trained
        chosen, rejected = (_answer(row) for row in answers)
        if REFUSAL.match(chosen) and not REFUSAL.match(rejected):
            self._swapped.note(number)
        if turn := _parts_at(*answers):
            self._turn = self._turn or turn
            self._apart.note(number)

    def findings(self) -> list[Finding]:
        """Findings about the rows so far."""
        found = []
        pairs = self._pairs
        if self._swapped.count:
            message = f"{_pairs(self._swapped.count)} with a refusal as the chosen answer and none as the rejected one"
            found.append(_finding("swapped", message, self._swapped.count, pairs, self._swapped.first))
        if self._apart.count:
            parts = f"the first part at turn {self._turn}"
            message = f"{_pairs(self._apart.count)} whose answers follow different questions: {parts}"
            found.append(_finding("prompts-differ", message, self._apart.count, pairs, self._apart.first))
        for longer, count in (("longer", self._longer), ("shorter", self._shorter)):
            if pairs >= FEWEST_ROWS and count >= BIASED * pairs:
                message = f"in {count / pairs:.0%} of the pairs the chosen answer is the {longer} one"
                found.append(_finding("length-bias", message, count, pairs, []))
        return found + self._of_labels()

    def _of_labels(self) -> list[Finding]:
        labelled = sum(self._labels.values())
        names = {1: "good", -1: "bad"}
        rarer, other = sorted(self._labels, key=self._labels.__getitem__)
        count = self._labels[rarer]
        if labelled and not count:
            message = f"all {labelled:,} answers are labelled {names[other]}, and none {names[rarer]}"
            return [Finding("one-label", "error", message, RULES["one-label"].fix, labelled, labelled)]
        if labelled >= FEWEST_ROWS and count < FEW * labelled:
            message = f"{count / labelled:.1%} of the answers are labelled {names[rarer]}"
            return [_finding("few-labels", message, count, labelled, [])]
        return []


def _finding(kind: Kind, message: str, count: int, of: int, rows: list[int]) -> Finding:
    return Finding(kind, RULES[kind].severity(count, of), message, RULES[kind].fix, count, of, tuple(rows))


def _pairs(count: int) -> str:
    return f"{count:,} pair" if count == 1 else f"{count:,} pairs"


def _answer(row: Row) -> str:
    return next((text for role, text in reversed(list(texts(row))) if role == "assistant"), "")


def _parts_at(chosen: Row, rejected: Row) -> int:
    """The turn, from 1, at which two conversations ask different things; 0 where they ask the same.

    What the assistant says or a tool returns may differ on the way: it belongs to the answers.
    """
    asked = [
        [(at, text) for at, (role, text) in enumerate(texts(row), start=1) if role in ("system", "user")]
        for row in (chosen, rejected)
    ]
    for one, other in zip_longest(*asked):
        if one is None or other is None or one[1] != other[1]:
            return min(turn[0] for turn in (one, other) if turn is not None)
    return 0
