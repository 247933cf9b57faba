"""Conversations of other tools: every part of them is read as what it says, or reported."""

import json
from typing import Any

import pytest

from engine.errors import DataError
from tests.corpus.reading import ASKED, BAD, GOOD, TOOL, Reader, chatml


def test_system_column_comes_before_messages(read: Reader) -> None:
    found = read("02_system_beside.jsonl")
    assert found.texts[0] == chatml(
        ("system", "You are a pirate cook. Answer in rhyme."),
        ("user", "What is for lunch on day 0?"),
        ("assistant", "⟦Fish number 0, my mate, on a tin plate.⟧"),
    )


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASKED, GOOD]},
        {"conversations": [{"from": "human", "value": ASKED["content"]}, {"from": "gpt", "value": "Lima."}]},
        {"instruction": ASKED["content"], "output": "Lima."},
        {"prompt": ASKED["content"], "completion": "Lima."},
        {"prompt": [ASKED], "completion": [GOOD]},
        {"prompt": ASKED["content"], "chosen": "Lima.", "rejected": "Cuzco."},
        {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]},
        {"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
        {"instruction": ASKED["content"], "chosen": "Lima.", "rejected": "Cuzco."},
        {"messages": [ASKED, GOOD], "label": True},
        {"instruction": ASKED["content"], "output": "Lima.", "label": 1},
        {
            "contents": [
                {"role": "user", "parts": [{"text": "Capital of Peru?"}]},
                {"parts": [{"text": "Lima."}], "role": "model"},
            ]
        },
    ],
    ids=lambda row: "+".join(row),
)
def test_every_conversation_format_takes_system_and_tools(row: dict[str, Any], read: Reader) -> None:
    found = read([{**row, "system": "Be brief.", "tools": json.dumps([TOOL])}])
    (text,) = found.texts
    assert text.startswith("<|im_start|>system\nBe brief.\n\nYou can call these functions:")
    assert '"name": "weather"' in text
    assert text.endswith("user\nCapital of Peru?<|im_end|>\n<|im_start|>assistant\n⟦Lima.<|im_end|>⟧\n")
    assert "not use" not in found.said


def test_duplicate_system_message_is_shown_once(
    read: Reader,
) -> None:
    """Two that differ are reported."""
    turns = [{"role": "system", "content": "Be brief."}, ASKED, GOOD]
    want = chatml(("system", "Be brief."), ("user", ASKED["content"]), ("assistant", "⟦Lima.⟧"))
    same = read([{"system": "Be brief. ", "messages": turns}])
    other = read([{"system": "Be kind.", "messages": turns}, {"messages": turns}])
    assert same.texts == [want]
    assert "not used" not in same.said
    assert other.texts == [want, want]
    assert (
        "1 of 2 rows has `system`, which is not used: its messages begin with a system message" in other.said
    )


@pytest.mark.parametrize("system", [None, "", " ", "null", "None", float("nan")])
def test_empty_system_column_adds_nothing(system: Any, read: Reader) -> None:
    found = read([{"system": system, "messages": [ASKED, GOOD], "tools": "null"}])
    assert found.texts == [chatml(("user", ASKED["content"]), ("assistant", "⟦Lima.⟧"))]


def test_unread_system_column_names_its_setting(read: Reader) -> None:
    rows = [{"system_prompt": "Be brief.", "messages": [ASKED, GOOD]}]
    assert "--set 'data.columns={system: system_prompt}'" in read(rows).said
    used = read(rows, columns={"system": "system_prompt"})
    assert used.texts[0].startswith("<|im_start|>system\nBe brief.<|im_end|>")
    assert "not used" not in used.said


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"text": "Once upon a time.", "system": "Tell."}, "system"),
        ({"text": "Once upon a time.", "tools": [TOOL]}, "tools"),
        ({"text": "Once upon a time.", "label": 1}, "label"),
        ({"messages": [ASKED, GOOD], "history": [["a", "b"]]}, "history"),
        ({"messages": [ASKED, GOOD], "label": True, "history": [["a", "b"]]}, "history"),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "input": "d"}, "input"),
        ({"messages": [ASKED, GOOD], "label": "geography"}, "label"),
        ({"messages": [ASKED, GOOD], "weight": 0.5}, "weight"),
        ({"instruction": "a", "output": "b", "reasoning": "because"}, "reasoning"),
        ({"instruction": "a", "output": "b", "context": "c"}, "context"),
        ({"prompt": "a", "completion": "b", "input": "c"}, "input"),
    ],
)
def test_unread_column_is_reported_once(row: dict[str, Any], name: str, read: Reader) -> None:
    """The column changes what the rows mean."""
    said = read([row] * 3).said
    assert said.count(f"3 of 3 rows have `{name}`, which") == 1


