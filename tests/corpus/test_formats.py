"""Formats of rows that people bring: nothing in them is dropped or trained against its meaning."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from engine.config.problems import RecipeError
from engine.errors import DataError
from ft.program import app
from tests.corpus.reading import DATA, Reader, chatml

ASKED = {"role": "user", "content": "Capital of Peru?"}
GOOD, BAD = {"role": "assistant", "content": "Lima."}, {"role": "assistant", "content": "I hate you."}
TOOL = {
    "name": "weather",
    "description": "Weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


@pytest.fixture
def read(tiny_model: Path, tmp_path: Path) -> Reader:
    return Reader(tiny_model, tmp_path)


def ft(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


# A system message beside the turns


def test_a_system_column_beside_messages_comes_first(read: Reader) -> None:
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
def test_every_conversation_takes_a_system_column_and_tools(row: dict[str, Any], read: Reader) -> None:
    found = read([{**row, "system": "Be brief.", "tools": json.dumps([TOOL])}])
    (text,) = found.texts
    assert text.startswith("<|im_start|>system\nBe brief.\n\nYou can call these functions:")
    assert '"name": "weather"' in text
    assert text.endswith("user\nCapital of Peru?<|im_end|>\n<|im_start|>assistant\n⟦Lima.<|im_end|>⟧\n")
    assert "not use" not in found.said


def test_a_system_message_that_is_there_twice_is_shown_once_and_a_difference_is_reported(
    read: Reader,
) -> None:
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
def test_a_system_column_that_says_nothing_adds_nothing(system: Any, read: Reader) -> None:
    found = read([{"system": system, "messages": [ASKED, GOOD], "tools": "null"}])
    assert found.texts == [chatml(("user", ASKED["content"]), ("assistant", "⟦Lima.⟧"))]


def test_a_system_message_under_another_name_is_reported_with_the_setting_that_uses_it(read: Reader) -> None:
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
def test_a_column_that_changes_the_meaning_and_is_not_read_is_reported_once(
    row: dict[str, Any], name: str, read: Reader
) -> None:
    said = read([row] * 3).said
    assert said.count(f"3 of 3 rows have `{name}`, which") == 1


# Answers that somebody called good or bad


@pytest.mark.parametrize("file", ["03_kto_int.jsonl", "70_kto_messages.jsonl"])
def test_answers_labelled_as_bad_are_not_trained(file: str, read: Reader) -> None:
    rows = [json.loads(line) for line in (DATA / file).read_text().splitlines()]
    good = [row for row in rows if row["label"]]
    found = read(file)
    assert f"{file}: kto, because its rows have" in found.said
    assert f"{len(rows) - len(good)} of {len(rows)} rows are labelled false and left out" in found.said
    assert len(found.texts) == len(good)
    assert not any("hate" in text or "alone" in text for text in found.texts)


@pytest.mark.parametrize(
    "labels",
    [(True, False), (1, 0), (1.0, 0.0), ("true", "false"), ("True", "False"), ("1", "0"), ("1.0", "0.0")],
)
@pytest.mark.parametrize(
    "row",
    [
        lambda answer: {"prompt": ASKED["content"], "completion": answer["content"]},
        lambda answer: {"prompt": [ASKED], "completion": [answer]},
        lambda answer: {"messages": [ASKED, answer]},
        lambda answer: {
            "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": answer["content"]}]
        },
        lambda answer: {"instruction": ASKED["content"], "output": answer["content"]},
        lambda answer: {
            "contents": [
                {"role": "user", "parts": [{"text": "?"}]},
                {"role": "model", "parts": [{"text": answer["content"]}]},
            ]
        },
    ],
    ids=["texts", "lists", "messages", "conversations", "alpaca", "contents"],
)
def test_a_label_is_read_in_every_shape_and_spelling(row: Any, labels: tuple[Any, Any], read: Reader) -> None:
    rows = [{**row(answer), "label": label} for answer, label in zip((GOOD, BAD), labels, strict=True)]
    (text,) = read(rows * 6, format="auto").texts[:1]
    assert "⟦Lima.<|im_end|>⟧" in text
    assert not any("hate" in each for each in read(rows * 6).texts)


def test_a_label_is_read_under_the_name_that_llama_factory_gives_it(read: Reader) -> None:
    turns = [{"from": "human", "value": "?"}, {"from": "gpt", "value": "Lima."}]
    rows: list[dict[str, Any]] = [{"conversations": turns}, {"instruction": "?", "output": "Lima."}]
    for row in rows:
        found = read([{**row, "kto_tag": True}, {**row, "kto_tag": False}])
        assert found.texts == [chatml(("user", "?"), ("assistant", "⟦Lima.⟧"))]
        assert "1 of 2 rows are labelled false and left out" in found.said
    with pytest.raises(DataError, match="`kto_tag` is text; it is true"):
        read([{**rows[0], "kto_tag": "maybe"}], format="kto")


def test_rows_that_are_all_labelled_as_bad_say_so(read: Reader) -> None:
    with pytest.raises(DataError, match="no training rows are left") as caught:
        read([{"messages": [ASKED, BAD], "label": 0}] * 3)
    assert "3 of 3 rows are labelled false and left out" in caught.value.message


def test_a_label_in_csv_is_read(read: Reader, tmp_path: Path) -> None:
    path = tmp_path / "kto.csv"
    path.write_text("prompt,completion,label\nCapital of Peru?, Lima.,1\nCapital of Peru?, I hate you.,0\n")
    assert read(path).texts == ["Capital of Peru?⟦ Lima.<|im_end|>⟧"]


def test_a_label_is_about_the_last_answer_alone(read: Reader) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, ASKED, GOOD]
    (text,) = read([{"messages": turns, "label": True}]).texts
    assert text == chatml(
        ("user", "Hi"), ("assistant", "Hello"), ("user", ASKED["content"]), ("assistant", "⟦Lima.⟧")
    )


def test_numbers_of_classes_are_no_judgement_and_that_they_are_not_used_is_reported(read: Reader) -> None:
    rows = [{"prompt": "a", "completion": f" b{number}", "label": number % 5} for number in range(20)]
    found = read(rows)
    assert "prompt_completion, because" in found.said
    assert len(found.texts) == 20
    assert "20 of 20 rows have `label`, which is not used" in found.said
    with pytest.raises(DataError, match="`label` is 2; it is true"):
        read(rows, format="kto")


def test_a_row_without_a_label_among_labelled_ones_is_never_trained_as_a_good_one(read: Reader) -> None:
    rows = [{"messages": [ASKED, GOOD], "label": number % 2} for number in range(30)]
    with pytest.raises(DataError, match="`label` is null; it is true"):
        read([*rows, {"messages": [ASKED, BAD], "label": None}])


def test_the_words_of_other_tools_are_read_where_the_recipe_says_that_rows_are_labelled(read: Reader) -> None:
    rows = [
        {"messages": [ASKED, GOOD], "label": "desirable"},
        {"messages": [ASKED, BAD], "label": "undesirable"},
    ]
    assert len(read(rows, format="kto").texts) == 1


# Pictures, sound and video


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASKED, GOOD]},
        {"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "A cat."}]},
        {"instruction": "?", "output": "A cat."},
        {"prompt": "?", "completion": "A cat."},
        {"prompt": "?", "chosen": "A cat.", "rejected": "A dog."},
        {"messages": [ASKED, GOOD], "label": True},
        {"text": "A cat."},
    ],
    ids=lambda row: "+".join(row),
)
def test_pictures_in_a_column_are_refused(row: dict[str, Any], read: Reader) -> None:
    with pytest.raises(DataError, match="`images` is not empty, and ft trains text alone") as caught:
        read([{**row, "images": ["a.png"]}])
    assert "data.on_error=skip" in caught.value.hint
    columns: dict[str, Any] = {
        "images": None,
        "image": "",
        "videos": [],
        "video": "[]",
        "audios": "null",
        "audio": {},
    }
    assert len(read([{**row, **columns}]).texts) == 1


@pytest.mark.parametrize("several", [False, True])
def test_pictures_in_a_column_of_any_name_are_reported(several: bool, read: Reader, tmp_path: Path) -> None:
    """As `datasets` holds its types Image and Audio."""
    picture: Any = {"bytes": b"\x89PNG", "path": "a.png"}
    row = {"messages": [ASKED, GOOD], "face": [picture] if several else picture, "id": 7}
    pq.write_table(pa.Table.from_pylist([row, row | {"face": None}]), tmp_path / "rows.parquet")
    found = read(tmp_path / "rows.parquet")
    said = "1 of 2 rows has `face`, which holds a picture, a sound or another file and is not used"
    assert said in found.said
    assert "`id`" not in found.said


@pytest.mark.parametrize("column", ["image", "videos", "video", "audios", "audio"])
def test_video_and_sound_are_refused_as_pictures_are(column: str, read: Reader) -> None:
    with pytest.raises(DataError, match=f"`{column}` is not empty"):
        read([{"messages": [ASKED, GOOD], column: "a.bin"}])


def test_pictures_are_refused_once_for_all_rows(read: Reader) -> None:
    with pytest.raises(DataError) as caught:
        read("07_images.jsonl")
    assert caught.value.message.startswith("at least 12 rows cannot be used: `images` is not empty")
    assert "\n" not in caught.value.message


def test_a_placeholder_without_a_picture_is_found(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    turns = [{"role": "user", "content": "<image>What is on it?"}, GOOD]
    path.write_text(json.dumps({"messages": turns, "images": []}) + "\n")
    found = json.loads(ft("data", "check", str(path), "--model", str(tiny_model), "--json").stdout)[
        "findings"
    ]
    assert [(one["kind"], one["severity"]) for one in found] == [("placeholder", "warning")]
    assert "as <image>" in found[0]["message"]


def test_pictures_in_a_turn_are_refused(read: Reader) -> None:
    with pytest.raises(DataError, match=r"`messages\[0\].images` is not empty"):
        read([{"messages": [{**ASKED, "images": ["a.png"]}, GOOD]}])
    with pytest.raises(DataError, match=r"`messages\[0\].content` has a part that is not text: image_url"):
        read([{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "a"}]}, GOOD]}])


# Flags on a turn


@pytest.mark.parametrize(
    "flag", ["train", "training", "loss", "loss_mask", "weight", "loss_weight", "loss_scale"]
)
@pytest.mark.parametrize("no", [False, 0, 0.0])
def test_an_answer_that_another_tool_would_not_train_is_context(flag: str, no: Any, read: Reader) -> None:
    again = {"role": "user", "content": "Really?"}
    yes = type(no)(1)
    found = read([{"messages": [ASKED, {**BAD, flag: no}, again, {**GOOD, flag: yes}]}])
    want = (
        ("user", ASKED["content"]),
        ("assistant", "I hate you."),
        ("user", "Really?"),
        ("assistant", "⟦Lima.⟧"),
    )
    assert found.texts == [chatml(*want)]
    turns = [
        {"from": "human", "value": ASKED["content"]},
        {"from": "gpt", "value": "I hate you.", flag: no},
        {"from": "human", "value": "Really?"},
        {"from": "gpt", "value": "Lima.", flag: None},
    ]
    assert read([{"conversations": turns}]).texts == [chatml(*want)]


def test_the_wrong_answers_of_an_axolotl_file_are_not_trained(read: Reader) -> None:
    for text in read("08_train_flag.jsonl").texts:
        assert "⟦Wrong" not in text
        assert "⟦Sorry, right" in text


def test_a_fraction_of_a_loss_is_refused_with_the_reason(read: Reader) -> None:
    with pytest.raises(
        DataError, match=r"`messages\[1\]\.loss_weight` is 0\.5.*cannot train a turn by a fraction"
    ):
        read([{"messages": [ASKED, {**GOOD, "loss_weight": 0.5}]}])
    detail = [{"begin_offset": 0, "end_offset": 2, "train": False}]
    with pytest.raises(DataError, match=r"`messages\[1\]\.train_detail` chooses characters of the answer"):
        read([{"messages": [ASKED, {**GOOD, "train_detail": detail}]}])


def test_a_key_that_looks_like_a_flag_and_is_not_known_is_named_once(read: Reader) -> None:
    rows = [{"messages": [ASKED, {**GOOD, "is_masked": True, "id": 7, "date": "2026"}]}] * 5
    said = read(rows).said
    assert said.count("5 of 5 rows have `is_masked` on turns, which is not used") == 1
    assert "`id`" not in said


def test_a_question_that_is_to_be_trained_is_reported(read: Reader) -> None:
    said = read([{"messages": [{**ASKED, "train": True}, {**GOOD, "train": True}]}]).said
    assert "a turn of user that is to be trained: only the assistant's turns are" in said


def test_an_empty_answer_in_the_middle_is_context_and_reported(read: Reader) -> None:
    found = read("49_empty_mid.jsonl")
    assert found.texts[0] == chatml(
        ("user", "Q apple?"), ("assistant", ""), ("user", "Hello?"), ("assistant", "⟦A apple.⟧")
    )
    assert "12 of 12 rows have an empty answer, which is not trained" in found.said


def test_empty_answers_in_a_history_are_context_too(read: Reader) -> None:
    row = {"instruction": "And?", "output": "Yes.", "history": [["Q?", ""]]}
    want = chatml(("user", "Q?"), ("assistant", ""), ("user", "And?"), ("assistant", "⟦Yes.⟧"))
    assert read([row]).texts == [want]
    answers = {"chosen": "Yes.", "rejected": "No."}
    compared = {"instruction": "And?", "input": "so", "history": [["Q?", "A."]], **answers}
    found = read([compared])
    assert found.texts[0].endswith(
        "<|im_start|>user\nAnd?\n\nso<|im_end|>\n<|im_start|>assistant\n⟦Yes.<|im_end|>⟧\n"
    )
    assert "<|im_start|>assistant\nA.<|im_end|>" in found.texts[0], "what both answers answer is context"
    assert "not use" not in found.said


# LLaMA-Factory's present format


def test_parts_with_a_loss_weight_are_read(read: Reader) -> None:
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


def test_thoughts_before_a_written_call_are_thoughts(read: Reader) -> None:
    (text, *_) = read("60_fc_think.jsonl").texts
    call = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    assert f"⟦<think>\nlook up\n</think>\n\n{call}<|im_end|>⟧" in text


# Names of roles


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
def test_names_of_roles_that_other_tools_use_are_known(file: str, want: str, read: Reader) -> None:
    assert want in read(file).texts[0]


@pytest.mark.parametrize("name", ["ipython", "tool_response", "function_response", "Tool", "FUNCTION-RESULT"])
def test_results_of_tools_are_known_by_their_names(name: str, read: Reader) -> None:
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}],
    }
    (text,) = read([{"messages": [ASKED, call, {"role": name, "content": "7"}, GOOD]}]).texts
    assert "<|im_start|>tool\n7<|im_end|>" in text


@pytest.mark.parametrize("shape", ["messages", "conversations", "in CSV", "lists"])
def test_a_recipe_says_what_other_names_of_roles_mean(shape: str, read: Reader, tmp_path: Path) -> None:
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
def test_a_role_that_is_not_known_is_refused_with_the_setting_for_all_of_a_row(
    names: tuple[str, ...], setting: str, read: Reader
) -> None:
    with pytest.raises(DataError, match="which is not a known role") as caught:
        read([{"messages": [{"role": name, "content": "Hi"} for name in names]}])
    assert f"--set 'data.roles={setting}'" in caught.value.hint


def test_names_of_roles_are_set_on_the_command_line(read: Reader, tmp_path: Path, tiny_model: Path) -> None:
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


# Exports of other programs


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
def test_exports_of_other_programs_are_read(file: str, want: str, read: Reader) -> None:
    assert want in read(file).texts[0]


@pytest.mark.parametrize("column", ["messages", "prompt", "chosen"])
def test_lists_by_key_are_messages_in_every_column(column: str, read: Reader) -> None:
    def lists(*turns: dict[str, str]) -> dict[str, list[str]]:
        return {key: [turn[key] for turn in turns] for key in ("role", "content")}

    rows: dict[str, dict[str, Any]] = {
        "messages": {"messages": lists(ASKED, GOOD)},
        "prompt": {"prompt": lists(ASKED), "completion": lists(GOOD)},
        "chosen": {"chosen": lists(ASKED, GOOD), "rejected": lists(ASKED, BAD)},
    }
    assert read([rows[column]]).texts == [chatml(("user", ASKED["content"]), ("assistant", "⟦Lima.⟧"))]


def test_a_turn_may_mix_two_spellings(read: Reader) -> None:
    turns = [{"from": "user", "content": "Hi"}, {"role": "assistant", "value": "Hello"}]
    assert read([{"messages": turns}]).texts == [chatml(("user", "Hi"), ("assistant", "⟦Hello⟧"))]


def test_calls_and_results_in_parts_are_calls_and_results(read: Reader) -> None:
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


def test_calls_and_results_of_gemini_are_calls_and_results(read: Reader) -> None:
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


def test_calls_in_turns_of_their_own_are_one_answer(read: Reader) -> None:
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
def test_parts_in_an_order_that_no_template_shows_are_refused(
    parts: list[dict[str, Any]], why: str, read: Reader
) -> None:
    with pytest.raises(DataError, match=why):
        read([{"messages": [ASKED, {"role": "assistant", "content": parts}]}])


def test_what_a_turn_says_twice_is_reported(read: Reader) -> None:
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
def test_tools_that_are_null_in_any_spelling_are_none(empty: Any, read: Reader) -> None:
    found = read([{"messages": [ASKED, {**GOOD, "tool_calls": empty, "reasoning": empty}], "tools": empty}])
    assert found.texts == [chatml(("user", ASKED["content"]), ("assistant", "⟦Lima.⟧"))]


# What is refused says what helps


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
def test_a_refusal_says_the_one_setting_that_reads_the_rows(
    rows: Any, setting: str, read: Reader, tmp_path: Path, tiny_model: Path
) -> None:
    with pytest.raises(DataError) as caught:
        read(rows)
    assert f"--set '{setting}'" in caught.value.hint
    path = DATA / rows if isinstance(rows, str) else tmp_path / "rows.jsonl"
    shown = ft("data", "preview", str(path), "--model", str(tiny_model), "--set", setting)
    assert shown.exit_code == 0, shown.output
    assert "<|im_end|>]" in shown.stdout


def test_calls_on_a_template_that_shows_none_name_the_template_that_does_in_one_line(read: Reader) -> None:
    with pytest.raises(DataError) as caught:
        read("24_parallel.jsonl", template="auto")
    assert caught.value.message.startswith(
        "at least 12 rows cannot be used: the chat template does not show calls"
    )
    assert "\n" not in caught.value.message
    assert caught.value.hint == "Use a template that does: --set model.chat_template=chatml"
    assert len(read("24_parallel.jsonl", template="chatml").texts) == 12


@pytest.mark.parametrize(
    "file", ["24_parallel.jsonl", "25_agent.jsonl", "60_fc_think.jsonl", "09_roles_toolresp.jsonl"]
)
def test_calls_are_trained_on_the_starter_and_what_shows_them_is_said(
    file: str, starter_model: Path, tmp_path: Path
) -> None:
    read = Reader(starter_model, tmp_path)
    found = read(file, template="auto")
    assert found.texts == read(file, template="chatml").texts
    assert (
        "12 of 12 rows have tools, which the model's chat template does not show: they are shown by ft's chatml"
        in (found.said)
    )
    assert "not used" not in found.said


def test_rows_without_tools_beside_them_are_shown_by_the_starters_own_template(
    starter_model: Path, tmp_path: Path
) -> None:
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


def test_a_list_that_python_wrote_into_csv_is_told_from_json(read: Reader) -> None:
    with pytest.raises(DataError, match="`messages` looks like JSON but is not") as caught:
        read("12_repr.csv")
    assert "df.to_json('rows.jsonl', orient='records', lines=True)" in caught.value.hint


@pytest.mark.parametrize(
    "names", [("prompt", "completion"), ("prompt", "chosen", "rejected"), ("instruction", "output")]
)
def test_messages_that_python_wrote_are_not_trained_as_text(
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
def test_a_column_without_a_name_is_left_out_and_reported(file: str, number: str, read: Reader) -> None:
    found = read(file)
    assert len(found.texts) == 12
    assert f"{file}: column {number} left out: the header has no name there" in found.said


def test_preview_says_what_of_a_row_is_not_used_and_what_would_help(tiny_model: Path) -> None:
    shown = ft("data", "preview", str(DATA / "49_empty_mid.jsonl"), "--model", str(tiny_model))
    assert "The row has an empty answer, which is not trained." in shown.stderr
    refused = ft("data", "preview", str(DATA / "07_images.jsonl"), "--model", str(tiny_model))
    assert "`images` is not empty, and ft trains text alone. Leave such rows out" in refused.stdout
    unknown = ft("data", "preview", str(DATA / "45_nested.jsonl"), "--model", str(tiny_model))
    assert "The rows are inside `data`: --set 'data.columns={messages: data.messages}'" in unknown.stderr


def test_preview_of_a_broken_csv_says_what_is_wrong(tiny_model: Path) -> None:
    shown = ft("data", "preview", str(DATA / "43_backslash.csv"), "--model", str(tiny_model))
    assert isinstance(shown.exception, DataError)
    assert ":2: not valid CSV: ',' expected after '\"'" in shown.exception.message
    assert "written twice" in shown.exception.hint


def test_history_in_csv_is_read_as_json(read: Reader, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('instruction,output,history\nAnd then?,Stop.,"[[""First?"", ""Start.""]]"\n')
    assert read(path).texts == [
        chatml(("user", "First?"), ("assistant", "⟦Start.⟧"), ("user", "And then?"), ("assistant", "⟦Stop.⟧"))
    ]


def test_text_that_is_trained_without_a_template_says_so_and_how_to_apply_it(read: Reader) -> None:
    found = read("14_prompt_completion.jsonl")
    columns = {"instruction": "prompt", "output": "completion"}
    assert (
        "no chat template is applied to text (data.columns={instruction: prompt, output: completion}"
        in found.said
    )
    assert "<|im_start|>" not in found.texts[0]
    assert read("14_prompt_completion.jsonl", columns=columns).texts[0].startswith("<|im_start|>user\n")
    assert "no chat template" not in read([{"prompt": [ASKED], "completion": [GOOD]}]).said
