"""Sources of rows: kinds of files, folders and patterns, compressed files, mixtures, and rows that are broken."""

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from engine import paths
from engine.config.load import load_text
from engine.config.recipe_paths import check_files
from engine.config.schema import TrainConfig
from engine.config.sections import Source
from engine.data.prepare import prepare, sample
from engine.data.sources import file_cache
from engine.data.sources.resolve import find, open_source
from engine.data.tokenization.tokenizer import Tokenizer
from engine.errors import DataError, MachineError

PAGE = """<html><head><title>Tea</title><script>track()</script></head><body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/blog">Blog</a></li></ul></nav>
<article><h1>How tea is made</h1><p>Water is boiled. Leaves are put in it for three minutes, not longer, as
the tea gets bitter otherwise, which nobody likes.</p><ul><li>green tea</li><li>black tea</li></ul></article>
<footer>All rights reserved. <a href="/imprint">Imprint</a></footer></body></html>"""


def recipe(train: Any, **data: Any) -> TrainConfig:
    body = {"model": {"base": "starter"}, "data": {"train": train, "validation": 0.0, **data}}
    return TrainConfig.model_validate(body)


def rows(path: Path | str, **more: Any) -> list[tuple[str, dict[str, Any]]]:
    source = Source(path=str(path), **more)
    return list(open_source(source, recipe(source).data).table.rows())


def texts(path: Path | str, **more: Any) -> list[str]:
    return [columns["text"] for _, columns in rows(path, **more)]


def lines(*values: str) -> str:
    return "".join(json.dumps({"text": value}) + "\n" for value in values)


def trained(config: TrainConfig, model: Path) -> list[str]:
    tokenizer = Tokenizer.load(model)
    return [tokenizer.decode(example.input_ids.tolist()) for example in prepare(config, model).train]


def packed(data: bytes, suffix: str) -> bytes:
    return gzip.compress(data) if suffix == ".gz" else bytes(pa.Codec("zstd").compress(data, asbytes=True))


@pytest.mark.parametrize("kind", ["stream", "file"])
def test_saved_dataset_is_read(kind: str, folder: Path) -> None:
    table = pa.table({"text": [f"row {n}" for n in range(2500)]})
    new = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
    saved = folder / "saved"
    saved.mkdir()
    for name, part in (("data-00000-of-00002", table[:1200]), ("data-00001-of-00002", table[1200:])):
        with new(saved / f"{name}.arrow", table.schema) as out:
            out.write_table(part, max_chunksize=700)
    (saved / "state.json").write_text('{"_data_files": []}')
    (saved / "dataset_info.json").write_text("{}")
    found = rows("saved")
    assert [columns["text"] for _, columns in found] == [f"row {n}" for n in range(2500)]
    assert found[1200][0] == "saved/data-00001-of-00002.arrow row 1"


def test_saved_dataset_gives_requested_split(folder: Path) -> None:
    for split in ("train", "test"):
        (folder / "saved" / split).mkdir(parents=True)
        with pa.ipc.new_stream(
            folder / "saved" / split / "data-00000-of-00001.arrow", pa.schema({"text": pa.string()})
        ) as out:
            out.write_table(pa.table({"text": [split]}))
    assert texts("saved", split="test") == ["test"]
    with pytest.raises(DataError, match="has no split validation") as refused:
        rows("saved", split="validation")
    assert "test, train" in refused.value.hint


def test_tabs_separate_tsv_columns(folder: Path) -> None:
    """Commas in the header are no separators."""
    (folder / "rows.tsv").write_text("prompt, and more\tcompletion\na\tb, c\n")
    assert rows("rows.tsv") == [("rows.tsv:2", {"prompt, and more": "a", "completion": "b, c"})]