def test_message_parts_with_loss_weight_are_read(read: Reader) -> None:
    found = read("71_v1_parts.jsonl")
    assert "chat, because its rows have `messages`" in found.said
    first, second = found.texts[:2]
    assert "⟦<think>\n0 and one make 1.\n</think>\n\n1.<|im_end|>⟧" in first
    assert (
        '⟦<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call><|im_end|>⟧' in first
    )
    assert "<|im_start|>tool\nrain<|im_end|>" in first
    assert first.endswith("<|im_start|>assistant\nIt rains.<|im_end|>\n"), "its loss_weight is 0"
    assert second.endswith("<|im_start|>assistant\n⟦It rains.<|im_end|>⟧\n")
    assert '"description": "Weather of a city"' in first


def test_pairs_of_whole_conversations_are_read(read: Reader) -> None:
    found = read("72_v1_pairs.jsonl")
    assert "preference, because its rows have `chosen_messages`, `rejected_messages`" in found.said
    assert found.texts[0] == chatml(("user", "A word for cold?"), ("assistant", "⟦Chilly, 0.⟧"))


def test_thoughts_before_tool_call_are_kept(read: Reader) -> None:
    (text, *_) = read("60_fc_think.jsonl").texts
    call = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    assert f"⟦<think>\nlook up\n</think>\n\n{call}<|im_end|>⟧" in text


@pytest.mark.parametrize(
    ("file", "want"),
    [
        ("46_anthropic.jsonl", "assistant\n⟦<think>\nhm\n</think>\n\nA apple.<|im_end|>⟧"),
        ("46_gemini.jsonl", "user\nQ apple?<|im_end|>\n<|im_start|>assistant\n⟦A apple.<|im_end|>⟧"),
        ("46_output_text.jsonl", "user\nQ apple?<|im_end|>\n<|im_start|>assistant\n⟦A apple.<|im_end|>⟧"),
        ("48_openai_dpo.jsonl", "user\nQ apple?<|im_end|>\n<|im_start|>assistant\n⟦Good apple<|im_end|>⟧"),
        ("11_tool_obj.jsonl", '<|im_start|>tool\n{"temp": 20}<|im_end|>'),
        ("16_nan.jsonl", "<|im_start|>user\nName 0<|im_end|>\n<|im_start|>assistant\n⟦N0<|im_end|>⟧"),
        ("13_seqdict.parquet", "<|im_start|>assistant\n⟦"),
        ("05_history.csv", "<|im_start|>user\nAnd then 0?<|im_end|>\n<|im_start|>assistant\n⟦Then stop 0."),
    ],
)
def test_exported_formats_are_read(file: str, want: str, read: Reader) -> None:
    assert want in read(file).texts[0]


@pytest.mark.parametrize("column", ["messages", "prompt", "chosen"])
def test_lists_by_key_are_messages(column: str, read: Reader) -> None:
    def lists(*turns: dict[str, str]) -> dict[str, list[str]]:
        return {key: [turn[key] for turn in turns] for key in ("role", "content")}

    rows: dict[str, dict[str, Any]] = {
        "messages": {"messages": lists(ASKED, GOOD)},
        "prompt": {"prompt": lists(ASKED), "completion": lists(GOOD)},
        "chosen": {"chosen": lists(ASKED, GOOD), "rejected": lists(ASKED, BAD)},
    }
    assert read([rows[column]]).texts == [chatml(("user", ASKED["content"]), ("assistant", "⟦Lima.⟧"))]


def test_message_keys_may_mix_spellings(read: Reader) -> None:
    turns = [{"from": "user", "content": "Hi"}, {"role": "assistant", "value": "Hello"}]
    assert read([{"messages": turns}]).texts == [chatml(("user", "Hi"), ("assistant", "⟦Hello⟧"))]


