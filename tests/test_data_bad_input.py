"""Every kind of bad data gets one clear message: where, what, and what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from engine.config.schema import TrainConfig
from engine.data.prepare import prepare
from engine.errors import ConfigError, DataError, ModelError

GOOD = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}

CALLED = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def turns(*pairs: tuple[Any, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in pairs], **more}


def recipe(train: Any, **data: Any) -> TrainConfig:
    length = data.pop("max_seq_length", 2048)
    model = {"base": "starter", "max_seq_length": length, "chat_template": data.pop("chat_template", "auto")}
    return TrainConfig.model_validate({"model": model, "data": {"train": train, **data}})


BAD: dict[str, tuple[str, bytes, list[str]]] = {
    # name: (file, bytes, what message and hint must say)
    "an empty file": ("a.jsonl", b"", ["a.jsonl: the file is empty"]),
    "blank lines only": ("a.jsonl", b"\n \n", ["a.jsonl: there are no rows"]),
    "an empty array": ("a.json", b"[]", ["a.json: there are no rows"]),
    "a CSV with a header only": ("a.csv", b"text\n", ["a.csv: there are no rows"]),
    "an unknown ending": ("a.docx", b"x", ["cannot read files ending in .docx", ".jsonl"]),
    "no ending": ("rows", b"x", ["cannot read files without an ending"]),
    "broken JSON": ("a.json", b'[\n  {"text": "a"},\n  {"text" "b"}\n]', ["a.json:3:11: not valid JSON"]),
    "JSON cut off": ("a.json", b'[{"text": "a"}', ["a.json:1:15: not valid JSON"]),
    "a broken line": ("a.jsonl", lines(GOOD) + b'{"messages": [}\n', ["a.jsonl:2:15: not valid JSON"]),
    "a line that is a list": ("a.jsonl", lines(GOOD, [1]), ["a.jsonl:2: a list where a row is expected"]),
    "an array of texts": ("a.json", b'["a", "b"]', ["a.json row 1: text where a row is expected"]),
    "a JSON number": ("a.json", b"3", ["a.json: holds a number, not rows"]),
    "one object that is no table": ("a.json", b'{"text": "a"}', ["a.json: the object holds no array"]),
    "an object of two tables": ("a.json", b'{"a": [{}], "b": [{}]}', ["several arrays (a, b)"]),
    "deep nesting": ("a.json", b"[" * 200_000, ["a.json: the JSON is nested too deeply"]),
    "Latin-1 in JSON": (
        "a.json",
        '[\n{"text": "é"}]'.encode("latin1"),
        ["a.json:2: byte 12 is not UTF-8", "iconv"],
    ),
    "Latin-1 in JSONL": (
        "a.jsonl",
        b'{"text": "a"}\n{"text": "\xe9"}\n',
        ["a.jsonl:2: byte 24 is not UTF-8"],
    ),
    "Latin-1 in CSV": ("a.csv", b"text\nok\n\xe9\n", ["a.csv:3: byte 8 is not UTF-8"]),
    "UTF-16": ("a.jsonl", '{"text": "a"}'.encode("utf-16"), ["UTF-16", "Save it as UTF-8"]),
    "binary junk": ("a.jsonl", b"\x89PNG\r\n\x1a\n\x00\x00\xff\x00", ["a.jsonl:1: byte 0 is not"]),
    "binary junk with zeros": ("a.csv", b"\x7fELF\x00\xff\x00", ["the file is binary"]),
    "a Parquet file that is none": ("a.parquet", b"PAR0 nothing", ["a.parquet: not a Parquet file"]),
    "a CSV row too short": (
        "a.csv",
        b"prompt,completion\na,b\nc\n",
        ["a.csv:3: 1 fields where the header names 2"],
    ),
    "a CSV row too long": ("a.csv", b"text\na,b\n", ["a.csv:2: 2 fields where the header names 1"]),
    "a CSV quote left open": ("a.csv", b'text\n"a\n', ["a.csv:2: not valid CSV", "quote"]),
    "a CSV column named twice": ("a.csv", b"text,text\na,b\n", ["a.csv:1", "repeated column name"]),
    "unknown columns": (
        "a.jsonl",
        lines({"q": "a", "a": "b"}),
        ["columns `q`, `a`", "alpaca: instruction, output"],
    ),
    "a column misspelt": (
        "a.jsonl",
        lines({"Instruction": "a", "outputs": "b"}),
        ["Nearest is alpaca", "`Instruction` should be `instruction`", "`outputs` should be `output`"],
    ),
    "a column missing": ("a.jsonl", lines({"prompt": "a"}), ["prompt_completion: `completion` is missing"]),
    "mixed forms": (
        "a.jsonl",
        lines(GOOD, GOOD, {"text": "a"}),
        ["chat (first at", "a.jsonl:1)", "completion (first at", "a.jsonl:3)", "Make a file of each format"],
    ),
    "one odd row out": ("a.jsonl", lines(GOOD, {"x": 1}), ["a.jsonl:2: columns `x`", "other rows are chat"]),
    "content null": (
        "a.jsonl",
        lines(turns(("user", "a"), ("assistant", None))),
        ["messages[1].content` is null"],
    ),
    "content a number": (
        "a.jsonl",
        lines(turns(("user", 3), ("assistant", "b"))),
        ["messages[0].content` is 3"],
    ),
    "an unknown role": (
        "a.jsonl",
        lines(turns(("user", "a"), ("narrator", "b"))),
        [
            "`messages[1].role` is 'narrator', which is not a known role",
            "--set 'data.roles={narrator: assistant}'",
        ],
    ),
    "no assistant turn": ("a.jsonl", lines(turns(("user", "a"))), ["there is no assistant turn"]),
    "an empty answer": ("a.jsonl", lines(turns(("user", "a"), ("assistant", " \n"))), ["answer is empty"]),
    "no messages": (
        "a.jsonl",
        lines({"messages": []}),
        ["a.jsonl:1: nothing to train: there are no messages"],
    ),
    "messages as text": ("a.jsonl", lines({"messages": "hello"}), ["`messages` is text where a list"]),
    "a message as text": (
        "a.jsonl",
        lines({"messages": ["hello"]}),
        ["`messages[0]` is text where a message"],
    ),
    "a message without content": ("a.jsonl", lines({"messages": [{"role": "user"}]}), ["has no `content`"]),
    "a message without role": (
        "a.jsonl",
        lines({"messages": [{"content": "a"}]}),
        ["neither `role` nor `from`"],
    ),
    "a picture": (
        "a.jsonl",
        lines(turns(("user", [{"type": "image_url"}]), ("assistant", "b"))),
        ["a part that is not text: image_url"],
    ),
    "a call without a name": (
        "a.jsonl",
        lines({"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]}),
        ["`messages[0].tool_calls[0].name` is null where text is expected"],
    ),
    "calls that are no list": (
        "a.jsonl",
        lines({"messages": [{"role": "assistant", "content": None, "tool_calls": {"a": 1}}]}),
        ["tool_calls` is an object where a list of calls is expected"],
    ),
    "calls that the template does not show": (
        "a.jsonl",
        lines(turns(("user", "a"), ("assistant", "b")), {"messages": [CALLED]}),
        ["a.jsonl:2: the chat template does not show calls of tools"],
    ),
    "a function call that is no JSON": (
        "a.jsonl",
        lines(
            {"conversations": [{"from": "human", "value": "a"}, {"from": "function_call", "value": "f(x)"}]}
        ),
        ["`conversations[1].value` is text where a call is expected"],
    ),
    "half a surrogate pair in a call": (
        "a.jsonl",
        b'{"conversations": [{"from": "function_call", "value": {"name": "f", "arguments": {"a": "\\ud800"}}}]}\n',
        ["`conversations[0].value.arguments` has half of a surrogate pair"],
    ),
    "tools that are no list": (
        "a.jsonl",
        lines(turns(("user", "a"), ("assistant", "b"), tools="search")),
        ["`tools` is text where a list of functions"],
    ),
    "a tool without a name": (
        "a.jsonl",
        lines(turns(("user", "a"), ("assistant", "b"), tools=[{"type": "function", "function": {}}])),
        ["`tools[0].name` is null"],
    ),
    "a weight between": (
        "a.jsonl",
        lines({"messages": [{"role": "assistant", "content": "a", "weight": 0.5}]}),
        ["`messages[0].weight` is 0.5; it is 0 (not trained) or 1"],
    ),
    "weights of 0 alone": (
        "a.jsonl",
        lines({"messages": [{"role": "assistant", "content": "a", "weight": 0}]}),
        ["every answer is marked as not to be trained"],
    ),
    "preferences that begin differently": (
        "a.jsonl",
        lines(
            {name: turns(("user", name), ("assistant", "b"))["messages"] for name in ("chosen", "rejected")}
        ),
        ["do not begin alike, and there is no `prompt`"],
    ),
    "preferences that are the same": (
        "a.jsonl",
        lines(
            {name: turns(("user", "a"), ("assistant", "b"))["messages"] for name in ("chosen", "rejected")}
        ),
        ["`chosen` has nothing that `rejected` does not have"],
    ),
    "a rejected answer that cannot be read": (
        "a.jsonl",
        lines({"prompt": "a", "chosen": "b", "rejected": 3}),
        ["`rejected` is 3 where text or a list of messages is expected"],
    ),
    "a label that is neither": (
        "a.jsonl",
        lines(
            *[{"prompt": "a", "completion": "b", "label": True}] * 12,
            {"prompt": "", "completion": "", "label": 7},
        ),
        ["a.jsonl:13: `label` is 7; it is true (a good answer) or false"],
    ),
    "alpaca without answer": ("a.jsonl", lines({"instruction": "a", "output": ""}), ["answer is empty"]),
    "alpaca with a number": (
        "a.jsonl",
        lines({"instruction": 1, "output": "b"}),
        ["`instruction` is 1 where text"],
    ),
    "an empty text": ("a.jsonl", lines({"text": ""}), ["a.jsonl:1: nothing to train: the text is empty"]),
    "half a surrogate pair": ("a.jsonl", b'{"text": "a\\ud800"}\n', ["`text` has half of a surrogate pair"]),
    "a prompt that is a number": (
        "a.jsonl",
        lines({"prompt": 3, "completion": "b"}),
        ["`prompt` is 3 where text or a list of messages is expected"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_row_is_reported_with_its_place(name: str, tmp_path: Path, tiny_model: Path) -> None:
    file, content, expected = BAD[name]
    path = tmp_path / file
    path.write_bytes(content)

    with pytest.raises(DataError) as caught:
        prepare(recipe(str(path)), tiny_model)

    said = f"{caught.value.message}\n{caught.value.hint}"
    assert all(part in said for part in expected), said
    assert file in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 3


def test_missing_file_suggests_nearest_name(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(lines(GOOD))
    with pytest.raises(DataError, match="no such file") as caught:
        prepare(recipe(str(tmp_path / "trian.jsonl")), tiny_model)
    assert caught.value.hint == "Did you mean train.jsonl?"


def test_missing_folder_is_named(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepare(recipe(str(tmp_path / "nowhere" / "a.jsonl")), tiny_model)
    assert "does not exist either" in caught.value.hint


def test_folder_without_rows_hints_at_formats(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "notes.docx").write_bytes(b"x")
    with pytest.raises(DataError, match="no files of rows in this folder") as caught:
        prepare(recipe(str(tmp_path)), tiny_model)
    assert ".jsonl" in caught.value.hint


def test_format_change_after_thousand_rows_is_found(tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(*[GOOD] * 1200, {"text": "late"}))
    with pytest.raises(DataError, match=r"a.jsonl:1201: columns `text`, but chat needs `messages`"):
        prepare(recipe(str(path)), tiny_model)


def test_several_bad_rows_are_reported_together(tmp_path: Path, tiny_model: Path) -> None:
    """Of thousands only some are named."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(GOOD, *[turns(("user", "a"))] * 3, GOOD))
    with pytest.raises(DataError) as caught:
        prepare(recipe(str(path)), tiny_model)
    why = "nothing to train: there is no assistant turn"
    assert caught.value.message == f"3 rows cannot be used: {why} ({path}:2, {path}:3, {path}:4)"
    assert caught.value.hint == "Fix these rows, or leave them out: --set data.on_error=skip"

    path.write_bytes(lines(*[turns(("user", "a"))] * 3000))
    with pytest.raises(DataError) as caught:
        prepare(recipe(str(path)), tiny_model)
    some = f"({path}:1, {path}:2, {path}:3 and 997 more)"
    assert caught.value.message == f"at least 1,000 rows cannot be used: {why} {some}"

    path.write_bytes(lines(*[turns((f"{number}", "a")) for number in range(3000)]))
    with pytest.raises(DataError) as caught:
        prepare(recipe(str(path)), tiny_model)
    assert caught.value.message.count("\n") == 10