def test_text_file_splits_by_paragraph_or_line(folder: Path) -> None:
    (folder / "poem.txt").write_bytes(b"\xef\xbb\xbfone\ntwo\r\n\n \nthree\n\n")
    assert rows("poem.txt") == [("poem.txt", {"text": "one\ntwo\r\n\n \nthree\n\n"})]
    assert rows("poem.txt", sample_by="paragraph") == [
        ("poem.txt:1", {"text": "one\ntwo"}),
        ("poem.txt:5", {"text": "three"}),
    ]
    assert rows("poem.txt", sample_by="line") == [
        ("poem.txt:1", {"text": "one"}),
        ("poem.txt:2", {"text": "two"}),
        ("poem.txt:5", {"text": "three"}),
    ]


def test_html_source_gives_main_text_only(folder: Path) -> None:
    (folder / "tea.html").write_text(PAGE)
    [(where, columns)] = rows("tea.html")
    assert where == "tea.html"
    assert columns["text"].startswith("# How tea is made\n")
    assert "- green tea\n- black tea" in columns["text"]
    assert not any(word in columns["text"] for word in ("Home", "Imprint", "track"))
    (folder / "short.htm").write_text("<html><body><p>Tea.</p></body></html>")
    assert texts("short.htm") == ["Tea."]
    (folder / "none.html").write_text("<script>x</script>")
    with pytest.raises(DataError, match=r"none.html: no text is found"):
        rows("none.html")


def test_folder_rows_are_ordered_and_name_file(folder: Path, tiny_model: Path) -> None:
    (folder / "data" / "more").mkdir(parents=True)
    (folder / "data" / "b.jsonl").write_text(lines("b"))
    (folder / "data" / "a.csv").write_text("text\na\n")
    (folder / "data" / "more" / "c.jsonl").write_text(lines("c1", "c2"))
    (folder / "data" / "README.md").write_text("About these rows.")
    (folder / "data" / ".hidden.jsonl").write_text(lines("hidden"))
    assert rows("data") == [
        ("data/a.csv:2", {"text": "a"}),
        ("data/b.jsonl:1", {"text": "b"}),
        ("data/more/c.jsonl:1", {"text": "c1"}),
        ("data/more/c.jsonl:2", {"text": "c2"}),
    ]
    assert trained(recipe({"path": str(folder / "data"), "max_samples": 3}), tiny_model) in (
        [["a", "b", "c1", "c2"][i] for i in range(4) if i != out] for out in range(4)
    )
    (folder / "data" / "b.jsonl").write_text('{"text": "b"}\n{broken\n')
    with pytest.raises(DataError, match=r"data/b.jsonl:2:2: not valid JSON"):
        rows("data")


def test_documents_are_rows_in_folder_without_tables(folder: Path) -> None:
    (folder / "docs").mkdir()
    (folder / "docs" / "a.md").write_text("# A")
    (folder / "docs" / "b.txt").write_text("B")
    (folder / "docs" / "README.md").write_text("About.")
    assert rows("docs") == [("docs/a.md", {"text": "# A"}), ("docs/b.txt", {"text": "B"})]


def test_file_pattern_takes_matching_files(folder: Path) -> None:
    for name in ("part-1", "part-2", "other"):
        (folder / f"{name}.jsonl").write_text(lines(name))
    assert texts("part-*.jsonl") == ["part-1", "part-2"]
    (folder / "below").mkdir()
    (folder / "below" / "part-3.jsonl").write_text(lines("part-3"))
    assert texts("**/part-*.jsonl") == ["part-3", "part-1", "part-2"]
    with pytest.raises(DataError, match="no file of rows fits this pattern"):
        rows("nothing-*.jsonl")
    config = load_text("model: {base: starter}\ndata: {train: [part-*.jsonl]}\n", folder / "train.yml").config
    check_files(config)
    assert config.data.train == [str(folder / "part-*.jsonl")]


