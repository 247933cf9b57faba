"""Instructions and their answers, as the Alpaca dataset has them."""

from engine.data.formats.base import RowError, RowFormat, is_null, parsed, text_of
from engine.data.formats.messages import conversation
from engine.data.formats.prompt_completion import listed_turns, turns_of
from engine.data.readers.table import Columns
from engine.data.types import Conversation, Message


def alpaca(columns: Columns, where: str, answer: str = "output") -> Conversation:
    """Read instruction + input as the user's turn and `answer` as the assistant's, after `system` and `history`."""
    instruction = text_of(columns["instruction"], "instruction")
    extra = columns.get("input")
    extra = "" if extra is None or is_null(extra) else text_of(extra, "input")
    asked = "\n\n".join(filter(None, (instruction, extra)))
    reply = listed_turns(columns[answer], answer)
    if not isinstance(reply, list):
        text_of(reply, answer)
    turns = (*_history(columns), Message("user", asked), *turns_of(reply, "assistant", answer))
    return conversation(columns, turns, where)


def _history(columns: Columns) -> list[Message]:
    """Earlier questions and answers."""
    if is_null(columns.get("history")):
        return []
    history = parsed(columns["history"], "history", "[")
    turns: list[Message] = []
    for pair in history if isinstance(history, list) else [None]:
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError("`history` is a list of [question, answer] pairs")
        for role, text in zip(("user", "assistant"), pair, strict=True):
            turns += turns_of(text_of(text, "history"), role, "history")
    return turns


FORMAT = RowFormat(
    "alpaca",
    ("instruction", "output"),
    alpaca,
    uses=frozenset({"system", "tools", "functions", "input", "history"}),
)
