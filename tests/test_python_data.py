"""Rows of Python programs: `ft.train(data=…)` takes what `datasets` has, and `ft.data.load` gives what ft reads."""

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import pytest

import ft as api
from engine import paths
from engine.config.schema import TrainConfig
from engine.config.sections import Source
from engine.data.prepare import prepare
from engine.data.sources import file_cache
from engine.data.sources.in_memory import UNUSED_S, remove_unused, splits_of, stored
from engine.data.sources.resolve import open_source
from engine.errors import ConfigError, DataError, MachineError
from engine.runs.directory import events as ev
from engine.runs.directory.run import Run
from tests.training import ROWS, recipe_text

CALLS = [
    {
        "messages": [
            {"role": "assistant", "content": "x", "tool_calls": [{"name": "f", "arguments": {"a": 1}}]}
        ]
    },
    {
        "messages": [
            {"role": "assistant", "content": "x", "tool_calls": [{"name": "g", "arguments": {"b": "2"}}]}
        ]
    },
]


def rows(path: Path) -> list[dict[str, Any]]:
    body = {"model": {"base": "starter"}, "data": {"train": str(path)}}
    data = TrainConfig.model_validate(body).data
    return [columns for _, columns in open_source(Source(path=str(path)), data).table.rows()]


def tokens(data: dict[str, Any], model: Path) -> list[list[int]]:
    config = TrainConfig.model_validate({"model": {"base": "starter"}, "data": {"validation": 0, **data}})
    return [example.input_ids.tolist() for example in prepare(config, model).train]


@pytest.fixture
def recipe(folder: Path, tiny_model: Path) -> Path:
    """A recipe whose own data is not there."""
    path = folder / "train.yml"
    path.write_text(recipe_text(tiny_model, folder / "elsewhere.jsonl"))
    return path


@pytest.mark.slow
def test_dataset_run_resumes_without_its_program(recipe: Path) -> None:
    """The program that held the rows is gone."""
    made = datasets.Dataset.from_list(ROWS)
    run = api.train(recipe, data=made, overrides={"training.max_steps": 100_000, "checkpoints.every": 1})
    next(event for event in run.events() if isinstance(event, ev.Step))
    assert run.stop().reason == "stopped"
    assert [Path(name).parent for name in Run.open(run.id).provenance["data"]["files"]] == [paths.datasets()]
    del made
    files, before = Run.open(run.id), Run.open(run.id).position()
    again = api.open_run(run.id).resume()
    assert any(isinstance(event, ev.Step) for event in files.events(follow=True, since=before))
    assert again.stop().reason == "stopped"


