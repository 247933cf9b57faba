"""Rows that are refused say what helps, once."""

from pathlib import Path
from typing import Any

import pytest

from engine.errors import DataError
from tests.corpus.reading import ASKED, BAD, DATA, GOOD, Reader, chatml, ft


@pytest.mark.parametrize(
    ("rows", "setting"),
    [
        ("17_orca.jsonl", "data.columns={prompt: question}"),
        ("45_nested.jsonl", "data.columns={messages: data.messages}"),
        ([{"dialog": [ASKED, GOOD]}], "data.columns={messages: dialog}"),
        (
            [{"system_prompt": "S", "question": "Q?", "response": "A."}],
            "data.columns={instruction: question, output: response, system: system_prompt}",
        ),
        (
            [{"instruction": "Sum up.", "context": "Long.", "response": "Short."}],
            "data.columns={output: response, input: context}",
        ),
        (
            [{"the question": "Q?", "Question": "Q?", "Answer": "A."}],
            "data.columns={instruction: Question, output: Answer}",
        ),
    ],
)
def test_refused_rows_name_setting_that_helps(
    rows: Any, setting: str, read: Reader, tmp_path: Path, tiny_model: Path
) -> None:
    with pytest.raises(DataError) as caught:
        read(rows)
    assert f"--set '{setting}'" in caught.value.hint
    path = DATA / rows if isinstance(rows, str) else tmp_path / "rows.jsonl"
    shown = ft("data", "preview", str(path), "--model", str(tiny_model), "--set", setting)
    assert shown.exit_code == 0, shown.output
    assert "<|im_end|>]" in shown.stdout


def test_unshown_calls_name_template_that_helps(read: Reader) -> None:
    with pytest.raises(DataError) as caught:
        read("24_parallel.jsonl", template="auto")
    assert caught.value.message.startswith(
        "at least 12 rows cannot be used: the chat template does not show calls"
    )
    assert "\n" not in caught.value.message
    assert caught.value.hint == "Use a template that does: model.chat_template: chatml"
    assert len(read("24_parallel.jsonl", template="chatml").texts) == 12


@pytest.mark.parametrize(
    "file", ["24_parallel.jsonl", "25_agent.jsonl", "60_fc_think.jsonl", "09_roles_toolresp.jsonl"]
)
def test_starter_trains_calls_with_own_template(file: str, starter_model: Path, tmp_path: Path) -> None:
    """A note says which template shows them."""
    read = Reader(starter_model, tmp_path)
    found = read(file, template="auto")
    assert found.texts == read(file, template="chatml").texts
    assert (
        "12 of 12 rows have tools, which the model's chat template does not show: they are shown by ft's chatml"
        in (found.said)
    )
    assert "not used" not in found.said


def test_rows_without_tools_keep_starter_template(starter_model: Path, tmp_path: Path) -> None:
    """Also beside rows with tools."""
    read = Reader(starter_model, tmp_path)
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}],
    }
    rows = [{"messages": [ASKED, call, {"role": "tool", "content": "7"}, GOOD]}, {"messages": [ASKED, GOOD]}]
    found = read(rows, template="auto")
    assert '<tool_call>\n{"name": "f"' in found.texts[0]
    assert "1 of 2 rows have tools" in found.said
    assert found.texts[1].startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")


def test_python_list_in_csv_is_refused(read: Reader) -> None:
    with pytest.raises(DataError, match="`messages` looks like JSON but is not") as caught:
        read("12_repr.csv")
    assert "df.to_json('rows.jsonl', orient='records', lines=True)" in caught.value.hint


@pytest.mark.parametrize(
    "names", [("prompt", "completion"), ("prompt", "chosen", "rejected"), ("instruction", "output")]
)
def test_python_messages_are_not_trained_as_text(
    names: tuple[str, ...], read: Reader, tmp_path: Path
) -> None:
    values = dict.fromkeys(names, str([GOOD])) | {"instruction": "Q?"}
    values["rejected"] = str([BAD])
    path = tmp_path / "rows.csv"
    path.write_text(",".join(names) + "\n" + ",".join(f'"{values[name]}"' for name in names) + "\n")
    with pytest.raises(DataError, match="looks like JSON but is not") as caught:
        read(path)
    assert "df.to_json('rows.jsonl', orient='records', lines=True)" in caught.value.hint


@pytest.mark.parametrize(("file", "number"), [("04_pandas_index.csv", "1"), ("43_trailing.csv", "3")])
def test_unnamed_column_is_dropped_and_reported(file: str, number: str, read: Reader) -> None:
    found = read(file)
    assert len(found.texts) == 12
    assert f"{file}: column {number} left out: the header has no name there" in found.said


def test_preview_reports_unused_parts_of_row(tiny_model: Path) -> None:
    """The preview says what would help."""
    shown = ft("data", "preview", str(DATA / "49_empty_mid.jsonl"), "--model", str(tiny_model))
    assert "The row has an empty answer, which is not trained." in shown.stderr
    refused = ft("data", "preview", str(DATA / "07_images.jsonl"), "--model", str(tiny_model))
    assert "`images` is not empty, and ft trains text alone. Leave such rows out" in refused.stdout
    unknown = ft("data", "preview", str(DATA / "45_nested.jsonl"), "--model", str(tiny_model))
    assert "The rows are inside `data`: --set 'data.columns={messages: data.messages}'" in unknown.stderr


def test_preview_explains_broken_csv(tiny_model: Path) -> None:
    shown = ft("data", "preview", str(DATA / "43_backslash.csv"), "--model", str(tiny_model))
    assert isinstance(shown.exception, DataError)
    assert ":2: not valid CSV: ',' expected after '\"'" in shown.exception.message
    assert "written twice" in shown.exception.hint


def test_history_column_in_csv_is_json(read: Reader, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('instruction,output,history\nAnd then?,Stop.,"[[""First?"", ""Start.""]]"\n')
    assert read(path).texts == [
        chatml(("user", "First?"), ("assistant", "⟦Start.⟧"), ("user", "And then?"), ("assistant", "⟦Stop.⟧"))
    ]


def test_plain_text_reports_missing_chat_template(read: Reader) -> None:
    """The report says how to apply one."""
    found = read("14_prompt_completion.jsonl")
    columns = {"instruction": "prompt", "output": "completion"}
    assert (
        "no chat template is applied to text (data.columns={instruction: prompt, output: completion}"
        in found.said
    )
    assert "<|im_start|>" not in found.texts[0]
    assert read("14_prompt_completion.jsonl", columns=columns).texts[0].startswith("<|im_start|>user\n")
    assert "no chat template" not in read([{"prompt": [ASKED], "completion": [GOOD]}]).said