def test_no_file_outside_source_is_read(folder: Path) -> None:
    (folder / "secret.jsonl").write_text(lines("secret"))
    (folder / "data" / "loop").mkdir(parents=True)
    (folder / "data" / "mine.jsonl").write_text(lines("mine"))
    (folder / "data" / "out.jsonl").symlink_to(folder / "secret.jsonl")
    (folder / "data" / "again").symlink_to(folder / "data", target_is_directory=True)
    (folder / "data" / "in.jsonl").symlink_to(folder / "data" / "mine.jsonl")
    assert [where for where, _ in rows("data")] == ["data/in.jsonl:1", "data/mine.jsonl:1"]
    assert "secret" not in texts("data/*.jsonl")
    (folder / "data" / "in.jsonl").unlink()
    (folder / "data" / "mine.jsonl").unlink()
    with pytest.raises(DataError) as refused:
        rows("data")
    assert "Links that lead elsewhere are not read" in refused.value.hint


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_file_is_unpacked_once(suffix: str, folder: Path) -> None:
    """Its rows keep its name."""
    path = folder / f"chats.jsonl{suffix}"
    path.write_bytes(packed(lines("a").encode(), suffix) + packed(lines("b").encode(), suffix))
    assert rows(path.name) == [(f"{path.name}:1", {"text": "a"}), (f"{path.name}:2", {"text": "b"})]
    first = find(Source(path=str(path))).files[0].path
    assert first.is_relative_to(paths.cache())
    before = first.stat()
    assert texts(path.name) == ["a", "b"]
    assert first.stat().st_mtime_ns == before.st_mtime_ns, "it was unpacked again"
    path.write_bytes(packed(lines("changed").encode(), suffix))
    assert texts(path.name) == ["changed"]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_truncated_compressed_file_leaves_nothing_behind(suffix: str, folder: Path) -> None:
    whole = packed(lines(*(os.urandom(30).hex() for _ in range(1000))).encode(), suffix)
    for data in (whole[:-20], b"no such thing"):
        (folder / f"a.csv{suffix}").write_bytes(data)
        with pytest.raises(DataError, match=rf"a.csv{suffix}: not a whole {suffix} file"):
            rows(f"a.csv{suffix}")
    assert not [p for p in (paths.cache() / "sources").iterdir() if p.suffix in (".csv", file_cache.MAKING)]


def test_full_disk_is_foreseen_before_unpacking_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines("a").encode()))
    monkeypatch.setattr(file_cache, "RESERVE", 1 << 62)
    with pytest.raises(MachineError, match="MB free"):
        rows("a.jsonl.gz")


def test_cache_drops_least_recently_used_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for number in range(3):
        (folder / f"{number}.jsonl.gz").write_bytes(gzip.compress(lines("x" * 1000).encode()))
        found.append(find(Source(path=f"{number}.jsonl.gz")).files[0].path)
    for number, path in enumerate(found):
        for each in path.parent.glob(f"{path.stem}.*"):
            os.utime(each, (1000 + number, 1000 + number))
    monkeypatch.setattr(file_cache, "KEPT_BYTES", 2600)
    (folder / "new.jsonl.gz").write_bytes(gzip.compress(lines("y").encode()))
    new = find(Source(path="new.jsonl.gz")).files[0].path
    assert [path.exists() for path in (*found, new)] == [False, True, True, True]


def test_processes_may_unpack_same_file(folder: Path) -> None:
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines(*(f"row {n}" for n in range(50_000))).encode()))
    code = (
        "from engine.config.sections import Source\nfrom engine.data.sources.resolve import find\n"
        "print(find(Source(path='a.jsonl.gz')).files[0].path.stat().st_size)"
    )
    root = str(Path(__file__).parents[1])
    start = {"cwd": folder, "env": os.environ | {"PYTHONPATH": root}, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen([sys.executable, "-c", code], **start) for _ in range(3)]
    said = {process.communicate(timeout=60)[0] for process in running}
    assert said == {f"{len(gzip.decompress((folder / 'a.jsonl.gz').read_bytes()))}\n"}
    assert len(list((paths.cache() / "sources").glob("*.jsonl"))) == 1


