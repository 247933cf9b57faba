"""Parts of an answer that comes in pieces: up to a stop text, reasoning apart, calls of tools read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.tokenization.thought_blocks import ThoughtBlock
from engine.inference.answer import Answer, Piece
from engine.inference.answer_parts import AnswerParts
from engine.inference.stop_text import StopText, cut

OPEN = ThoughtBlock("<think>", "</think>", 0, closed=False)
TOOLS = ({"type": "function", "function": {"name": "stock", "parameters": {}}},)
TEXTS = st.text(st.sampled_from("ab <>/\n"), max_size=30)


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    ends = sorted({min(at, len(text)) for at in (*cuts, len(text))})
    return [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def divided(text: str, cuts: list[int], block: ThoughtBlock | None = None, tools: Any = ()) -> Answer:
    parts, answer = AnswerParts(block, tools), Answer()
    for piece in pieces_of(text, cuts):
        answer += parts.take(piece)
    return answer + parts.end("", False, 1, 1)


@given(TEXTS, st.lists(st.text(st.sampled_from("ab "), min_size=1, max_size=4), max_size=3), st.data())
def test_no_part_of_a_stop_text_is_shown(text: str, stops: list[str], data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, 30)))
    stop, shown = StopText(stops), ""
    for piece in pieces_of(text, cuts):
        shown += stop.take(piece)
        if stop.stopped:
            break
    shown += stop.rest()
    ends = [(text.index(each) + len(each), text.index(each)) for each in stops if each in text]
    at = min(ends)[1] if ends else len(text)
    assert shown == text[:at] == cut(text, stops)[0]
    assert stop.stopped == any(each in text for each in stops)


def test_stop_text_spread_over_tokens_is_held_back_until_it_is_none() -> None:
    stop = StopText(["\nUser:"])
    assert [stop.take(piece) for piece in ("Hi", "\n", "Us", "ual", "\nUser", ":")] == [
        "Hi",
        "",
        "",
        "\nUsual",
        "",
        "",
    ]
    assert stop.stopped
    assert stop.rest() == ""


@given(TEXTS, st.lists(st.integers(0, 30)), st.booleans())
def test_answer_without_reasoning_is_shown_as_it_is(text: str, cuts: list[int], tools: bool) -> None:
    assert divided(text, cuts, tools=TOOLS if tools else ()).text == text


REASONED = [
    ("<think>\nTwo and two.\n</think>\n\nFour.", None),
    ("\n<think>Two and two.</think>Four.", None),
    ("Two and two.\n</think>\n\nFour.", OPEN),
    ("\nTwo and two.</think>\n\nFour.", OPEN),
    ("[THINK]Two and two.[/THINK]Four.", None),
    ("<thinking>Two and two.</thinking> Four.", None),
]


@pytest.mark.parametrize(("text", "block"), REASONED)
@given(cuts=st.lists(st.integers(0, 50)))
def test_reasoning_is_apart_however_it_is_cut(text: str, block: ThoughtBlock | None, cuts: list[int]) -> None:
    answer = divided(text, cuts, block)
    assert (answer.reasoning, answer.text) == ("Two and two.", "Four.")
    assert answer.message.more == {"reasoning_content": "Two and two."}


def test_reasoning_that_never_ends_is_no_answer() -> None:
    answer = divided("Let me see", [3], OPEN)
    assert (answer.reasoning, answer.text) == ("Let me see", "")
    assert divided("Four.", [], ThoughtBlock("<think>", "</think>", 0, closed=True)).text == "Four."


CALL = {"type": "function", "function": {"name": "stock", "arguments": {"fruit": "apple"}}}
JSON = '{"name": "stock", "arguments": {"fruit": "apple"}}'
CALLED = [
    (f"<tool_call>\n{JSON}\n</tool_call>", "", 1),
    (f"I look.\n<tool_call>\n{JSON}\n</tool_call>\n<tool_call>\n{JSON}\n</tool_call>", "I look.", 2),
    (f"[TOOL_CALLS][{JSON}, {JSON}]", "", 2),
    ('[TOOL_CALLS]stock[ARGS]{"fruit": "apple"}', "", 1),
    (JSON.replace("arguments", "parameters"), "", 1),
    (f"<|python_tag|>{JSON}", "", 1),
]


@pytest.mark.parametrize(("text", "said", "calls"), CALLED)
@given(cuts=st.lists(st.integers(0, 60)))
def test_calls_are_read_however_they_are_cut(text: str, said: str, calls: int, cuts: list[int]) -> None:
    answer = divided(text, cuts, tools=TOOLS)
    assert answer.calls == (CALL,) * calls
    assert answer.text == said
    assert answer.end is not None
    assert answer.end.finish == "tool_calls"


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>{broken</tool_call>",
        '{"name": "unknown", "arguments": {}}',
        '{"name": "Olga", "items": {"mocha": 2}}',
        "[TOOL_CALLS] none",
        "[1, 2]",
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    answer = divided(text, [3, 7], tools=TOOLS)
    assert (answer.text, answer.calls) == (text, ())
    assert answer.end is not None
    assert answer.end.finish == "stop"


def test_pieces_are_whole_before_the_end_where_nothing_can_begin() -> None:
    parts = AnswerParts()
    assert [parts.take(piece) for piece in ("Two", " and", " two")] == [
        Piece("Two"), Piece(" and"), Piece(" two"),
    ]  # fmt: skip