def test_plan_counts_rows_of_dataset_and_validation(recipe: Path) -> None:
    made = datasets.Dataset.from_list(ROWS)
    of_all, of_half = (2 * -(-count // 4) for count in (len(ROWS), len(ROWS) // 2))
    assert api.plan(recipe, data=made, validation=0).steps == of_all
    splits = datasets.DatasetDict(train=made, validation=made.select([0]), test=made.select([1]))
    assert api.plan(recipe, data=splits).steps == of_all
    assert len(list(paths.datasets().iterdir())) == 2, "the test split is used for nothing"
    assert api.plan(recipe, data=splits, overrides={"data.validation": 0.5}).steps == of_half
    assert api.plan(recipe, data=splits, validation=0.5).steps == of_half


def test_data_given_twice_is_refused(recipe: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.train is given twice"):
        api.plan(recipe, {"data.train": "starter"}, data=[{"text": "a"}])
    with pytest.raises(ConfigError, match=r"data.validation is given twice"):
        api.plan(recipe, {"data.validation": 0}, validation=0.5)


def test_same_rows_have_the_same_file() -> None:
    """Their layout in memory does not matter."""
    whole = datasets.Dataset.from_list(ROWS)
    parts = datasets.concatenate_datasets([whole.select(range(5)), whole.select(range(5, len(ROWS)))])
    turned = whole.select(range(len(ROWS) - 1, -1, -1))
    files = {stored(whole), stored(parts), stored(turned.select(range(len(ROWS) - 1, -1, -1)))}
    assert len(files) == 1
    assert stored(turned) not in files
    assert rows(files.pop()) == ROWS


def test_rows_of_iterable_are_all_written() -> None:
    made = datasets.IterableDataset.from_generator(lambda: iter(CALLS))
    assert rows(stored(made)) == rows(stored(CALLS)) == rows(stored(row for row in CALLS)) == CALLS
    assert rows(stored(datasets.Dataset.from_list(CALLS))) == CALLS, "keys that Arrow filled in"
    assert rows(stored(datasets.Dataset.from_list(CALLS).to_iterable_dataset())) == CALLS


def test_class_labels_are_trained_by_their_names() -> None:
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "all": datasets.List({"label": datasets.ClassLabel(names=["no", "yes"])}),
        }
    )
    made = datasets.Dataset.from_dict({"text": ["a"], "all": [[{"label": 1}, {"label": -1}]]}, features)
    wanted = [{"text": "a", "all": [{"label": "yes"}, {"label": None}]}]
    assert rows(stored(made)) == wanted
    assert rows(stored(made.to_iterable_dataset())) == [{"text": "a", "all": [{"label": "yes"}, {}]}]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "the data holds no rows"),
        (["text"], "row 1 of the data is str where columns by name are expected"),
        ([{"text": "a"}, {"text": b"a"}], "row 2 of the data holds bytes, not text"),
        ([{"text": object()}], "row 1 of the data holds object"),
    ],
)
def test_invalid_data_is_refused_without_leftovers(data: list[Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        stored(data)
    assert list(paths.datasets().iterdir()) == []


def test_splits_without_one_for_training_are_refused() -> None:
    some = datasets.Dataset.from_list(ROWS)
    with pytest.raises(DataError, match="data has no split train; its splits are: test, validation"):
        splits_of(datasets.DatasetDict(test=some, validation=some))
    assert splits_of({"train_sft": some, "dev": [{"text": "a"}]}) == (some, [{"text": "a"}])


def test_rows_written_concurrently_are_stored_once() -> None:
    made = datasets.Dataset.from_list(ROWS)
    with ThreadPoolExecutor(4) as pool:
        files = set(pool.map(stored, [made] * 8))
    assert list(paths.datasets().iterdir()) == list(files)


def test_full_disk_keeps_no_partial_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_cache, "RESERVE", 1 << 60)
    for data in (ROWS, datasets.Dataset.from_list(ROWS)):
        with pytest.raises(MachineError, match="MB free"):
            stored(data)
    assert list(paths.datasets().iterdir()) == []


def test_unused_rows_without_a_run_are_removed(tmp_path: Path) -> None:
    old = {name: stored([{"text": name}]) for name in ("named", "forgotten")}
    new = stored([{"text": "new"}])
    for path in old.values():
        os.utime(path, (time.time() - 2 * UNUSED_S,) * 2)
    (tmp_path / "train.yml").write_text(f"data: {{train: {old['named']}}}")
    remove_unused(lambda: [tmp_path / "train.yml", tmp_path / "gone.yml"])
    assert sorted(paths.datasets().iterdir()) == sorted([old["named"], new])


def test_loaded_rows_train_like_the_file(folder: Path, tiny_model: Path) -> None:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    loaded = api.data.load("rows.jsonl")
    assert loaded.to_list() == ROWS
    assert Path(loaded.cache_files[0]["filename"]).is_relative_to(paths.cache())
    assert loaded.map(lambda row: {"turns": len(row["messages"])})["turns"] == [2] * len(ROWS)
    direct = tokens({"train": str(folder / "rows.jsonl")}, tiny_model)
    assert tokens({"train": str(stored(loaded))}, tiny_model) == direct
    assert tokens({"train": str(stored(api.data.load("rows.jsonl", messages=True)))}, tiny_model) == direct


def test_loaded_rows_keep_their_own_keys(folder: Path) -> None:
    values = [
        {"a": 1, "b": None, "c": ["x"], "d": {"k": 1}, "e": True, "f": 1},
        {
            "a": 2.5,
            "b": "é",
            "c": None,
            "d": {"j": [None, {"i": "x"}]},
            "e": None,
            "f": "x",
            "g": [{"y": None}],
        },
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(value) + "\n" for value in values))
    loaded = api.data.load("rows.jsonl")
    assert [row | {"g": row["g"]} for row in loaded] == [
        {"a": 1.0, "b": None, "c": ["x"], "d": {"k": 1}, "e": True, "f": 1, "g": None},
        values[1],
    ]


def test_conversations_are_loaded_from_any_format(folder: Path) -> None:
    (folder / "rows.csv").write_text("question,answer\nWhy?,So.\n,\n")
    keys = {"columns": {"instruction": "question", "output": "answer"}, "on_error": "skip"}
    [row] = api.data.load("rows.csv", messages=True, **keys)
    assert row == {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}
    assert len(api.data.load(messages=True, max_samples=3)) == 3
    with pytest.raises(DataError, match=r"rows.csv:3: nothing to train"):
        api.data.load("rows.csv", messages=True, columns=keys["columns"])
    with pytest.raises(DataError, match=r"nothing.jsonl: no such file"):
        api.data.load("nothing.jsonl")
