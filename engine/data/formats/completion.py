"""Plain text, trained from its first token to its last."""

from engine.data.formats.base import RowFormat, text_of
from engine.data.readers.table import Columns
from engine.data.types import Text


def _completion(columns: Columns, where: str) -> Text:
    return Text("", text_of(columns["text"], "text"), where)


FORMAT = RowFormat("completion", ("text",), _completion, uses=frozenset())
