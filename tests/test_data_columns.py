"""Row formats are detected and reported with their evidence; columns of any name are mapped, or written by Jinja."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.config.problems import RecipeError
from engine.config.schema import TrainConfig
from engine.data.formats.choice import FormatChoice
from engine.data.formats.detection import detect
from engine.data.prepare import prepare
from engine.data.tokenization.tokenizer import Tokenizer
from engine.errors import DataError

CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
QUESTION = {"question": "Capital of Peru?", "answer": "Lima.", "note": "Be brief.", "text": "left alone"}


def rows(*bodies: Any) -> list[tuple[str, Any]]:
    return [(f"a.jsonl:{line}", body) for line, body in enumerate(bodies, start=1)]


def texts(folder: Path, model: Path, bodies: list[Any], **data: Any) -> list[str]:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(body) + "\n" for body in bodies))
    config = {"model": {"base": "starter"}, "data": {"train": str(path), "validation": 0.0, **data}}
    dataset = prepare(TrainConfig.model_validate(config), model)
    tokenizer = Tokenizer.load(model)
    return [tokenizer.decode(example.input_ids.tolist(), False) for example in dataset.train]


def test_detected_format_names_evidence_and_odd_rows() -> None:
    found = detect(rows(*[CHAT] * 16, {"x": 1}, *[CHAT] * 62, {"text": "a"}), FormatChoice(), "a.jsonl")
    assert found.row_format.name == "chat"
    assert found.evidence == (
        "a.jsonl: chat, because 78 of 80 rows have `messages`; 2 differ: a.jsonl:17, a.jsonl:80"
    )
    assert found.certainty == 78 / 80
    assert found.odd == ("a.jsonl:17", "a.jsonl:80")


def test_format_of_like_rows_is_certain() -> None:
    found = detect(rows(*[CHAT] * 1200), FormatChoice(), "a.jsonl")
    assert found.evidence == "a.jsonl: chat, because its rows have `messages` (the first 1,000 do)"
    assert (found.certainty, found.odd) == (1.0, ())


def test_only_first_odd_rows_are_named() -> None:
    found = detect(rows(*[CHAT] * 93, *[{"text": "a"}] * 7), FormatChoice(), "a.jsonl")
    assert found.evidence.endswith(
        "7 differ: a.jsonl:94, a.jsonl:95, a.jsonl:96, a.jsonl:97, a.jsonl:98 and 2 more"
    )


def test_odd_rows_stop_run_by_place(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl:17: columns `text`, but chat needs `messages`"):
        texts(tmp_path, tiny_model, [*[CHAT] * 16, {"text": "a"}, *[CHAT] * 12])


def test_other_fitting_format_is_named() -> None:
    found = detect(rows(*[{**CHAT, "text": "rendered"}] * 3), FormatChoice(), "a.jsonl")
    assert found.evidence.endswith("`messages`; data.format: completion would take `text` instead")


def test_label_column_alone_is_no_kto(tmp_path: Path, tiny_model: Path) -> None:
    """The label has to judge the answer."""
    row = {"prompt": "A bird in", "completion": " the hand", "label": "proverb"}
    assert detect(rows(row), FormatChoice(), "a.jsonl").row_format.name == "prompt_completion"
    judged = [{**row, "label": True}, {**row, "completion": " your ear", "label": False}]
    assert detect(rows(*judged), FormatChoice(), "a.jsonl").row_format.name == "kto"
    assert texts(tmp_path, tiny_model, judged) == ["A bird in the hand<|im_end|>"]
    numbers = [{**each, "label": int(each["label"])} for each in judged]
    assert texts(tmp_path, tiny_model, numbers, format="kto") == ["A bird in the hand<|im_end|>"]


def test_text_beginning_with_bracket_is_text(tmp_path: Path, tiny_model: Path) -> None:
    rows = [
        {"prompt": "[INST] Count. [/INST]", "completion": "[1, 2]"},
        {"prompt": '[{"name": "tea"}]', "completion": "[{no JSON"},
    ]
    shown = ["[INST] Count. [/INST][1, 2]<|im_end|>", '[{"name": "tea"}][{no JSON<|im_end|>']
    assert texts(tmp_path, tiny_model, rows) == shown
    compared = [{"prompt": row["prompt"], "chosen": row["completion"], "rejected": "[]"} for row in rows]
    assert texts(tmp_path, tiny_model, compared) == shown


def test_messages_column_may_be_json_text(tmp_path: Path, tiny_model: Path) -> None:
    """As CSV has them."""
    asked = json.dumps([{"role": "user", "content": "a"}])
    answers = {name: json.dumps([{"role": "assistant", "content": name}]) for name in ("chosen", "rejected")}
    want = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nchosen<|im_end|>\n"
    assert texts(tmp_path, tiny_model, [{"prompt": asked, **answers}]) == [want]
    assert texts(tmp_path, tiny_model, [{"prompt": asked, "completion": answers["chosen"]}]) == [want]


def test_bad_answers_alone_leave_no_rows(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(DataError, match="no training rows are left"):
        texts(tmp_path, tiny_model, [{"prompt": "a", "completion": "b", "label": False}] * 2)


def test_columns_are_mapped_to_format(tmp_path: Path, tiny_model: Path) -> None:
    alpaca = {"instruction": "question", "output": "answer", "system": "note"}
    (text,) = texts(tmp_path, tiny_model, [QUESTION], columns=alpaca)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nCapital of Peru?<|im_end|>\n"
        "<|im_start|>assistant\nLima.<|im_end|>\n"
    )
    plain = {"prompt": "question", "completion": "answer"}
    assert texts(tmp_path, tiny_model, [QUESTION], columns=plain) == ["Capital of Peru?Lima.<|im_end|>"]
    with_system = {**plain, "system": "note"}
    assert texts(tmp_path, tiny_model, [QUESTION], columns=with_system) == [text]


def test_source_maps_its_own_columns(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "b.jsonl").write_text(json.dumps({"q": "2+2?", "a": "4"}) + "\n")
    (tmp_path / "a.jsonl").write_text(json.dumps(QUESTION) + "\n")
    own = {"path": str(tmp_path / "b.jsonl"), "columns": {"prompt": "q", "completion": "a"}}
    data = {"train": [own, str(tmp_path / "a.jsonl")], "template": "{{ answer }}", "validation": 0.0}
    dataset = prepare(TrainConfig.model_validate({"model": {"base": "starter"}, "data": data}), tiny_model)
    tokenizer = Tokenizer.load(tiny_model)
    shown = [tokenizer.decode(example.input_ids.tolist()) for example in dataset.train]
    assert shown == ["2+2?4", "Lima."]
    assert (
        "b.jsonl: prompt_completion, because its rows have `prompt`, `completion`; as data.columns says"
        in (dataset.notes[0])
    )


def test_unknown_column_error_lists_existing_columns(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(
        DataError, match=r"no row has a column `qestion`, which data.columns names as `prompt`"
    ) as caught:
        texts(tmp_path, tiny_model, [QUESTION], columns={"prompt": "qestion", "completion": "answer"})
    assert "`question`, `answer`" in caught.value.hint


def test_row_without_mapped_column_is_reported(tmp_path: Path, tiny_model: Path) -> None:
    columns = {"prompt": "question", "completion": "answer"}
    with pytest.raises(
        DataError, match=r"a.jsonl:21: columns `question`, but prompt_completion needs `answer`"
    ):
        texts(tmp_path, tiny_model, [*[QUESTION] * 20, {"question": "a"}], columns=columns)


def test_jinja_template_text_is_trained_whole(tmp_path: Path, tiny_model: Path) -> None:
    template = "{{ question }}\n\n{{ answer | upper }}{% if row['no such'] is defined %}!{% endif %}"
    assert texts(tmp_path, tiny_model, [QUESTION], template=template) == [
        "Capital of Peru?\n\nLIMA.<|im_end|>"
    ]


def test_jinja_template_writes_columns_of_format(tmp_path: Path, tiny_model: Path) -> None:
    template = {"instruction": "Q: {{ question }}", "output": "{{ answer }}"}
    (text,) = texts(tmp_path, tiny_model, [QUESTION], template=template)
    assert text == "<|im_start|>user\nQ: Capital of Peru?<|im_end|>\n<|im_start|>assistant\nLima.<|im_end|>\n"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ qestion }}", "a.jsonl:1: data.template cannot be rendered for `text`: 'qestion' is undefined"),
        ("{{ question + 1 }}", "a.jsonl:1: data.template cannot be rendered for `text`"),
        ("{{ ''.__class__.__mro__ }}", "access to attribute '__class__' of 'str' object is unsafe"),
        ("{{ question.__init__.__globals__ }}", "is unsafe"),
    ],
)
def test_failing_jinja_template_names_row(template: str, said: str, tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(DataError) as caught:
        texts(tmp_path, tiny_model, [QUESTION], template=template)
    assert said in caught.value.message


def test_invalid_jinja_template_names_recipe_line(tmp_path: Path) -> None:
    from engine.config.load import load_text

    recipe = (
        "model: {base: starter}\ndata:\n  train:\n    - path: a.jsonl\n      template: '{% if %}'\n    - b.jsonl\n"
        "  template: {text: '{{ a }'}\n"
    )
    with pytest.raises(RecipeError) as caught:
        load_text(recipe, tmp_path / "train.yml")
    assert "train.yml:5:17: data.train[0].template: no Jinja template (line 1)" in caught.value.message
    assert "train.yml:7:20: data.template.text: no Jinja template (line 1)" in caught.value.message
    both = "model: {base: starter}\ndata: {train: a.jsonl, template: x, columns: {text: y}}\n"
    with pytest.raises(RecipeError, match=r"data\.columns: template names the columns itself"):
        load_text(both, tmp_path / "train.yml")
