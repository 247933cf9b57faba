"""The codec of dataclasses: values come back as they were, and JSON that is none of them is an error with its place."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.codec import CodecError, decode, encode
from engine.data.preview.values import Lengths, Opened, RowView, TokenText, View
from engine.data.types import Completion, Message, Prompt, Sampling
from engine.service.operations import OPERATIONS
from engine.service.operations.answers import AnswersRequest, GenerateRequest
from tests.plan_fixtures import CPU, SMALL, plan


@dataclass(frozen=True)
class Leaf:
    kind: Literal["a", "b", 3]
    words: tuple[str, ...] = ()
    pair: tuple[int, float] = (0, 0.0)


@dataclass(frozen=True)
class Tree:
    name: str
    path: Path
    share: float | None
    count: int | float
    leaves: tuple[Leaf, ...]
    by_name: Mapping[str, Leaf | None]
    either: str | Mapping[str, str] | None = None
    anything: Any = None
    on: bool = field(default=False, kw_only=True)
    derived: int = field(default=7, init=False)


@dataclass(frozen=True)
class Positive:
    number: int

    def __post_init__(self) -> None:
        if self.number <= 0:
            raise ValueError("number has to be positive")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
"""Plain JSON."""
FINITE = st.floats(allow_nan=False)
BAD_LEAF = {"kind": "a", "words": [1]}
LEAVES = st.builds(Leaf, pair=st.tuples(st.integers(), FINITE))
TREES = st.builds(
    Tree,
    path=st.sampled_from([Path("a"), Path("/b/c.yml")]),
    share=st.none() | FINITE,
    count=st.integers() | FINITE,
    leaves=st.lists(LEAVES, max_size=3).map(tuple),
    by_name=st.dictionaries(st.text(max_size=3), st.none() | LEAVES, max_size=3),
    anything=PLAIN,
)
MESSAGES = st.builds(Message, more=st.none() | st.dictionaries(st.text(max_size=8), PLAIN, max_size=3))
PROMPTS = st.builds(
    Prompt,
    messages=st.lists(MESSAGES, max_size=3).map(tuple),
    tools=st.lists(st.dictionaries(st.text(max_size=8), PLAIN, max_size=2), max_size=2).map(tuple),
)


def through_json(value: Any) -> Any:
    return decode(type(value), json.loads(json.dumps(encode(value))))


@given(TREES | LEAVES | PROMPTS)
def test_codec_returns_value_unchanged(value: Any) -> None:
    assert through_json(value) == value


@given(
    st.builds(RowView, pieces=st.lists(st.builds(TokenText), max_size=3).map(tuple))
    | st.builds(Lengths)
    | st.builds(Opened, counting=st.none() | st.floats(0, 1))
    | st.builds(View)
    | st.builds(Completion)
    | st.builds(GenerateRequest, prompt=PROMPTS, sampling=st.builds(Sampling, temperature=st.floats(0, 2)))
    | st.builds(AnswersRequest, prompts=st.lists(PROMPTS, max_size=2).map(tuple), temperature=st.floats(0, 2))
)
def test_codec_returns_service_values_unchanged(value: Any) -> None:
    assert through_json(value) == value


def test_codec_keeps_extra_keys_of_message() -> None:
    """A template gets them besides role and content."""
    calls = [{"type": "function", "function": {"name": "stock", "arguments": {"fruit": "apple"}}}]
    more = {"tool_calls": calls, "reasoning_content": "I have to look."}
    message = Message("assistant", "", trained=False, more=more, unused=("a note",))
    back = through_json(message)
    assert (back, back.unused, back.more) == (message, message.unused, more)


def test_codec_returns_plan_unchanged() -> None:
    settled = plan(CPU, SMALL)
    assert through_json(settled) == settled


@pytest.mark.parametrize("name", OPERATIONS)
def test_codec_reads_every_service_operation(name: str) -> None:
    """The codec reads its request and its answer."""
    operation = OPERATIONS[name]
    assert dataclasses.is_dataclass(operation.request)
    with pytest.raises(CodecError, match=r"lacks the field|has to be"):
        decode(operation.request, {})
    with pytest.raises(CodecError):
        decode(operation.answer, {"no such": "answer"})


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        (Leaf, {"kind": "c"}, "kind has to be one of a, b, 3"),
        (Leaf, {"kind": True}, "kind has to be one of a, b, 3"),
        (Leaf, {"kind": "a", "words": "text"}, "words has to be a list, not str"),
        (Leaf, {"kind": "a", "words": ["x", 1]}, "words[1] has to be str, not int"),
        (Leaf, {"kind": "a", "pair": [1]}, "pair has to be a list of 2, not of 1"),
        (Leaf, {"kind": "a", "word": []}, "the value has no field word"),
        (Leaf, {}, "the value lacks the field kind"),
        (Leaf, [], "the value has to be a mapping, not list"),
        (Positive, {"number": True}, "number has to be int, not bool"),
        (Positive, {"number": 1.0}, "number has to be int, not float"),
        (Positive, {"number": 0}, "the value cannot be: number has to be positive"),
        (str | None, 1, "the value has to be str, not int or has to be null, not int"),
        (tuple[Leaf, ...], [{"kind": "a"}, {}], "[1] lacks the field kind"),
        (Mapping[str, int], {"a": None}, "a has to be int, not null"),
        (
            Tree,
            {
                "name": "",
                "path": "",
                "share": 0,
                "count": 0,
                "leaves": [],
                "by_name": {"x": {"kind": "a", "words": [1]}},
            },
            "by_name.x.words[0] has to be str, not int",
        ),
    ],
)
def test_codec_places_error_in_misshapen_json(kind: Any, body: Any, message: str) -> None:
    with pytest.raises(CodecError) as refused:
        decode(kind, body)
    assert str(refused.value) == message


def test_codec_keeps_whole_numbers() -> None:
    """Both kinds of number are allowed there."""
    assert [type(decode(float | int, body)) for body in (1, 1.5)] == [int, float]
    assert type(decode(float, 1)) is float


@pytest.mark.parametrize("value", [{1: "a"}, {"a": {2, 3}}, [object()], Leaf])
def test_codec_refuses_values_without_json(value: Any) -> None:
    with pytest.raises(CodecError, match="has no JSON"):
        encode(value)


def test_codec_names_unknown_type() -> None:
    with pytest.raises(CodecError, match="complex"):
        decode(complex, 1)
