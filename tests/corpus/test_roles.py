"""Names of roles: those of other tools are known, others are said in the recipe."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config.problems import RecipeError
from engine.errors import DataError
from tests.corpus.reading import ASKED, GOOD, Reader, chatml, ft


@pytest.mark.parametrize(
    ("file", "want"),
    [
        ("09_roles_bot.jsonl", "user\nQ0<|im_end|>\n<|im_start|>assistant\n⟦A0"),
        ("09_roles_cap.jsonl", "user\nQ0<|im_end|>\n<|im_start|>assistant\n⟦A0"),
        ("09_roles_chatgpt.jsonl", "user\nQ0<|im_end|>\n<|im_start|>assistant\n⟦A0"),
        ("09_roles_ipython.jsonl", "user\nQ0<|im_end|>\n<|im_start|>assistant\n⟦A0"),
        (
            "09_roles_toolresp.jsonl",
            '⟦<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call><|im_end|>⟧\n<|im_start|>tool\n7<|im_end|>',
        ),
    ],
)
def test_role_names_of_other_tools_are_known(file: str, want: str, read: Reader) -> None:
    assert want in read(file).texts[0]


@pytest.mark.parametrize("name", ["ipython", "tool_response", "function_response", "Tool", "FUNCTION-RESULT"])
def test_tool_results_are_known_by_role_name(name: str, read: Reader) -> None:
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}],
    }
    (text,) = read([{"messages": [ASKED, call, {"role": name, "content": "7"}, GOOD]}]).texts
    assert "<|im_start|>tool\n7<|im_end|>" in text


@pytest.mark.parametrize("shape", ["messages", "conversations", "in CSV", "lists"])
def test_recipe_maps_other_role_names(shape: str, read: Reader, tmp_path: Path) -> None:
    turns = [{"role": "customer", "content": "Hi"}, {"role": "agent", "content": "Hello"}]
    rows: Any = [{"messages": turns}]
    if shape == "conversations":
        rows = [{"conversations": [{"from": turn["role"], "value": turn["content"]} for turn in turns]}]
    elif shape == "lists":
        rows = [{"messages": {key: [turn[key] for turn in turns] for key in ("role", "content")}}]
    elif shape == "in CSV":
        rows = tmp_path / "a.csv"
        rows.write_text('messages\n"' + json.dumps(turns).replace('"', '""') + '"\n')
    with pytest.raises(DataError, match="is 'customer', which is not a known role") as caught:
        read(rows)
    assert "--set 'data.roles={customer: user, agent: assistant}'" in caught.value.hint
    found = read(rows, roles={"customer": "user", "agent": "assistant"})
    assert found.texts == [chatml(("user", "Hi"), ("assistant", "⟦Hello⟧"))]
    assert "as data.roles says (`customer` is user, `agent` is assistant)" in found.said


@pytest.mark.parametrize(
    ("names", "setting"),
    [
        (("user", "agent"), "{agent: assistant}"),
        (("customer", "assistant"), "{customer: user}"),
        (("system", "customer", "agent"), "{customer: user, agent: assistant}"),
        (("user", "assistant", "narrator"), "{narrator: assistant}"),
    ],
)
def test_unknown_role_names_setting_for_row(names: tuple[str, ...], setting: str, read: Reader) -> None:
    """One setting for all roles of the row."""
    with pytest.raises(DataError, match="which is not a known role") as caught:
        read([{"messages": [{"role": name, "content": "Hi"} for name in names]}])
    assert f"--set 'data.roles={setting}'" in caught.value.hint


def test_role_names_are_set_on_command_line(read: Reader, tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        json.dumps(
            {"messages": [{"role": "customer", "content": "Hi"}, {"role": "agent", "content": "Hello"}]}
        )
    )
    shown = ft(
        "data",
        "preview",
        str(path),
        "--model",
        str(tiny_model),
        "--set",
        "data.roles={customer: user, agent: assistant}",
    )
    assert "[Hello<|im_end|>]" in shown.stdout
    wrong = ft("data", "preview", str(path), "--set", "data.roles={customer: client}")
    assert isinstance(wrong.exception, RecipeError)
    assert "it has to be system, user, assistant, tool or tool_call" in wrong.exception.message