def test_rows_must_fit_format_of_recipe(tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(GOOD))
    with pytest.raises(DataError, match=r"alpaca needs `instruction`, `output` \(this row is chat\)"):
        prepare(recipe(str(path), format="alpaca"), tiny_model)


def test_rows_too_long_name_length_needed(tmp_path: Path, tiny_model: Path) -> None:
    """Rows whose prompts leave no room for an answer."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(GOOD, turns(("user", "word " * 50), ("assistant", "b"))))
    with pytest.raises(DataError, match="1 of 2 rows have nothing left to train") as caught:
        prepare(recipe(str(path), max_seq_length=32), tiny_model)
    needed = int(caught.value.hint.split("max_seq_length to ")[1].split()[0])
    assert prepare(recipe(str(path), max_seq_length=needed), tiny_model)
    with pytest.raises(DataError):
        prepare(recipe(str(path), max_seq_length=needed - 1), tiny_model)


def test_chat_template_refusal_names_row(tmp_path: Path, tiny_model: Path) -> None:
    template = tmp_path / "t.jinja"
    template.write_text("{{ raise_exception('no system role, please') }}")
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(GOOD))
    with pytest.raises(DataError, match=r"a.jsonl:1: the chat template refuses it: no system role, please"):
        prepare(recipe(str(path), chat_template=str(template)), tiny_model)


def test_template_rewriting_turns_gives_several_examples(tmp_path: Path, tiny_model: Path) -> None:
    template = tmp_path / "t.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if loop.last or m.role == 'user' %}{{ m.content }}{% else %}(earlier){% endif %}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    path = tmp_path / "a.jsonl"
    two = turns(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    path.write_bytes(lines(two, GOOD))
    dataset = prepare(recipe(str(path), chat_template=str(template), validation=0.0), tiny_model)
    shown = ["user\na\nassistant\nb\n", "user\na\nassistant\n(earlier)\nuser\nc\nassistant\nd\n"]
    assert decoded(dataset, tiny_model) == [*shown, "user\nHi\nassistant\nHello\n"]
    assert "1 of 2 rows are split into 2 examples" in " ".join(dataset.notes)
    last = recipe(str(path), chat_template=str(template), validation=0.0, train_on="last")
    assert decoded(prepare(last, tiny_model), tiny_model)[0] == shown[1]


MODELS: dict[str, tuple[Callable[[Path], None], dict[str, Any], type[Exception], str]] = {
    "no tokenizer": (lambda d: (d / "tokenizer.json").unlink(), {}, ModelError, "the model has no tokenizer"),
    "a broken tokenizer": (
        lambda d: (d / "tokenizer.json").write_text("{") and None,
        {},
        ModelError,
        "not a usable tokenizer",
    ),
    "broken settings": (
        lambda d: (d / "tokenizer_config.json").write_text("{") and None,
        {},
        ModelError,
        r"tokenizer_config.json:1:2 is not JSON",
    ),
    "no chat template": (
        lambda d: (d / "chat_template.jinja").unlink(),
        {},
        ModelError,
        "no chat template",
    ),
    "a broken template": (
        lambda d: (d / "chat_template.jinja").write_text("{% for %}") and None,
        {},
        ModelError,
        r"cannot be read \(line 1\)",
    ),
    "a template's path that is wrong": (
        lambda d: None,
        {"chat_template": "no.jinja"},
        ConfigError,
        "no.jinja",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_bad_tokenizer_is_reported(name: str, tmp_path: Path, tiny_model: Path) -> None:
    spoil, options, kind, expected = MODELS[name]
    model = tmp_path / "model"
    model.mkdir()
    for file in tiny_model.iterdir():
        if file.suffix in (".json", ".jinja"):
            (model / file.name).write_bytes(file.read_bytes())
    spoil(model)
    (tmp_path / "a.jsonl").write_bytes(lines(GOOD))
    with pytest.raises(kind, match=expected) as caught:
        prepare(recipe(str(tmp_path / "a.jsonl"), **options), model)
    assert caught.value.hint  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("bom.jsonl", b"\xef\xbb\xbf" + lines({"text": "one"}, {"text": "two"})),
        ("bom.json", b'\xef\xbb\xbf[{"text": "one"}, {"text": "two"}]'),
        ("bom.csv", b"\xef\xbb\xbftext\none\ntwo\n"),
        ("blank.jsonl", b'\n{"text": "one"}\n\n{"text": "two"}'),
        ("crlf.jsonl", b'{"text": "one"}\r\n{"text": "two"}\r\n'),
        ("object.json", b'{"version": 1, "rows": [{"text": "one"}, {"text": "two"}]}'),
        ("misnamed.json", lines({"text": "one"}, {"text": "two"})),
        ("semicolon.csv", b"id;text\n1;one\n2;two\n"),
        ("UPPER.CSV", b"text\none\ntwo\n"),
    ],
)
def test_common_file_quirks_are_read(file: str, content: bytes, tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / file
    path.write_bytes(content)
    texts = decoded(prepare(recipe(str(path), validation=0.0), tiny_model), tiny_model)
    assert texts == ["one", "two"]


def test_parquet_is_read(tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": [f"row {i}" for i in range(2500)]}), path)
    dataset = prepare(recipe(str(path), validation=0.0), tiny_model)
    assert decoded(dataset, tiny_model) == [f"row {i}" for i in range(2500)]


def decoded(dataset: Any, model: Path) -> list[str]:
    from engine.data.tokenization.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(model)
    return [tokenizer.decode(example.input_ids.tolist()) for example in dataset.train]
