"""The values that Ollama gives a model's template for a conversation (its template/template.go, `collate`)."""

from collections.abc import Sequence
from typing import Any

from engine.data.types import Message


def values_of(messages: Sequence[Message], system: str = "") -> dict[str, Any]:
    """Data of a template; `system` is the Modelfile's SYSTEM, which stands in front unless a system message does.

    Messages of one role in a row become one, with an empty line between; all system messages are `System` too.
    """
    given = [{"Role": message.role, "Content": message.content} for message in messages]
    if system and (not given or given[0]["Role"] != "system"):
        given.insert(0, {"Role": "system", "Content": system})
    collated: list[dict[str, str]] = []
    for each in given:
        if collated and collated[-1]["Role"] == each["Role"] != "tool":
            collated[-1] = {**each, "Content": f"{collated[-1]['Content']}\n\n{each['Content']}"}
        else:
            collated.append(each)
    told = "\n\n".join(each["Content"] for each in given if each["Role"] == "system")
    return {"System": told, "Messages": collated, "Tools": [], "Response": ""}
