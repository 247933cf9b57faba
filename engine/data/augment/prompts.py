"""Prompts for each kind of row.

Examples come first: small models answer a question that they are only asked to reword. New rows are made as in
Self-Instruct (Wang et al. 2022, arXiv:2212.10560): a question after those of several training rows, then its answer
with these rows as the conversation before it. Back-translation is Sennrich et al. 2015 (arXiv:1511.06709).
"""

from collections.abc import Sequence

from engine.data.augment.options import Options
from engine.data.augment.questions import answer_of, asked_for, question_in, question_of
from engine.data.types import Conversation, Message, Row

REWORD = "Say this in other words, in {language}. Do not answer it."
TRANSLATE = "Translate this into {language}. Do not answer it."
ASK = "Write one more request of the same kind in {language}, on another subject. Write the request alone."
REWORDED = (
    ("What is the best way to learn to swim?", "How does one learn swimming most easily?"),
    ("Name three birds that cannot fly.", "List three flightless birds."),
    ("Write a short poem about the sea.", "Compose a few lines of verse on the ocean."),
)
ALL = (REWORD, TRANSLATE, ASK, REWORDED)
SAID = (
    "say this in other words",
    "do not answer",
    "translate this into",
    "one more request of the same kind",
    "write the request alone",
)
"""Answer of a model that repeats its prompt."""


def prompt(options: Options, step: int, rows: Sequence[Row], said: Sequence[str]) -> tuple[Message, ...]:
    """The prompt for a step of making a row from `rows`, after the answers `said` to the steps before."""
    if options.kind == "pairs":
        return asked_for(rows[0])
    if options.kind == "new-rows":
        return _answer(rows, said[0]) if step else (_ask(rows, options.language),)
    if options.kind == "back-translation":
        language = options.language if step else options.through
        return (_instructed(TRANSLATE.format(language=language), said[0] if step else _head(rows[0])),)
    instruction = REWORD.format(language=options.language)
    shown = [
        turn
        for text, other in REWORDED
        for turn in (_instructed(instruction, text), Message("assistant", other))
    ]
    return (*shown, _instructed(instruction, _head(rows[0])))


def _ask(rows: Sequence[Row], language: str) -> Message:
    shown = "\n\n".join(f"{number}. {question_in(row)}" for number, row in enumerate(rows, start=1))
    return Message("user", f"Here are {len(rows)} requests:\n\n{shown}\n\n{ASK.format(language=language)}")


def _answer(rows: Sequence[Row], question: str) -> tuple[Message, ...]:
    first = rows[0]
    system = [m for m in first.messages if m.role == "system"] if isinstance(first, Conversation) else []
    shown = [
        turn
        for row in rows
        for turn in (Message("user", question_in(row)), Message("assistant", answer_of(row)))
    ]
    return (*system, *shown, Message("user", question))


def _instructed(what: str, text: str) -> Message:
    return Message("user", f"{what}\n\n{text}")


def _head(row: Row) -> str:
    question = question_of(row)
    return question.head if question else ""
