"""A format of rows: a question, a better answer and a worse one, in columns of these names."""

from typing import Any

from engine.data.formats.base import RowError, RowFormat
from engine.data.types import Conversation, Message, Preference


def read(columns: dict[str, Any], where: str) -> Preference:
    """One row as a preference: `better` over `worse`."""
    if columns["better"] == columns["worse"]:
        raise RowError("`better` and `worse` are the same answer")
    chosen, rejected = (
        Conversation((Message("user", columns["question"]), Message("assistant", answer)), where)
        for answer in (columns["better"], columns["worse"])
    )
    return Preference(chosen, rejected)


DUEL = RowFormat("duel", ("question", "better", "worse"), read)
