"""A conversation of a hundred thousand turns takes linear time, and is trained as a short one (reliability.md, 10)."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.data.formats.base import RowError
from engine.data.tokenization import answers
from engine.data.tokenization.answers import AnswerFinder
from engine.data.tokenization.chat_template import ChatTemplate
from engine.data.tokenization.row_encoder import Encoded, RowEncoder
from engine.data.tokenization.template_lookup import BUILT_IN
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Conversation, Message
from tests.families import make_model, shipped

TEMPLATES = shipped()
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "stock",
        "description": "Of a fruit.",
        "parameters": {"type": "object", "properties": {}},
    },
}


def asked(number: int) -> Message:
    return Message("user", f"How many foxes are {number}?")


def said(number: int) -> Message:
    return Message("assistant", f"There are {number} foxes.")


def calls(number: int) -> tuple[Message, ...]:
    call = {
        "type": "function",
        "id": "call00001",
        "function": {"name": "stock", "arguments": {"fruit": f"f{number}"}},
    }
    return (
        asked(number),
        Message("assistant", "", more={"tool_calls": [call]}),
        Message("tool", str(number), more={"name": "stock", "tool_call_id": "call00001"}),
        said(number),
    )


def thinks(number: int) -> tuple[Message, ...]:
    return asked(number), Message("assistant", f"<think>\nOf {number}.\n</think>\n\nThere are {number}.")


KINDS: dict[str, Any] = {
    "plain": lambda number: (asked(number), said(number)),
    "system": lambda number: (asked(number), said(number)),
    "calls": calls,
    "thoughts": thinks,
    "some": lambda number: (
        asked(number),
        Message("assistant", f"There are {number}.", trained=number % 3 > 0),
    ),
}


def conversation(kind: str, exchanges: int) -> Conversation:
    start = (Message("system", "Count foxes."),) if kind == "system" else ()
    turns = itertools.chain.from_iterable(map(KINDS[kind], range(exchanges)))
    return Conversation((*start, *turns), "rows.jsonl:1", (TOOL,) if kind == "calls" else ())


def encoded(encoder: RowEncoder, row: Conversation) -> list[Encoded] | str:
    try:
        return encoder.encode(encoder.render(row))
    except RowError as error:
        return str(error).replace(f"messages[{len(row.messages)}", "messages[")


@pytest.mark.parametrize("name", [*BUILT_IN, *TEMPLATES])
def test_long_conversation_trains_like_single_answers(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name in TEMPLATES:
        tokenizer = Tokenizer.load(make_model(tmp_path, name, TEMPLATES[name]))
    else:
        tokenizer = Tokenizer.load(tiny_model, name)
    for kind in KINDS:
        row = conversation(kind, 40)
        together = encoded(RowEncoder(tokenizer, "assistant"), row)
        with monkeypatch.context() as patch:
            patch.setattr(answers, "MANY", 10**9)
            patch.setattr("engine.data.tokenization.span_alignment.MANY", 10**9)
            one_by_one = encoded(RowEncoder(tokenizer, "assistant"), row)
        assert together == one_by_one, kind


def messages_rendered(
    encoder: RowEncoder, row: Conversation, monkeypatch: pytest.MonkeyPatch, limit: int
) -> int:
    count = 0

    def counting(real: Any) -> Any:
        def render(self: ChatTemplate, messages: Sequence[Message], *more: Any, **named: Any) -> Any:
            nonlocal count
            count += len(messages)
            return real(self, messages, *more, **named)

        return render

    with monkeypatch.context() as patch:
        for name in ("render", "render_marked"):
            patch.setattr(ChatTemplate, name, counting(getattr(ChatTemplate, name)))
        encoder.render(row, limit)
    return count


@pytest.mark.parametrize("kind", ["plain", "system", "calls", "thoughts"])
@pytest.mark.parametrize("name", ["chatml", "llama3", "mistral", "qwen3", "gptoss"])
def test_encoding_long_conversation_is_linear(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    if name in TEMPLATES:
        tokenizer = Tokenizer.load(make_model(tmp_path, name, TEMPLATES[name]))
    else:
        tokenizer = Tokenizer.load(tiny_model, name)
    encoder = RowEncoder(tokenizer, "assistant")
    if isinstance(encoded(encoder, conversation(kind, 3)), str):
        pytest.skip("the template takes no such rows")
    encoder.render(conversation(kind, 50), 256)  # what is tried once for a template
    once, twice = (
        messages_rendered(encoder, conversation(kind, exchanges), monkeypatch, 256)
        for exchanges in (500, 1000)
    )
    assert twice < 2.5 * once


def test_answers_beyond_cut_are_not_rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Qwen 3 shows the thoughts of the last answer alone: each answer has its own text, and all would be many."""
    encoder = RowEncoder(Tokenizer.load(make_model(tmp_path, "qwen3", TEMPLATES["qwen3"])), "assistant")
    row = conversation("thoughts", 400)
    found = encoder.encode(encoder.render(row, 200))
    whole = encoder.encode(encoder.render(row))
    assert 3 < len(found) < 40 < len(whole)
    assert found == whole[: len(found)]
    assert all(span[0] >= 200 for span in whole[len(found) + 30].spans)


@pytest.mark.slow
def test_hundred_thousand_turns_are_encoded(tiny_model: Path) -> None:
    encoder = RowEncoder(Tokenizer.load(tiny_model, "chatml"), "assistant")
    row = conversation("plain", 50_000)
    (found,) = encoder.encode(encoder.render(row, 2048))
    assert len(found.spans) == 50_000
    texts = [
        encoder.tokenizer.decode(found.ids[start:end]) for start, end in (found.spans[0], found.spans[-1])
    ]
    assert texts[0].startswith("There are 0 foxes.")
    assert texts[1].startswith("There are 49999 foxes.")
    assert isinstance(encoder._finder((), False), AnswerFinder)
