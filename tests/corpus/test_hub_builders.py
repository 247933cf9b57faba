"""Datasets of the hub, and files like theirs, that need more than a reader: archives, settings, scripts, streams."""

import gzip
import io
import json
import socket
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import paths
from engine.config.load import load_text
from engine.config.problems import RecipeError
from engine.config.schema import TrainConfig
from engine.config.sections import Source
from engine.data.readers.random_access import open_rows
from engine.data.sources import datasets_builders, file_cache
from engine.data.sources.resolve import away, find, open_source, resolve
from engine.errors import DataError, HubError, MachineError
from tests.hub_server import PARQUET, Hub, serving, use_hub

HUB = "hf://datasets/ada/rows"


@pytest.fixture(autouse=True)
def no_connection_that_the_garbage_collector_would_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing one takes the lock of the pool of connections; where the collector runs under it, that never ends."""

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a stream is opened, which is closed by nobody")

    monkeypatch.setattr(huggingface_hub.hf_file_system.HfFileSystemStreamFile, "__init__", refused)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A dataset of the hub without a file in it."""
    (tmp_path / "repo").mkdir()
    with serving(Hub("ada/rows", tmp_path / "repo", kind="datasets")) as running:
        use_hub(running.url, tmp_path, monkeypatch)
        yield running


def rows(path: Path | str, **keys: Any) -> list[tuple[str, dict[str, Any]]]:
    data = TrainConfig.model_validate({"model": {"base": "starter"}, "data": {"train": "starter"}}).data
    return list(open_source(Source(path=str(path), **keys), data).table.rows())


def notes(path: str, **keys: Any) -> str:
    return "\n".join(find(Source(path=path, **keys)).notes)


def archive(path: Path, samples: list[dict[str, bytes]]) -> Path:
    """A WebDataset: files of one name are a row, each under its ending."""
    with tarfile.open(path, "w") as out:
        for number, sample in enumerate(samples):
            for ending, data in sample.items():
                member = tarfile.TarInfo(f"{number:04}.{ending}")
                member.size = len(data)
                out.addfile(member, io.BytesIO(data))
    return path


def chat(number: int, **more: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": f"a{number}"} | more]
    }


CHATS = [chat(number, **({"weight": 0} if number == 7 else {})) for number in range(9)]


def test_json_archive_rows_keep_all_keys(tmp_path: Path) -> None:
    path = archive(tmp_path / "a[1].tar", [{"json": json.dumps(row).encode()} for row in CHATS])
    found = rows(path)
    assert [columns["json"] for _, columns in found] == CHATS, (
        "the seventh has a key that the first five have not"
    )
    assert found[7][0] == f"{path} row 8"
    shown = open_rows(find(Source(path=str(path))).files[0].path, path.name, ".rows")
    while shown.counting is not None:
        time.sleep(0.01)
    assert shown.read(7)[0] == f"{path.name} row 8"


