"""Folders, clones and saved datasets that hold several splits: what is trained, and what is not unless requested."""

import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset_builder

import ft
from engine.config.schema import TrainConfig
from engine.config.sections import Source
from engine.data.prepare import prepare
from engine.data.preview.previews import Previews
from engine.data.sources.resolve import find, open_source, with_old_splits
from engine.errors import DataError
from engine.runs.directory.events import Step
from engine.runs.directory.run import Run
from ft.cli import main

CASES = Path(__file__).parent / "data"
README = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: rows/a*.jsonl
  - split: test
    path: rows/t-*.jsonl
---
# Rows
"""


def recipe(train: Any, **data: Any) -> TrainConfig:
    return TrainConfig.model_validate({"model": {"base": "starter"}, "data": {"train": train, **data}})


def names(path: Path, **more: Any) -> list[str]:
    """The files that are read of a folder, by their names in it."""
    return [file.path.relative_to(path).as_posix() for file in find(Source(path=str(path), **more)).files]


def notes(path: Path, **more: Any) -> str:
    return "\n".join(find(Source(path=str(path), **more)).notes)


def folder_of(tmp_path: Path, *files: str, readme: str = "") -> Path:
    """A folder of files, each of which holds its own name as text."""
    made = tmp_path / "data"
    for name in files:
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            pq.write_table(pa.table({"text": [name]}), path)
        else:
            path.write_text(json.dumps({"text": name}) + "\n" if "json" in path.suffix else name)
    if readme:
        (made / "README.md").write_text(readme)
    return made


def texts(config: TrainConfig, model: Path) -> tuple[list[str], list[str]]:
    """Texts of the training rows, and of the validation rows."""
    from engine.data.tokenization.tokenizer import Tokenizer

    found, tokenizer = prepare(config, model), Tokenizer.load(model)
    return tuple(
        [tokenizer.decode(example.input_ids.tolist()) for example in part or ()]
        for part in (found.train, found.validation)
    )  # type: ignore[return-value]


def declared(path: Path, tmp_path: Path) -> dict[str, list[str]]:
    """The files of a folder by split, as `datasets` finds them."""
    found = load_dataset_builder(str(path), cache_dir=str(tmp_path / "cache")).config.data_files
    return {str(s): sorted(Path(f).relative_to(path).as_posix() for f in files) for s, files in found.items()}


LAYOUTS = {
    "mlx-lm": ("train.jsonl", "valid.jsonl", "test.jsonl"),
    "shards": tuple(f"data/{split}-0000{n}-of-00002.parquet" for split in ("train", "test") for n in (0, 1)),
    "folders": ("train/0.jsonl", "train/1.jsonl", "validation/0.jsonl", "test/x.jsonl"),
    "names": ("my-train-1.jsonl", "my-train-2.jsonl", "my_dev.jsonl", "eval.jsonl"),
    "deep": ("en/rows/training/a.jsonl", "en/rows/val/a.jsonl"),
    "none": ("a.jsonl", "b/c.jsonl"),
    "one split of its own name": ("data/sft-00000-of-00001.parquet",),
    "folders before names": ("train/eval-questions.jsonl", "train/more.jsonl", "test/a.jsonl"),
    "documents": ("train.txt", "valid.txt", "test.txt"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folder_splits_match_datasets(layout: str, tmp_path: Path) -> None:
    path = folder_of(tmp_path, *LAYOUTS[layout])
    theirs = declared(path, tmp_path)
    assert {split: sorted(names(path, split=split)) for split in theirs} == theirs
    assert sorted(names(path)) == theirs.get("train", next(iter(theirs.values())))


def test_readme_configs_choose_split_like_hub(tmp_path: Path) -> None:
    path = folder_of(
        tmp_path, "rows/a1.jsonl", "rows/a2.jsonl", "rows/t-1.jsonl", "other.jsonl", readme=README
    )
    theirs = load_dataset_builder(str(path), cache_dir=str(tmp_path / "cache")).config.data_files
    assert (
        names(path)
        == ["rows/a1.jsonl", "rows/a2.jsonl"]
        == [Path(f).relative_to(path).as_posix() for f in theirs["train"]]
    )
    assert names(path, split="test") == ["rows/t-1.jsonl"]


def test_readme_of_absent_files_keeps_splits(tmp_path: Path) -> None:
    """It does not hide the files that are there."""
    path = folder_of(tmp_path, "mine.jsonl", readme=README)
    assert names(path) == ["mine.jsonl"]


@pytest.mark.parametrize("case", ["70_clone", "32_dd"])
def test_test_split_is_not_trained(case: str, tiny_model: Path) -> None:
    """Neither that of a clone nor that of a saved dataset."""
    trained, _ = texts(recipe(str(CASES / case), validation=0), tiny_model)
    assert len(trained) == 20
    assert not any("test" in text.lower() for text in trained)
    assert "the files of split train are used, not: test" in notes(CASES / case)
    tests, _ = texts(recipe({"path": str(CASES / case), "split": "test"}, validation=0), tiny_model)
    assert tests
    assert all("test" in text.lower() for text in tests)


@pytest.mark.parametrize("command", ["stats", "sample"])
def test_commands_name_unused_split_files(
    command: str, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(tiny_model)] if command == "stats" else []
    assert main(["data", command, str(CASES / "70_clone"), *model]) == 0
    said = capsys.readouterr()
    assert "70_clone: the files of split train are used, not: test" in said.err
    assert "test q" not in said.out


def test_split_all_trains_every_file(tmp_path: Path) -> None:
    path = folder_of(tmp_path, "train.jsonl", "test.jsonl", "more.jsonl")
    assert names(path) == ["train.jsonl"]
    assert names(path, split="all") == ["more.jsonl", "test.jsonl", "train.jsonl"]
    assert names(path, split="train+test") == ["train.jsonl", "test.jsonl"]
    assert notes(path, split="all") == ""
    assert notes(path).endswith("not: other files (more.jsonl), test (test.jsonl)")


def test_folder_validates_with_own_split(tmp_path: Path, tiny_model: Path) -> None:
    """A note says how."""
    path = folder_of(tmp_path, "train.jsonl", "valid.jsonl", "test.jsonl")
    assert texts(recipe(str(path), validation=str(path)), tiny_model) == (["train.jsonl"], ["valid.jsonl"])
    (path / "train.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    said = open_source(Source(path=str(path)), recipe(str(path)).data).notes
    assert f"{path} has rows for validation: `data.validation: {path}` would use them" in said
    said = open_source(Source(path=str(path)), recipe(str(path), validation=str(path)).data).notes
    assert not any("would use them" in note for note in said)


def test_validation_source_picks_its_split(
    tmp_path: Path,
) -> None:
    """Its validation split, else its test split, else what it has."""

    def validating(*files: str) -> list[str]:
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        found = find(Source(path=str(folder_of(tmp_path, *files))), "validation")
        return [file.path.name for file in found.files]

    assert validating("train.jsonl", "dev.jsonl", "test.jsonl") == ["dev.jsonl"]
    assert validating("train.jsonl", "test.jsonl") == ["test.jsonl"]
    assert validating("train.jsonl") == ["train.jsonl"]
    assert validating("a.jsonl", "b.jsonl") == ["a.jsonl", "b.jsonl"]


def test_folder_without_train_split_lists_splits(tmp_path: Path) -> None:
    path = folder_of(tmp_path, "test.jsonl", "dev.jsonl")
    with pytest.raises(DataError, match="has no split train") as refused:
        find(Source(path=str(path)))
    assert refused.value.hint == "Name one with `split`: test, validation, or `all` for all files."


def test_file_without_split_name_is_trained(tmp_path: Path) -> None:
    """Unless another file is called train."""
    path = folder_of(tmp_path, "chats.jsonl", "test.jsonl")
    assert names(path) == ["chats.jsonl"]
    assert notes(path).endswith("data: files that name no split are used, not: test (test.jsonl)")


def test_document_names_are_no_splits(tmp_path: Path) -> None:
    manual = ("testing/how.md", "training.md", "guide/validation-of-orders.md", "training/first-day.md")
    assert names(folder_of(tmp_path, *manual)) == sorted(manual)


def test_only_split_of_its_kind_is_found(tmp_path: Path) -> None:
    """`train_sft` stands for train where it is the only one for training."""
    two = [f"data/{split}-00000-of-00001.parquet" for split in ("train_sft", "test_sft")]
    path = folder_of(tmp_path, *two)
    assert names(path) == two[:1]
    assert names(path, split="test_sft") == names(path, split="test") == two[1:]
    folder_of(tmp_path, "data/train_gen-00000-of-00001.parquet")
    with pytest.raises(DataError, match="has no split train") as refused:
        find(Source(path=str(path)))
    assert "test_sft, train_gen, train_sft" in refused.value.hint
    assert names(path, split="train_gen") == ["data/train_gen-00000-of-00001.parquet"]


def test_file_in_two_formats_is_read_once(tmp_path: Path) -> None:
    path = folder_of(
        tmp_path, "data/train.jsonl", "data/train.parquet", "data/test.jsonl", "data/train-more.csv"
    )
    assert names(path) == ["data/train-more.csv", "data/train.parquet"]
    assert notes(path).endswith("not: other files (data/train.jsonl), test (data/test.jsonl)")
    assert len(names(path, split="all")) == 4


def test_source_file_may_have_any_name(tmp_path: Path) -> None:
    any_names = ["2026-11-28T10:00.jsonl", "a\\b.jsonl", "é ü.jsonl"]
    assert names(folder_of(tmp_path, *any_names)) == any_names


def test_source_pattern_reports_test_files(tmp_path: Path) -> None:
    """The pattern takes whatever fits."""
    path = folder_of(tmp_path, "train.jsonl", "test.jsonl", "valid.jsonl")
    assert "*.jsonl: the pattern takes test.jsonl and 1 more for training too" in notes(path / "*.jsonl")
    assert notes(path / "t*n.jsonl") == notes(path / "test.*") == ""


def test_saved_dataset_reads_only_named_files(tmp_path: Path) -> None:
    """Files that `map` left there are no rows."""
    saved = tmp_path / "saved"
    datasets.Dataset.from_dict({"text": [f"row {n}" for n in range(6)]}).save_to_disk(saved, num_shards=2)
    loaded = datasets.load_from_disk(saved)
    loaded.map(lambda row: {"text": row["text"] + "!"})
    assert len(list(saved.glob("*.arrow"))) == 3
    assert names(saved) == ["data-00000-of-00002.arrow", "data-00001-of-00002.arrow"]
    (saved / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(DataError, match=r"data-00001-of-00002.arrow: no such file, but state.json names it"):
        find(Source(path=str(saved)))


def test_saved_dataset_splits_have_any_name(tmp_path: Path) -> None:
    rows = {
        split: datasets.Dataset.from_dict({"text": [split]}) for split in ("sft", "training_2", "heldout")
    }
    datasets.DatasetDict(rows).save_to_disk(tmp_path / "saved")
    for split in rows:
        found = open_source(Source(path=str(tmp_path / "saved"), split=split), recipe("starter").data)
        assert [columns["text"] for _, columns in found.table.rows()] == [split]
    assert names(tmp_path / "saved") == ["training_2/data-00000-of-00001.arrow"]


def test_prepared_folder_is_a_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["data", "prepare", str(CASES / "20_plain.jsonl"), "-o", str(out)]) == 0
    assert {"train.jsonl", "validation.jsonl", "report.json"} == {each.name for each in out.iterdir()}
    assert names(out) == ["train.jsonl"]
    assert [file.path.name for file in find(Source(path=str(out)), "validation").files] == [
        "validation.jsonl"
    ]
    assert "report.json" not in notes(out), "it tells of the rows"


def test_git_lfs_pointer_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0000\nsize 12\n")
    with pytest.raises(DataError, match="a pointer of Git LFS, not the file itself") as refused:
        find(Source(path=str(path)))
    assert "git lfs pull" in refused.value.hint


def test_old_run_keeps_files_of_all_splits(tmp_path: Path) -> None:
    """It began when a folder meant all its files."""
    path = folder_of(tmp_path, "train.jsonl", "test.jsonl")
    data = recipe([str(path), str(path / "train.jsonl")], validation="hf://datasets/ada/rows").data
    old = with_old_splits(data)
    assert old.train == [Source(path=str(path), split="all"), str(path / "train.jsonl")]
    assert old.validation == Source(path="hf://datasets/ada/rows", split="train")


def test_app_shows_validation_rows(tmp_path: Path) -> None:
    from screens.datasets.sources import label, looking_through

    path = folder_of(tmp_path, "train.jsonl", "valid.jsonl")
    recipe_file = tmp_path / "train.yml"
    recipe_file.write_text(f"model: {{base: starter}}\ndata: {{train: {path}, validation: {path}}}\n")
    train, validation, _ = looking_through(recipe_file, ()).sources
    assert [train, label(validation)] == [str(path), f"{label(str(path))} (validation)"]
    opened = [Previews().open(source) for source in (train, validation)]
    assert [Path(each.path).name for each in opened] == ["train.jsonl", "valid.jsonl"]


@pytest.mark.slow
def test_run_from_before_splits_can_resume(tmp_path: Path, tiny_model: Path) -> None:
    """Such a run is one on `split: all` that has neither the key in its recipe nor its files in its records."""
    path = folder_of(
        tmp_path, *(f"{split}-{number}.jsonl" for split in ("train", "test") for number in range(6))
    )
    source = tmp_path / "train.yml"
    source.write_text(
        json.dumps(
            {
                "model": {"base": str(tiny_model), "max_seq_length": 32},
                "data": {"train": {"path": str(path), "split": "all"}, "validation": 0},
                "training": {"max_steps": 100_000, "effective_batch_size": 2, "batch_size": 2},
                "checkpoints": {"every": 1},
            }
        )
    )
    run = ft.train(source)
    next(event for event in run.events() if isinstance(event, Step))
    assert run.stop().reason == "stopped"
    provenance = run.folder / "provenance.json"
    known = json.loads(provenance.read_text())
    assert len(known["data"].pop("files")) == 12
    provenance.write_text(json.dumps(known))
    recipe_file = run.folder / "train.yml"
    recipe_file.write_text(recipe_file.read_text().replace("split: all", "split: null"))
    for _ in range(2):
        begun, before = Run.open(run.id), Run.open(run.id).position()
        run = ft.open_run(run.id).resume()
        assert any(isinstance(event, Step) for event in begun.events(follow=True, since=before))
        assert run.stop().reason == "stopped"
