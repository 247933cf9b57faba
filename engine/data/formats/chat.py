"""Conversations as OpenAI writes them, a list of `messages`, and as Gemini does, a list of `contents`."""

from engine.data.formats import gemini
from engine.data.formats.base import RowFormat
from engine.data.formats.messages import conversation, messages_of
from engine.data.readers.table import Columns
from engine.data.types import Conversation


def _chat(columns: Columns, where: str) -> Conversation:
    if "messages" not in columns:
        return gemini.conversation_of(columns, where)
    return conversation(columns, messages_of(columns["messages"], "messages"), where)


FORMAT = RowFormat(
    "chat",
    ("messages",),
    _chat,
    others=(("contents",),),
    uses=frozenset({"system", "tools", "functions"}) | gemini.SYSTEM,
)