def test_key_without_effect_on_source_is_refused(folder: Path) -> None:
    (folder / "a.jsonl").write_text(lines("a"))
    for key in ("config", "split", "revision"):
        with pytest.raises(DataError, match=f"a.jsonl: {key} has no effect on this source"):
            rows("a.jsonl", **{key: "x"})


def test_weight_sets_how_often_rows_train(folder: Path, tiny_model: Path) -> None:
    for name in "abc":
        (folder / f"{name}.jsonl").write_text(lines(*(f"{name} {n}" for n in range(10))))
    mixture = [
        {"path": "a.jsonl", "weight": 0.5},
        {"path": "b.jsonl"},
        {"path": "c.jsonl", "weight": 2.3},
    ]
    dataset = prepare(recipe(mixture), tiny_model)
    seen = trained(recipe(mixture), tiny_model)
    often = {name: Counter(Counter(text for text in seen if text[0] == name).values()) for name in "abc"}
    assert often == {"a": {1: 5}, "b": {1: 10}, "c": {2: 7, 3: 3}}
    assert seen == trained(recipe(mixture), tiny_model), "the same seed, the same rows"
    assert "a.jsonl: weight 0.5: 5 of 10 rows are used, chosen by seed 42" in dataset.notes
    assert "c.jsonl: weight 2.3: an epoch trains its rows 2.3 times" in dataset.notes
    looked, count = sample(recipe(mixture), tiny_model)
    assert (len(looked.train), count) == (25, len(dataset.train)) == (25, 38)


def test_weighted_row_is_not_also_validation(folder: Path, tiny_model: Path) -> None:
    (folder / "a.jsonl").write_text(lines(*(f"row {n}" for n in range(20))))
    dataset = prepare(recipe({"path": "a.jsonl", "weight": 3}, validation=0.25), tiny_model)
    assert dataset.validation is not None
    assert (len(dataset.train), len(dataset.validation)) == (45, 5)
    assert not any("better than it is" in note for note in dataset.notes)
    with pytest.raises(ValueError, match="every validation row counts once"):
        recipe("a.jsonl", validation={"path": "a.jsonl", "weight": 2})


BROKEN = {
    "a.jsonl": (
        lines("a") + "{no\n" + lines("b") + "[1]\n",
        ["a.jsonl:2:2: not valid JSON", "a.jsonl:4: a list"],
    ),
    "a.json": ('[{"text": "a"}, 3, {"text": "b"}]', ["a.json row 2: a number where a row"]),
    "a.csv": ("n,text\n1,a\n2\n3,b\n", ["a.csv:3: 1 fields where the header names 2"]),
    "a.txt": (b"a\n\xff\nb\n", ["a.txt:2: byte 2 is not UTF-8"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_recipe_must_allow_skipping_broken_rows(name: str, folder: Path, tiny_model: Path) -> None:
    body, problems = BROKEN[name]
    (folder / name).write_bytes(body if isinstance(body, bytes) else body.encode())
    source = {"path": name, "sample_by": "line"}
    with pytest.raises(DataError, match=problems[0].partition(":")[0]):
        prepare(recipe([source]), tiny_model)
    config = recipe([{**source, "weight": 2}, {**source, "weight": 1}], on_error="skip")
    assert trained(config, tiny_model) == ["a", "a", "b", "b", "a", "b"]
    told = "\n".join(prepare(config, tiny_model).notes)
    assert all(problem in told for problem in problems), told
    assert f"{len(problems)} of {2 + len(problems)} rows are broken and left out" in told


def test_error_ending_file_cannot_be_skipped(folder: Path, tiny_model: Path) -> None:
    (folder / "a.csv").write_text('text\na\n"never closed\n')
    with pytest.raises(DataError, match=r"a.csv:3: not valid CSV"):
        prepare(recipe("a.csv", on_error="skip"), tiny_model)
    (folder / "b.jsonl").write_text("{no\n[1]\n")
    with pytest.raises(DataError, match=r"none of its 2 rows can be read:\n  b.jsonl:1:2"):
        prepare(recipe("b.jsonl", on_error="skip"), tiny_model)
