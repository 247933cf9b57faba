"""Checks of whether a model's answer can be a row: each answer alone, beside what it was made from."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from engine.data.augment.prompts import SAID
from engine.data.lint.likeness import ALIKE, FEWEST, SHINGLE, WORD
from engine.data.lint.texts import damage, script

Reason = Literal[
    "no-room", "empty", "cut", "echo", "damaged", "language", "untranslated", "form", "answered", "lost", "length",
    "same", "copy", "held-out",
]  # fmt: skip
REASONS: Mapping[Reason, str] = {
    "no-room": "not asked for: the prompt leaves no room for it in the model",
    "empty": "empty",
    "cut": "cut by --max-tokens, or without an end",
    "echo": "repeating the prompt, or talking about it",
    "damaged": "with broken characters",
    "language": "in another language or script",
    "untranslated": "not translated",
    "form": "no question, where one was asked",
    "answered": "giving the answer away",
    "lost": "without a number or a name of the question",
    "length": "far longer or shorter than what it is made from",
    "same": "nearly the same as what it is made from",
    "copy": "nearly another training row",
    "held-out": "nearly a validation row",
}
"""Reasons for rejecting an answer, in words."""
FOLD, SLACK = 3.0, 60
"""An answer may be so many times as long as what it is made from, or as short, give or take so many characters."""
KNOWN_WORDS, FEWEST_WORDS = 0.25, 4
"""Share of the words that the training rows' questions have too: the little words of a language are in all of them.
Fewer words than this tell nothing."""
UNSPACED = ("Japanese", "Han", "Thai")
"""Scripts that are written without spaces, so that words cannot be separated."""
NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
MARK = re.compile("[?？؟]")
NAME = re.compile(r"(?<![.!?:\n])(?<!^) +[\"'(]?([A-ZÀ-ÖØ-ÞА-ЯΑ-Ω]\w+)")
"""A word with a capital that does not begin a sentence."""
LABEL = re.compile(
    r"^(?:\d+[.)]|[-*•]|\**(?:rewritten|reworded|paraphrased?|translation|translated|request|question|new request)"
    r"(?: \w+)?:\**)\s+",
    re.IGNORECASE,
)
NEXT = re.compile(r"\n\s*\d+[.)]\s")
"""Pattern of a model that continues the list it was shown."""
QUOTES = (('"', '"'), ("“", "”"), ("„", "“"), ("«", "»"))
OPENING = re.compile(
    r"(?:sure|certainly|of course|here(?:'s| is| are)|as an ai|i can(?:not|'t)|"
    r"i(?:'m| am) (?:sorry|an ai|unable|ready|here)|"
    r"what an? \w+ question|(?:the|this) (?:answer|question|text|request|sentence|phrase|translation) )",
    re.IGNORECASE,
)
"""Beginnings of answers that talk about the task instead of doing it."""


def cleaned(text: str, source: str) -> str:
    """An answer without the number, label or quotes that models put around it and the source does not have."""
    text = text.strip()
    if not LABEL.match(source):
        if text[:1].isdigit():
            text = NEXT.split(text)[0].strip()
        text = LABEL.sub("", text, count=1)
    for left, right in QUOTES:
        inner = text[1:-1]
        if text.startswith(left) and text.endswith(right) and len(text) > 2 and not source.startswith(left):
            text = inner.strip() if left not in inner and right not in inner else text
    return text


def words(text: str) -> list[str]:
    """Words alone, small: what remains when case and punctuation are left out."""
    return WORD.findall(text.lower())


def holds(text: str, other: str) -> bool:
    """Return True if a text contains another of a few words, as it stands."""
    inner = words(other)
    return len(inner) >= FEWEST_WORDS and " ".join(inner) in " ".join(words(text))


def is_alike(one: str, other: str) -> bool:
    """Return True if two texts are nearly the same, as the lint sees it; shorter ones must have the same words."""
    first, second = words(one), words(other)
    if min(len(first), len(second)) < FEWEST:
        return first == second
    runs = [
        {tuple(said[start : start + SHINGLE]) for start in range(len(said) - SHINGLE + 1)}
        for said in (first, second)
    ]
    return len(runs[0] & runs[1]) >= ALIKE * len(runs[0] | runs[1])


def broken(text: str, ended: bool, source: str, controls: re.Pattern[str] | None) -> Reason | None:
    """Reason against an answer that was to be made from `source`; None if there is none."""
    if not WORD.search(text):
        return "empty"
    if not ended:
        return "cut"
    folded = text.casefold()
    repeats = any(phrase in folded and phrase not in source.casefold() for phrase in SAID)
    if repeats or (controls and controls.search(text)):
        return "echo"
    if OPENING.match(text) and not OPENING.match(source):
        return "echo"
    return "damaged" if damage(text) and not damage(source) else None


def unlike(text: str, source: str, may_be_short: bool) -> Reason | None:
    """Return True if an answer is in another script than its source, or far from it in length."""
    if script(text) != script(source) and script(source):
        return "language"
    is_short = not may_be_short and len(source) > FOLD * len(text) + SLACK
    return "length" if is_short or len(text) > FOLD * len(source) + SLACK else None


def is_foreign(text: str, vocabulary: Collection[str]) -> bool:
    """Return True if hardly a word of a text is among those of the training rows' questions."""
    said = words(text)
    if len(said) < FEWEST_WORDS or script(text) in UNSPACED:
        return False
    return sum(word in vocabulary for word in said) < KNOWN_WORDS * len(said)


def is_untranslated(text: str, other: str) -> bool:
    """Return True if a translation shares most words of one of the two with its source."""
    said, before = set(words(text)), set(words(other))
    return len(said & before) > min(len(said), len(before)) / 2


def is_no_question(text: str, sources: Iterable[str]) -> bool:
    """Return True if a text asks nothing, while all of its sources do."""
    return all(MARK.search(source) for source in sources) and not MARK.search(text)


def tells(text: str, source: str, answer: str) -> bool:
    """Return True if a text has most of the words that the answer has and the question does not."""
    new = set(words(answer)) - set(words(source))
    return len(new & set(words(text))) > len(new) / 2


def loses(text: str, source: str, answer: str) -> bool:
    """Return True if a text lacks a number of its source, a name that the answer has too, or half of all names.

    Not every one: in German, every noun looks like a name.
    """
    said, names = set(words(text)), {name.lower() for name in NAME.findall(source)}
    needed = names & set(words(answer))
    numbers = set(NUMBER.findall(source))
    kept = len(names & said) > len(names) / 2 or not names
    return not (numbers <= set(NUMBER.findall(text)) and needed <= said and kept)
