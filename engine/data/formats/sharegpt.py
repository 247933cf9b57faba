"""Conversations as ShareGPT writes them, in a column `conversations`."""

from engine.data.formats.base import RowFormat
from engine.data.formats.messages import conversation, messages_of
from engine.data.readers.table import Columns
from engine.data.types import Conversation


def _sharegpt(columns: Columns, where: str) -> Conversation:
    return conversation(columns, messages_of(columns["conversations"], "conversations"), where)


FORMAT = RowFormat(
    "sharegpt", ("conversations",), _sharegpt, uses=frozenset({"system", "tools", "functions"})
)
