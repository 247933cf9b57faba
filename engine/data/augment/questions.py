"""Questions that can be rewritten or asked again: what a user asks last and the model is trained to answer."""

from dataclasses import dataclass, replace

from engine.data.types import Conversation, Message, Preference, Row, Text


@dataclass(frozen=True, slots=True)
class Question:
    """The first paragraph of a user's turn, and the rest of the turn with the space between.

    What is to be worked on stands below the first paragraph (the `input` of alpaca rows, a document, code), and the
    answer belongs to it: it stays as it is.
    """

    head: str
    rest: str
    turn: int

    @property
    def whole(self) -> str:
        return self.head + self.rest


def question_of(row: Row) -> Question | None:
    """The question of a row; None where nobody asks, and for a row that was made by a model."""
    if row.augmented:
        return None
    if isinstance(row, Text):
        return _parted(row.prompt, 0)
    answered = max((turn for turn, message in enumerate(row.messages) if message.answers), default=0)
    asked = [turn for turn, message in enumerate(row.messages[:answered]) if message.role == "user"]
    return _parted(row.messages[asked[-1]].content, asked[-1]) if asked else None


def question_in(row: Row) -> str:
    """The whole question of a row, empty where there is none."""
    question = question_of(row)
    return question.whole if question else ""


def is_exchange(row: Row) -> bool:
    """Return True if a row is one question and its answer, as an example for a new row has to be."""
    if isinstance(row, Text):
        return bool(row.prompt.strip())
    spoken = [message for message in row.messages if message.role != "system"]
    plain = all(message.content.strip() and not message.more for message in spoken)
    return [message.role for message in spoken] == ["user", "assistant"] and plain and not row.tools


def answer_of(row: Row) -> str:
    """All that a row answers to its question."""
    if isinstance(row, Text):
        return row.completion
    return "\n".join(message.content for message in row.messages if message.role == "assistant")


def reworded(row: Row, question: Question, head: str) -> Row:
    """The row with its question in other words. Earlier answers become context: they are trained in the row itself."""
    said = head + question.rest
    if isinstance(row, Text):
        return replace(row, prompt=said)
    turns = [
        replace(message, trained=False) if message.role == "assistant" and turn < question.turn else message
        for turn, message in enumerate(row.messages)
    ]
    turns[question.turn] = replace(turns[question.turn], content=said)
    return replace(row, messages=tuple(turns))


def new_row(like: Row, question: str, answer: str) -> Row:
    """A row of another one's format, with its system message."""
    if isinstance(like, Text):
        return Text(question, answer, "")
    system = [message for message in like.messages if message.role == "system"]
    return Conversation((*system, Message("user", question), Message("assistant", answer)), "")


def asked_for(row: Row) -> tuple[Message, ...]:
    """What a model is asked that is to give the last answer of a row: everything in front of it."""
    if not isinstance(row, Conversation):
        return (Message("user", row.prompt),)
    return row.messages[: _answered_at(row)]


def last_answer(row: Row) -> str:
    """The last answer of a row; empty where that calls a tool and says nothing."""
    return row.messages[_answered_at(row)].content if isinstance(row, Conversation) else row.completion


def pair_of(row: Row, other: str) -> Preference:
    """The row's last answer as the chosen one, and another text as the rejected one."""
    if not isinstance(row, Conversation):
        return Preference(row, replace(row, completion=other))
    answers = row.messages[_answered_at(row)], Message("assistant", other)
    return Preference(*(replace(row, messages=(*asked_for(row), answer)) for answer in answers))


def _answered_at(row: Conversation) -> int:
    return max(turn for turn, message in enumerate(row.messages) if message.role == "assistant")


def _parted(text: str, turn: int) -> Question | None:
    text = text.lstrip()
    head = text.partition("\n\n")[0].rstrip()
    return Question(head, text[len(head) :], turn) if head else None
