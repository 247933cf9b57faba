"""Parquet and Arrow: what their types add to rows, and what they say about them."""

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config.schema import TrainConfig
from engine.config.sections import Source
from engine.data.prepare import prepare
from engine.data.readers.arrow_values import rows_of
from engine.data.sources.resolve import open_source
from engine.data.tokenization.tokenizer import Tokenizer
from engine.errors import DataError

CASES = Path(__file__).parent / "data"
FILLED = [{"city": "Oslo"}, {"x": 2, "y": 3}]
"""Arguments of two tools, which lie in one column."""


def recipe(train: Path, **data: Any) -> TrainConfig:
    body = {"data": {"train": str(train), "validation": 0, **data}}
    return TrainConfig.model_validate({"model": {"base": "starter", "chat_template": "chatml"}} | body)


def rows(path: Path) -> list[dict[str, Any]]:
    return [columns for _, columns in open_source(Source(path=str(path)), recipe(path).data).table.rows()]


def trained(path: Path, model: Path) -> list[str]:
    tokenizer = Tokenizer.load(model)
    return [
        tokenizer.decode(example.input_ids.tolist(), False) for example in prepare(recipe(path), model).train
    ]


def written(table: pa.Table, path: Path) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(table, path)
        return path
    with pa.ipc.new_stream(path, table.schema) as out:
        out.write_table(table, max_chunksize=2)
    return path


def pruned(value: Any) -> Any:
    """A value of a column without the keys of objects that are null."""
    if isinstance(value, dict):
        return {key: pruned(each) for key, each in value.items() if each is not None}
    return [pruned(each) for each in value] if isinstance(value, list) else value


def test_tools_in_parquet_train_like_jsonl(tiny_model: Path) -> None:
    found = trained(CASES / "01_tools.parquet", tiny_model)
    assert found == trained(CASES / "01_tools.jsonl", tiny_model)
    assert '{"name": "weather", "arguments": {"city": "Oslo"}}' in found[0]
    assert "null" not in "".join(found)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow"])
def test_keys_added_by_column_are_dropped(name: str, tmp_path: Path) -> None:
    calls = [[{"name": "f", "arguments": arguments, "id": None}, None] for arguments in FILLED]
    table = pa.table({"calls": calls, "note": ["x", None], "deep": [{"a": [[{"b": None, "c": 1}]]}, None]})
    assert rows(written(table, tmp_path / name)) == [
        {
            "calls": [{"name": "f", "arguments": {"city": "Oslo"}}, None],
            "note": "x",
            "deep": {"a": [[{"c": 1}]]},
        },
        {"calls": [{"name": "f", "arguments": {"x": 2, "y": 3}}, None], "note": None, "deep": None},
    ]


def test_written_null_in_jsonl_stays(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"calls": [{"arguments": {"city": null}}]}\n')
    assert rows(tmp_path / "rows.jsonl") == [{"calls": [{"arguments": {"city": None}}]}]


VALUES = st.recursive(
    st.sampled_from([pa.int64(), pa.string(), pa.bool_()]),
    lambda inner: (
        st.builds(pa.list_, inner)
        | st.builds(pa.large_list, inner)
        | st.builds(lambda kind: pa.list_(kind, 2), inner)
        | st.lists(inner, max_size=3).map(lambda kinds: pa.struct(list(zip("abc", kinds, strict=False))))
    ),
    max_leaves=6,
)


def of_type(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_struct(kind):
        inner = {field.name: of_type(field.type) for field in kind}
        return st.none() | st.fixed_dictionaries(inner)
    if pa.types.is_fixed_size_list(kind):
        return st.none() | st.lists(of_type(kind.value_type), min_size=2, max_size=2)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return st.none() | st.lists(of_type(kind.value_type), max_size=3)
    return (
        st.none()
        | {pa.int64(): st.integers(0, 9), pa.string(): st.text("ab"), pa.bool_(): st.booleans()}[kind]
    )


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_only_null_keys_of_column_are_dropped(data: st.DataObject) -> None:
    kind = data.draw(VALUES)
    column = pa.array(data.draw(st.lists(of_type(kind), min_size=1, max_size=5)), kind)
    batch = pa.record_batch({"v": column}).slice(data.draw(st.integers(0, 2)))
    assert rows_of(batch, {}) == [{"v": pruned(row["v"])} for row in batch.to_pylist()]


@pytest.mark.parametrize(
    "name", ["31_ds_json.parquet", "31_ds_jsonfeat.parquet", "31_saved/data-00000-of-00001.arrow"]
)
def test_json_column_is_read_like_datasets(name: str, tmp_path: Path) -> None:
    path = CASES / name
    theirs = (
        datasets.Dataset.from_file(str(path))
        if path.suffix == ".arrow"
        else datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path))
    )
    assert [pruned(row) for row in rows(path)] == [pruned(row) for row in theirs.to_list()]
    calls = rows(path)[0]["messages"][1]["tool_calls"]
    assert calls == [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"x": 0, "y": 3}}}
    ]


def test_written_null_in_json_column_stays() -> None:
    assert rows(CASES / "31_ds_json.parquet")[0]["messages"][1]["content"] is None


def test_calls_in_json_column_are_trained(tiny_model: Path) -> None:
    for name in ("31_ds.parquet", "31_ds_json.parquet", "31_ds_jsonfeat.parquet", "31_saved"):
        [first, *_] = trained(CASES / name, tiny_model)
        assert '<tool_call>\n{"name": "add", "arguments": {"x": 0, "y": 3}}\n</tool_call>' in first, name
        assert '"properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}' in first, name