def test_archive_rows_match_datasets(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", [{"txt": f"é {n}".encode(), "cls": b"%d" % n} for n in range(3)])
    theirs = datasets.load_dataset(
        "webdataset", data_files=str(path), split="train", streaming=True, cache_dir=str(tmp_path / "cache")
    )
    assert [columns for _, columns in rows(path)] == [
        {name: value for name, value in row.items() if name != "__url__"} for row in theirs
    ]


def test_archive_with_images_is_refused_by_name(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", [{"jpg": b"\xff\xd8", "txt": b"a cat"}])
    with pytest.raises(DataError, match=r"a.tar: holds `.jpg` files, which are not text"):
        rows(path)


def test_late_archive_column_is_not_lost(tmp_path: Path) -> None:
    """Only later rows of the archive have a file for it."""
    samples = [{"txt": b"row %d" % number} | ({"json": b"[1]"} if number > 6 else {}) for number in range(9)]
    found = [columns for _, columns in rows(archive(tmp_path / "a.tar", samples))]
    assert [columns["json"] for columns in found] == [None] * 7 + [[1], [1]]


def test_truncated_archive_names_row(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", [{"txt": bytes(3000)}, {"json": b"{}"}, {"json": b"{not json"}])
    with pytest.raises(DataError, match=r"a.tar: .*`datasets` does not read it"):
        rows(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match=r"a.tar: .*`datasets` does not read it"):
        rows(path)
    assert not list((paths.cache() / "sources").glob("*.rows"))


def test_xml_file_is_one_row(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<a>hi</a>\n")
    assert rows(tmp_path / "a.xml") == [(f"{tmp_path / 'a.xml'} row 1", {"xml": "<a>hi</a>\n"})]


@pytest.mark.parametrize(("name", "what"), [("a.jpg", "pictures"), ("a.pkl", "pickles"), ("a.h5", "HDF5")])
def test_files_without_rows_are_refused_by_kind(name: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(b"x")
    for path in (tmp_path / "data", tmp_path / "data" / name):
        with pytest.raises(DataError, match=what):
            rows(path)


def test_archive_reads_offline_into_own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError("a connection is opened")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "elsewhere")
    assert len(rows(archive(tmp_path / "a.tar", [{"txt": b"a"}]))) == 1
    assert not (tmp_path / "elsewhere").exists()
    assert {each.suffix for each in (paths.cache() / "sources").iterdir()} <= {".rows", ".about", ".lock"}


SETTINGS = """---
configs:
- config_name: bar
  data_files: {path}
  {settings}
---
"""


@pytest.mark.parametrize(
    ("name", "body", "settings", "wanted"),
    [
        ("a.csv", "q|a\nx, y|z\n", 'sep: "|"', [{"q": "x, y", "a": "z"}]),
        ("a.csv", "x,y\nz,w\n", "names: [q, a]", [{"q": "x", "a": "y"}, {"q": "z", "a": "w"}]),
        ("a.csv", "text\ncafé\n", "encoding: latin-1", [{"text": "café"}]),
        (
            "a.json",
            '{"v": [1], "rows": [{"text": "a"}, {"text": "b"}]}',
            "field: rows",
            [{"text": "a"}, {"text": "b"}],
        ),
    ],
)
def test_readme_settings_apply_to_source_files(
    name: str, body: str, settings: str, wanted: list[dict[str, Any]], tmp_path: Path, hub: Hub
) -> None:
    for folder in (hub.folder, tmp_path / "clone"):
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(body.encode("latin-1"))
        (folder / "README.md").write_text(SETTINGS.format(path=name, settings=settings))
    (folder / "script.py").write_text("raise SystemExit")
    theirs = datasets.load_dataset(str(tmp_path / "clone"), split="train", cache_dir=str(tmp_path / "cache"))
    found = rows(HUB)
    assert [columns for _, columns in found] == [columns for _, columns in rows(tmp_path / "clone")] == wanted
    assert wanted == theirs.to_list()
    assert found[0][0] == f"ada/rows/{name} row 1"


def test_readme_chooses_parquet_columns(hub: Hub) -> None:
    pq.write_table(pa.table({"text": ["a"], "id": [1]}), hub.folder / "a.parquet")
    (hub.folder / "README.md").write_text(SETTINGS.format(path="a.parquet", settings="columns: [text]"))
    assert rows(HUB) == [("ada/rows/a.parquet row 1", {"text": "a"})]


def test_csv_values_stay_text(hub: Hub) -> None:
    (hub.folder / "a.csv").write_text("q|a\n007|None\n1e5|\nNA|2024-01-01 10:00:00\n")
    (hub.folder / "README.md").write_text(SETTINGS.format(path="a.csv", settings='sep: "|"'))
    wanted = [("007", "None"), ("1e5", ""), ("NA", "2024-01-01 10:00:00")]
    assert [(columns["q"], columns["a"]) for _, columns in rows(HUB)] == wanted
    assert [(columns["q"], columns["a"]) for _, columns in rows(HUB, streaming=True, max_samples=3)] == wanted


def test_missing_json_field_is_reported(hub: Hub) -> None:
    (hub.folder / "a.json").write_text('{"rows": [{"text": "a"}], "other": 1}')
    (hub.folder / "README.md").write_text(SETTINGS.format(path="a.json", settings="field: row"))
    with pytest.raises(DataError, match=r"ada/rows/a.json: holds no rows under `row`"):
        rows(HUB)


def test_readme_settings_apply_offline(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (hub.folder / "a.csv").write_text("q|a\nx|y\n")
    (hub.folder / "README.md").write_text(SETTINGS.format(path="a.csv", settings='sep: "|"'))
    assert rows(HUB)[0][1] == {"q": "x", "a": "y"}
    use_hub("http://127.0.0.1:9", tmp_path, monkeypatch)
    assert rows(HUB)[0][1] == {"q": "x", "a": "y"}


def test_dataset_script_points_to_hub_parquet(hub: Hub, tmp_path: Path) -> None:
    """The script is not run."""
    (hub.folder / "rows.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(
        DataError, match=r"ada/rows: is a script, rows.py, and no code of a dataset is run"
    ) as refused:
        rows(HUB)
    assert "The hub has no Parquet of it" in refused.value.hint
    hub.converted = tmp_path / "converted"
    for config, split, text in (("en", "train", "one"), ("en", "test", "two"), ("de", "train", "drei")):
        (hub.converted / config / split).mkdir(parents=True)
        pq.write_table(pa.table({"text": [text]}), hub.converted / config / split / "0000.parquet")
    with pytest.raises(DataError) as refused:
        rows(HUB)
    assert f"add `revision: {PARQUET}`" in refused.value.hint
    assert rows(HUB, revision=PARQUET, config="en") == [
        ("ada/rows/en/train/0000.parquet row 1", {"text": "one"})
    ]
    assert rows(f"{HUB}@{PARQUET}", config="de")[0][1] == {"text": "drei"}
    with pytest.raises(DataError, match="has several configurations"):
        rows(HUB, revision=PARQUET)
    assert not (tmp_path / "ran").exists()


def test_files_beside_dataset_script_are_read(hub: Hub) -> None:
    """A note says so."""
    (hub.folder / "rows.py").write_text("raise SystemExit")
    (hub.folder / "train.jsonl").write_text('{"text": "a"}\n')
    assert rows(HUB)[0][1] == {"text": "a"}
    assert "ada/rows: its script rows.py is not run; its files are read as they are" in notes(HUB)


def test_named_dataset_file_is_always_read(hub: Hub) -> None:
    """Whatever split its name speaks of."""
    for split in ("train", "test"):
        (hub.folder / f"{split}.jsonl").write_text(json.dumps({"text": split}) + "\n")
    assert rows(f"{HUB}/test.jsonl") == [("ada/rows/test.jsonl:1", {"text": "test"})]
    assert [columns["text"] for _, columns in rows(HUB)] == ["train"]
    assert "ada/rows: the files of split train are used, not: test (test.jsonl)" in notes(HUB)


def test_validation_source_uses_hub_validation_split(hub: Hub, tmp_path: Path) -> None:
    for split in ("train", "dev"):
        (hub.folder / f"{split}.jsonl").write_text(json.dumps({"text": split}) + "\n")
    text = f"model: {{base: x}}\ndata: {{train: {HUB}, validation: {HUB}}}\n"
    data = load_text(text, tmp_path / "train.yml").config.data
    assert [path.name for path in resolve(data).paths] == ["train.jsonl", "dev.jsonl"]


def test_image_dataset_is_refused_by_name(hub: Hub) -> None:
    for number in range(3):
        (hub.folder / f"{number}.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"ada/rows: holds pictures \(.png\), which ft does not train"):
        rows(HUB)


def test_hub_archives_are_read_beside_json_table(hub: Hub) -> None:
    for number in range(2):
        archive(hub.folder / f"train-{number}.tar", [{"txt": b"row %d" % number}])
    (hub.folder / "info.json").write_text('[{"shards": 2}]')
    found = rows(HUB)
    assert [columns["txt"] for _, columns in found] == ["row 0", "row 1"]
    assert found[1][0] == "ada/rows/train-1.tar row 1"


def test_dataset_larger_than_disk_can_stream(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    (hub.folder / "train.jsonl").write_text('{"text": "a"}\n')
    monkeypatch.setattr(file_cache, "RESERVE", 1 << 60)
    with pytest.raises(MachineError, match="MB free") as refused:
        rows(HUB)
    assert "streaming: true and max_samples" in refused.value.hint


def many(folder: Path, kind: str, count: int = 5000) -> None:
    """Two files of many rows each."""
    for number in range(2):
        texts = [f"file {number} row {n}" for n in range(count)]
        path = folder / f"train-{number}{kind}"
        if kind == ".parquet":
            features = datasets.Features(
                {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
            )
            table = pa.table({"text": texts, "label": [1] * count}, schema=features.arrow_schema)
            pq.write_table(table, path, row_group_size=1000, compression="none", use_dictionary=False)
        elif kind.startswith((".csv", ".json.")) or kind == ".json":
            lines = ["text", *texts] if ".csv" in kind else [json.dumps([{"text": text} for text in texts])]
            path.write_bytes(packed("\n".join(lines).encode(), kind))
        elif kind == ".tar":
            archive(path, [{"txt": text.encode()} for text in texts[:200]])  # each is fetched whole
        else:
            body = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
            path.write_bytes(packed(body, kind))


def packed(body: bytes, kind: str) -> bytes:
    if kind.endswith(".gz"):
        return gzip.compress(body, mtime=0, compresslevel=0)
    return bytes(pa.Codec("zstd").compress(body, asbytes=True)) if kind.endswith(".zst") else body


@pytest.mark.parametrize(
    "kind", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet", ".csv", ".csv.gz", ".json", ".json.gz", ".tar"]
)
def test_first_rows_of_dataset_are_streamed(kind: str, hub: Hub) -> None:
    many(hub.folder, kind)
    found = rows(HUB, streaming=True, max_samples=70)
    column = "txt" if kind == ".tar" else "text"
    assert [columns[column] for _, columns in found] == [f"file 0 row {n}" for n in range(70)]
    unit = ":" if "jsonl" in kind else " row "
    assert found[69][0] == f"ada/rows/train-0{kind}{unit}70"
    if kind == ".parquet":
        assert found[0][1]["label"] == "good"
    assert not any(path.endswith(f"/train-1{kind}") for path in hub.paths("GET")), (
        "a file that was not needed"
    )
    assert "ada/rows: the first 70 rows of 2 files" in notes(HUB, streaming=True, max_samples=70)


def test_streamed_rows_continue_in_next_file(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streamed rows are cached."""
    many(hub.folder, ".jsonl", 50)
    keys = {"streaming": True, "max_samples": 60}
    assert away(Source(path=HUB, **keys))
    found = rows(HUB, **keys)
    assert [where for where, _ in found[49:51]] == ["ada/rows/train-0.jsonl:50", "ada/rows/train-1.jsonl:1"]
    assert len(found) == 60
    assert not away(Source(path=HUB, **keys))
    sent = hub.sent
    assert rows(HUB, **keys) == found
    assert hub.sent == sent, "it was sent again"
    use_hub("http://127.0.0.1:9", tmp_path, monkeypatch)
    assert rows(HUB, **keys) == found
    assert "what is cached is used" in notes(HUB, **keys)
    with pytest.raises(HubError, match="cannot be reached"):
        rows(HUB, streaming=True, max_samples=61)


@pytest.mark.parametrize("kind", [".jsonl", ".parquet"])
def test_refused_hub_stream_is_explained(kind: str, hub: Hub) -> None:
    many(hub.folder, kind, 10)
    hub.gated = True
    with pytest.raises(HubError, match="ada/rows is gated"):
        rows(HUB, streaming=True, max_samples=5)


def test_hub_that_goes_away_is_not_taken_for_a_damaged_file(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client reports that by errors of httpx, or of httpx2, as its release is."""
    many(hub.folder, ".parquet", 10)
    written = datasets_builders.written

    def away(*about: Any) -> Any:
        use_hub("http://127.0.0.1:9", tmp_path, monkeypatch)
        return written(*about)

    monkeypatch.setattr(datasets_builders, "written", away)
    with pytest.raises(HubError, match="hub cannot be reached for ada/rows"):
        rows(HUB, streaming=True, max_samples=5)


def test_streaming_needs_max_samples_and_hub_source(tmp_path: Path) -> None:
    text = "model: {base: x}\ndata: {train: {path: ada/rows, streaming: true}}\n"
    with pytest.raises(
        RecipeError, match=r"data.train.streaming: max_samples has to say how many rows are read"
    ):
        load_text(text, tmp_path / "train.yml")
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(DataError, match="streaming has no effect on this source"):
        rows(tmp_path / "rows.jsonl", streaming=True, max_samples=1)