def test_tool_calls_in_message_parts_are_read(read: Reader) -> None:
    used = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Oslo"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "rain"}]}
    turns = [
        {"role": "user", "content": "Oslo?"},
        {"role": "assistant", "content": [{"type": "text", "text": "I look."}, used]},
        {"role": "user", "content": [result, {"type": "text", "text": "Short, please."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Rain."}]},
    ]
    tools = [{"name": "weather", "description": "d", "input_schema": {"type": "object", "properties": {}}}]
    (text,) = read([{"messages": turns, "tools": tools}]).texts
    assert '"parameters": {"type": "object", "properties": {}}' in text
    assert text.endswith(
        'Oslo?<|im_end|>\n<|im_start|>assistant\n⟦I look.\n<tool_call>\n{"name": "weather", "arguments": '
        '{"city": "Oslo"}}\n</tool_call><|im_end|>⟧\n<|im_start|>tool\nrain<|im_end|>\n<|im_start|>user\n'
        "Short, please.<|im_end|>\n<|im_start|>assistant\n⟦Rain.<|im_end|>⟧\n"
    )


def test_tool_calls_of_gemini_are_read(read: Reader) -> None:
    row = {
        "systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Oslo?"}]},
            {
                "role": "model",
                "parts": [
                    {"text": "hm", "thought": True},
                    {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}},
                ],
            },
            {
                "role": "user",
                "parts": [{"functionResponse": {"name": "weather", "response": {"sky": "rain"}}}],
            },
            {"role": "model", "parts": [{"text": "Rain."}]},
        ],
        "tools": [{"functionDeclarations": [TOOL]}],
    }
    (text,) = read([row]).texts
    assert text.startswith("<|im_start|>system\nBe brief.\n\nYou can call")
    assert '⟦<think>\nhm\n</think>\n\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}' in text
    assert '<|im_start|>tool\n{"sky": "rain"}<|im_end|>' in text
    with pytest.raises(DataError, match=r"`contents\[0\]` has a part that is not text: `inlineData`"):
        read([{"contents": [{"role": "user", "parts": [{"inlineData": {"data": "…"}}]}]}])


def test_separate_tool_calls_form_one_answer(read: Reader) -> None:
    turns = [
        {"role": "user", "content": "Oslo and Lima?"},
        {"role": "assistant", "content": "I look."},
        {"role": "tool_call", "content": '{"name": "weather", "arguments": {"city": "Oslo"}}'},
        {"role": "tool_call", "content": '{"name": "weather", "arguments": {"city": "Lima"}}'},
        {"role": "tool_response", "content": "rain"},
        {"role": "tool_response", "content": "sun"},
        {"role": "assistant", "content": "Rain, sun."},
    ]
    (text,) = read([{"messages": turns}]).texts
    assert text.count("<|im_start|>assistant") == 2
    assert (
        'I look.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>\n<tool_call>'
        in text
    )


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ([{"type": "text", "text": "a"}, {"type": "thinking", "thinking": "b"}], "thoughts behind its text"),
        (
            [{"type": "tool_use", "name": "f", "input": {}}, {"type": "text", "text": "a"}],
            "text behind a call",
        ),
    ],
)
def test_message_parts_out_of_order_are_refused(parts: list[dict[str, Any]], why: str, read: Reader) -> None:
    """No template shows them in that order."""
    with pytest.raises(DataError, match=why):
        read([{"messages": [ASKED, {"role": "assistant", "content": parts}]}])


def test_duplicate_keys_of_message_are_reported(read: Reader) -> None:
    call = {"name": "f", "arguments": "{}"}
    turn = {
        **GOOD,
        "reasoning": "a",
        "thinking": "b",
        "function_call": call,
        "tool_calls": [{"function": call}],
    }
    said = read([{"messages": [ASKED, turn]}]).said
    assert "has other thoughts than those under `reasoning`, which are not used" in said
    assert "has `function_call` beside `tool_calls`, which is not used" in said
    said = read([{"messages": [{**ASKED, "tool_calls": [{"function": call}]}, GOOD]}]).said
    assert "has `tool_calls` on a turn of user, which is not used" in said


@pytest.mark.parametrize("empty", ["null", "None", "nan", "", "[]", None, float("nan"), []])
def test_null_tools_mean_no_tools(empty: Any, read: Reader) -> None:
    found = read([{"messages": [ASKED, {**GOOD, "tool_calls": empty, "reasoning": empty}], "tools": empty}])
    assert found.texts == [chatml(("user", ASKED["content"]), ("assistant", "⟦Lima.⟧"))]