def test_json_text_in_row_is_parsed(tmp_path: Path, tiny_model: Path) -> None:
    """As the `Json` type comes out of other programs, and of `datasets` before it had the type."""
    [first, *_] = rows(CASES / "31_ds_jsonfeat.parquet")
    tools = [json.loads(json.dumps(tool)) for tool in first["tools"]]
    for tool in tools:
        tool["function"]["parameters"]["properties"] = json.dumps(
            tool["function"]["parameters"]["properties"]
        )
    turns = [json.loads(json.dumps(turn)) for turn in first["messages"]]
    turns[1]["tool_calls"] = [json.dumps(call) for call in turns[1]["tool_calls"]]
    texts = {"tools": [json.dumps(tool) for tool in tools], "messages": [json.dumps(turn) for turn in turns]}
    for name, row in (("objects", first), ("texts", texts)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    assert trained(tmp_path / "texts.jsonl", tiny_model) == trained(tmp_path / "objects.jsonl", tiny_model)


def test_object_of_lists_is_conversation(
    tiny_model: Path,
) -> None:
    """`datasets` writes a list of objects as an object of lists."""
    texts = trained(CASES / "13_seqdict.parquet", tiny_model)
    assert ["Q0" in texts[0], "A0" in texts[0], len(texts)] == [True, True, 3]


def test_invalid_json_in_column_names_row(tmp_path: Path) -> None:
    texts = pa.array(['{"a": 1}', None, "{a: 1}"], pa.json_())
    table = pa.table({"deep": pa.ListArray.from_arrays([0, 1, 2, 3], texts)})
    with pytest.raises(
        DataError, match=r"rows.parquet row 3: a value of the type JSON is not JSON: Expecting"
    ):
        rows(written(table, tmp_path / "rows.parquet"))


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow"])
def test_class_label_column_reads_as_names(name: str, tmp_path: Path) -> None:
    label = datasets.ClassLabel(names=["bad", "good"])
    features = datasets.Features(
        {"label": label, "each": datasets.List({"of": label}), "text": datasets.Value("string")}
    )
    made = datasets.Dataset.from_dict(
        {"label": [1, 0, None], "each": [[{"of": 0}], [], [{"of": -1}]], "text": ["a", "b", "c"]}, features
    )
    path = tmp_path / name
    if path.suffix == ".parquet":
        made.to_parquet(path)
    else:
        made.save_to_disk(tmp_path / "saved")
        path = tmp_path / "saved"
    assert rows(path) == [
        {"label": "good", "each": [{"of": "bad"}], "text": "a"},
        {"label": "bad", "each": [], "text": "b"},
        {"label": None, "each": [{"of": None}], "text": "c"},
    ]


def test_map_column_is_read_as_object(tmp_path: Path) -> None:
    of_objects = pa.map_(pa.string(), pa.struct([("type", pa.string()), ("enum", pa.list_(pa.string()))]))
    table = pa.table(
        {
            "arguments": pa.array(
                [[("city", "Oslo")], None, [("x", None)]], pa.map_(pa.string(), pa.string())
            ),
            "properties": pa.array([[("x", {"type": "integer"})], [], None], of_objects),
        }
    )
    assert rows(written(table, tmp_path / "rows.parquet")) == [
        {"arguments": {"city": "Oslo"}, "properties": {"x": {"type": "integer"}}},
        {"arguments": None, "properties": {}},
        {"arguments": {"x": None}, "properties": None},
    ]


def test_text_column_of_any_arrow_type() -> None:
    assert rows(CASES / "42_types.parquet")[0] == {
        "instruction": "Name apple",
        "output": "It is apple.",
        "input": None,
    }


def test_bytes_column_is_not_text(tiny_model: Path) -> None:
    with pytest.raises(
        DataError, match=r"`output` is \"bytes\" where text is expected \(.*42_binary.parquet row 1,"
    ):
        trained(CASES / "42_binary.parquet", tiny_model)


def test_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    for name in ("rows.arrow", "rows.parquet"):
        path = written(pa.table({"text": [f"row {n}" for n in range(1000)]}), tmp_path / name)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(DataError, match=rf"{name}: not an? (Arrow|Parquet) file"):
            rows(path)


def test_files_of_folder_may_differ_in_columns(tiny_model: Path) -> None:
    texts = trained(CASES / "41_schemas", tiny_model)
    assert ["hi one" in texts[0], "hi two" in texts[1]] == [True, True]


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow"])
def test_duplicate_column_names_are_refused(name: str, tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    with pytest.raises(DataError, match=rf"{name}: two columns are called `text`"):
        rows(written(twice, tmp_path / name))


def test_duplicate_keys_in_column_are_refused(tmp_path: Path) -> None:
    kind = pa.struct([pa.field("role", pa.string()), pa.field("role", pa.string())])
    keys = pa.StructArray.from_arrays([pa.array(["a"]), pa.array(["b"])], fields=list(kind))
    path = written(pa.table({"messages": keys}), tmp_path / "rows.arrow")
    with pytest.raises(DataError, match=r"rows.arrow: two columns are called `role`"):
        rows(path)


def test_json_output_shows_row_as_read(tmp_path: Path) -> None:
    from engine.data.readers.random_access import open_rows

    table = pa.table({"calls": [[{"arguments": arguments}] for arguments in FILLED]})
    path = written(table, tmp_path / "rows.arrow")
    assert json.loads(open_rows(path, path.name).raw(1)) == {"calls": [{"arguments": {"x": 2, "y": 3}}]}
