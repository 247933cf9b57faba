"""Rows from elsewhere: https addresses, hub datasets by the real client, Google Drive, other packages' sources."""

import ast
import gzip
import hashlib
import inspect
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import gdown
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import paths
from engine.config.load import load_text
from engine.config.sections import Source
from engine.data.prepare import prepare, sample
from engine.data.preview.previews import Previews
from engine.data.preview.values import View
from engine.data.sources import google_drive, layout
from engine.data.sources.resolve import away, find, open_source, resolve
from engine.errors import DataError, FtError, HubError, MachineError
from engine.planning.cached import CachedPlanner
from ft.cli import main
from tests.hub_server import COMMIT, Hub, use_hub
from tests.hub_server import serving as hub_serving
from tests.quiet_server import QuietServer
from tests.training import ROWS as CHATS
from tests.training import recipe_text


@dataclass
class Site:
    """A server of files on this machine: its files, its faults, and the requests that it got."""

    files: dict[str, bytes]
    types: dict[str, str] = field(default_factory=dict)
    etags: bool = True
    status: int = 0
    cut: tuple[int, int] = (0, 0)
    """Number of the answer that breaks off, from 1, and the bytes after which it does."""
    moved: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], int]] = field(default_factory=list)
    """Path, headers and status of each answer."""
    url: str = ""

    @property
    def sent(self) -> int:
        """Answers that carried a body."""
        return sum(status in (200, 206) for _, _, status in self.asked)


@contextmanager
def serving(site: Site) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            data = site.files.get(path, b"")
            etag = f'"{hashlib.sha256(data).hexdigest()[:8]}"'
            if path in site.moved:
                self.answer(302, {"Location": site.moved[path]})
            elif site.status or path not in site.files:
                self.answer(site.status or 404, {})
            elif site.etags and self.headers.get("If-None-Match") == etag:
                self.answer(304, {})
            else:
                start = int(self.headers.get("Range", "bytes=0-")[6:-1])
                start = start if self.headers.get("If-Range", etag) == etag else 0
                headers = {"Content-Length": str(len(data) - start), **({"ETag": etag} if site.etags else {})}
                headers |= {"Content-Type": site.types[path]} if path in site.types else {}
                if self.answer(206 if start else 200, headers) == site.cut[0]:
                    data = data[: start + site.cut[1]]
                self.wfile.write(data[start:])

        def answer(self, status: int, headers: dict[str, str]) -> int:
            """Send the head of an answer; returns which one it is, from 1."""
            site.asked.append((self.path, dict(self.headers), status))
            number = len(site.asked)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            return number

    server = QuietServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()


def lines(*values: str) -> bytes:
    return "".join(json.dumps({"text": value}) + "\n" for value in values).encode()


def texts(path: str, **more: Any) -> list[str]:
    source = Source(path=path, **more)
    config = load_text("model: {base: starter}\ndata: {train: starter}\n", Path("train.yml")).config
    return [columns["text"] for _, columns in open_source(source, config.data).table.rows()]


def notes(path: str, **more: Any) -> str:
    return "\n".join(find(Source(path=path, **more)).notes)


def test_web_file_is_refetched_when_changed() -> None:
    """Else it is fetched once."""
    with serving(Site({"/a/rows.jsonl": lines("one")})) as site:
        url = f"{site.url}/a/rows.jsonl"
        assert f"sha256 {hashlib.sha256(lines('one')).hexdigest()}" in notes(url)
        sent = site.sent
        assert texts(url) == ["one"]
        assert site.sent == sent, "it was sent again"
        assert find(Source(path=url)).files[0].name == url
        site.files["/a/rows.jsonl"] = lines("two", "three")
        assert texts(url) == ["two", "three"]
    assert texts(url) == ["two", "three"]
    assert "cannot be reached" in notes(url)
    assert f"sha256 {hashlib.sha256(lines('two', 'three')).hexdigest()}" in notes(url)


def test_preparing_recipe_asks_server_once(tiny_model: Path) -> None:
    with serving(Site({"/rows.jsonl": lines(*"abcdefgh")})) as site:
        text = f"model: {{base: {tiny_model}}}\ndata: {{train: '{site.url}/rows.jsonl', validation: 0}}\n"
        config = load_text(text, Path("train.yml")).config
        prepare(config, tiny_model)
        asked = len(site.asked)
        prepare(config, tiny_model, lint=True)
        assert len(site.asked) == asked + 1
        sources = resolve(config.data)
        prepare(config, tiny_model, sources=sources)
        sample(config, tiny_model, sources=sources)
        assert len(site.asked) == asked + 2


def test_previews_rarely_ask_server_again(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Site({"/rows.jsonl": lines("one", "two")})) as site:
        url, view, previews = f"{site.url}/rows.jsonl", View(model=str(tiny_model)), Previews()
        assert previews.wait_for(url, 1, view)
        asked = len(site.asked)
        assert [row.problem for row in previews.show(url, [0, 1], view)] == ["", ""]
        assert len(site.asked) == asked
        monkeypatch.setattr("engine.data.sources.resolve.RECHECK_S", -1.0)
        previews.show(url, [0], view)
        assert len(site.asked) == asked + 1


def test_broken_download_resumes_and_is_never_partial() -> None:
    body = lines(*(f"row {n}" for n in range(5000)))
    with serving(Site({"/rows.jsonl": body}, cut=(2, 50_000))) as site:
        assert len(texts(f"{site.url}/rows.jsonl")) == 5000
        assert [status for *_, status in site.asked] == [200, 200, 206]


@pytest.mark.parametrize(
    ("path", "content", "body", "wanted"),
    [
        ("/download?file=x", "text/csv; charset=utf-8", b"text\none\n", ["one"]),
        ("/page", "text/html", b"<html><body><article><p>one</p></article></body></html>", ["one"]),
        ("/rows.jsonl.gz?token=secret", "application/gzip", gzip.compress(lines("one"), mtime=0), ["one"]),
    ],
)
def test_file_format_comes_from_name_or_server(
    path: str, content: str, body: bytes, wanted: list[str]
) -> None:
    bare = path.partition("?")[0]
    with serving(Site({bare: body}, {bare: content})) as site:
        assert texts(site.url + path) == wanted
        found = find(Source(path=site.url + path))
        assert found.files[0].name == site.url + bare
    kept = [file.read_bytes() for file in (paths.cache() / "sources").rglob("*") if file.is_file()]
    assert not any(b"secret" in data for data in kept)


def test_refused_web_download_is_explained() -> None:
    with serving(Site({"/x.jsonl": lines("x"), "/what": b"x"})) as site:
        with pytest.raises(DataError, match="answers 404"):
            texts(f"{site.url}/no.jsonl")
        with pytest.raises(DataError, match="neither its name nor the server says"):
            texts(f"{site.url}/what")
        site.moved["/moved.jsonl"] = "http://example.org/x.jsonl"
        with pytest.raises(FtError):
            texts(f"{site.url}/moved.jsonl")
        texts(f"{site.url}/x.jsonl")
        site.status = 503
        assert "answers 503; the cached copy is used" in notes(f"{site.url}/x.jsonl")
    with pytest.raises(DataError, match="http:// is not read"):
        texts("http://example.org/rows.jsonl")
    with pytest.raises(DataError, match=r"addresses of ftp:// are not read"):
        texts("ftp://example.org/rows.jsonl")
    with pytest.raises(DataError, match="not cached here"):
        texts("http://127.0.0.1:9/rows.jsonl")


def test_plan_while_typing_downloads_nothing(folder: Path, tiny_model: Path) -> None:
    with serving(Site({"/rows.jsonl": lines(*"abc")})) as site:
        url = f"{site.url}/rows.jsonl"
        text = f"model: {{base: {tiny_model}}}\ndata: {{train: {url}, validation: 0}}\n"
        with pytest.raises(DataError, match="not on this machine yet"):
            CachedPlanner().plan(text, folder / "train.yml")
        assert not site.asked
        texts(url)
        assert CachedPlanner().plan(text, folder / "train.yml").steps


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A dataset of two configurations that its README declares, with a test split in one of them."""
    root = tmp_path / "repo"
    for name in ("en/train-0", "en/train-1", "en/test-0", "de/train-0"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"text": [name]}), root / f"{name}.parquet")
    (root / "README.md").write_text(
        "---\nconfigs:\n- config_name: en\n  data_files:\n  - {split: train, path: en/train-*}\n"
        "  - {split: test, path: [en/test-0.parquet]}\n"
        "- config_name: de\n  data_files: de/*.parquet\n---\n# Rows\n"
    )
    with hub_serving(Hub("ada/rows", root, kind="datasets")) as running:
        use_hub(running.url, tmp_path, monkeypatch)
        yield running


ROWS = "hf://datasets/ada/rows"


def test_hub_dataset_gives_config_and_split_rows(hub: Hub) -> None:
    assert texts(ROWS, config="en") == ["en/train-0", "en/train-1"]
    assert texts(ROWS, config="en", split="test") == ["en/test-0"]
    assert texts(ROWS, config="de") == ["de/train-0"]
    found = find(Source(path=ROWS, config="en"))
    assert found.files[1].name == "ada/rows/en/train-1.parquet"
    assert COMMIT[:12] in found.notes[0]
    got = [path for path in hub.paths("GET") if path.endswith(".parquet")]
    assert len(got) == len(set(got)) == 4, "each file is fetched once"
    with pytest.raises(DataError, match="has several configurations") as refused:
        texts(ROWS)
    assert "de, en" in refused.value.hint
    with pytest.raises(DataError, match="has no split dev") as refused:
        texts(ROWS, config="en", split="dev")
    assert "test, train" in refused.value.hint


def test_offline_run_uses_downloaded_dataset(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run says so."""
    source = Source(path=ROWS, config="de")
    assert away(source)
    assert texts(ROWS, config="de") == ["de/train-0"]
    assert not away(source)
    use_hub("http://127.0.0.1:9", tmp_path, monkeypatch)
    assert texts(ROWS, config="de") == ["de/train-0"]
    assert "the hub cannot be reached; what is cached is used" in notes(ROWS, config="de")
    with pytest.raises(HubError, match="cannot be reached"):
        texts(ROWS, config="en")


def test_refused_hub_dataset_is_explained(hub: Hub) -> None:
    with pytest.raises(HubError, match="There is no dataset ada/other"):
        texts("hf://datasets/ada/other")
    hub.gated = True
    with pytest.raises(HubError, match="gated") as refused:
        texts(ROWS, config="en")
    assert "huggingface.co/datasets/ada/rows" in refused.value.hint


def test_owner_and_name_mean_hub_dataset(folder: Path) -> None:
    """A local folder of that name comes first."""

    def train(source: str) -> object:
        return load_text(
            f"model: {{base: x}}\ndata: {{train: {source}}}\n", folder / "train.yml"
        ).config.data.train

    assert train("ada/rows") == ROWS
    assert train("{path: ada/rows-v1.5, split: test}") == Source(path=ROWS + "-v1.5", split="test")
    assert train("data/rows.jsonl") == str(folder / "data/rows.jsonl")
    (folder / "ada").mkdir()
    assert train("ada/rows") == str(folder / "ada/rows")


NAMES = [
    "train.csv",
    "data/test-00000-of-00001.parquet",
    "data/train-00000-of-00001.parquet",
    "README.md",
    "dev.jsonl",
]


@pytest.mark.parametrize(
    ("names", "split", "chosen"),
    [
        (NAMES, None, ["data/train-00000-of-00001.parquet"]),
        (NAMES, "test", ["data/test-00000-of-00001.parquet"]),
        (NAMES, "validation", ["dev.jsonl"]),
        (["b.jsonl", "a.jsonl", "dataset_infos.json"], None, ["a.jsonl", "b.jsonl"]),
        (["trainer_notes.jsonl"], None, ["trainer_notes.jsonl"]),
        (["x/train/1.json", "x/train/0.json.gz"], None, ["x/train/0.json.gz", "x/train/1.json"]),
        (
            ["../train.jsonl", "/etc/train.jsonl", "a\\..\\train.jsonl", "ok/train.jsonl"],
            None,
            ["ok/train.jsonl"],
        ),
    ],
)
def test_undeclared_dataset_files_are_chosen_by_name(
    names: list[str], split: str | None, chosen: list[str]
) -> None:
    assert list(layout.choose(names, "", None, split, "x/y").names) == chosen


def test_gdown_takes_our_download_arguments() -> None:
    parameters = inspect.signature(gdown.download).parameters
    assert {"id", "output", *google_drive.OPTIONS} <= set(parameters)
    source = inspect.getsource(sys.modules["gdown.download"])
    assert "class DownloadError" in inspect.getsource(sys.modules["gdown.exceptions"])
    assert 'output.endswith(("/"' in source, "an output that ends in a slash is a folder"
    assert ast.parse(source)


def test_google_drive_file_is_fetched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(id: str, output: str, **options: Any) -> str:  # noqa: A002 - gdown's own name
        asked.append((id, options))
        path = Path(output) / "chats.jsonl"
        path.write_bytes(lines("from drive"))
        return str(path)

    monkeypatch.setattr(gdown, "download", download)
    assert away(Source(path="gdrive:1A2b3C4d5E6f7"))
    for _ in range(2):
        assert texts("gdrive:1A2b3C4d5E6f7") == ["from drive"]
    assert asked == [("1A2b3C4d5E6f7", google_drive.OPTIONS)]
    assert find(Source(path="gdrive:1A2b3C4d5E6f7")).files[0].name == "chats.jsonl"
    with pytest.raises(DataError, match="is not the id of a Google Drive file"):
        texts("gdrive:../../etc")


def test_missing_gdown_error_says_how_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gdown", None)
    with pytest.raises(MachineError, match="needs the package gdown") as refused:
        texts("gdrive:1A2b3C4d5E6f7")
    assert "ft-studio[gdrive]" in refused.value.hint


RUN = "import sys; from ft.cli import main; sys.exit(main(sys.argv[1:]))"
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "ft-lake"
version = "1.0"
[project.entry-points."ft.sources"]
lake = "ft_lake:fetch"
dry = "ft_lake:nothing"
[tool.setuptools]
py-modules = ["ft_lake"]
"""
MODULE = """
def fetch(source, folder):
    path = folder / "rows.jsonl"
    path.write_text('{"text": "%s"}\\n' % source)
    return path
"""
USE = """
from pathlib import Path
from engine.config.load import load_text
from engine.data.sources.resolve import resolve
from engine.errors import FtError
for name in ("lake:deep/water", "dry:x"):
    config = load_text(f"model: {{base: x}}\\ndata: {{train: '{name}'}}\\n", Path("train.yml")).config
    try:
        print([columns for _, columns in resolve(config.data).training()[0].table.rows()])
    except FtError as error:
        print(error.message, error.hint)
"""


def test_plugin_adds_source(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "ft_lake.py").write_text(MODULE)
    target = tmp_path / "packages"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*pip, "--target", str(target), str(tmp_path)], check=True)
    code = f"import sys; sys.path.append({str(target)!r})\n{USE}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    first, second = done.stdout.splitlines()
    assert first == "[{'text': 'lake:deep/water'}]", done.stderr
    assert second.startswith("source: dry does not load")
    assert "Install the package ft-lake again" in second


@pytest.mark.slow
def test_run_downloads_its_rows_and_says_so(folder: Path, tiny_model: Path) -> None:
    body = "".join(json.dumps(row) + "\n" for row in CHATS).encode()
    with serving(Site({"/rows.jsonl": body})) as site:
        url = f"{site.url}/rows.jsonl"
        (folder / "train.yml").write_text(recipe_text(tiny_model, url, training={"max_steps": 1}))
        command = [sys.executable, "-c", RUN, "train", "--plain", "--run-dir", str(folder / "run")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert site.sent == 2, "once to see what it is, once to take it"
    events = (folder / "run" / "events.jsonl").read_text()
    assert f"{url}: fetched, {len(body):,} bytes" in events
    assert f"{url}: chat, because its rows have" in events


def test_plan_and_preview_mention_pending_download(
    hub: Hub, folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = f"{{path: {ROWS}, config: en}}"
    for name in ("en/train-0", "en/train-1"):
        pq.write_table(
            pa.table({"text": [f"{name} {n}" for n in range(3000)]}), hub.folder / f"{name}.parquet"
        )
    (folder / "train.yml").write_text(
        f"model: {{base: {tiny_model}}}\ndata: {{train: {source}, validation: 0}}\n"
    )
    assert main(["plan"]) == 0
    size = sum((hub.folder / f"en/train-{n}.parquet").stat().st_size for n in (0, 1))
    told = capsys.readouterr()
    assert f"loading {size}/{size}: downloading ada/rows" in told.err
    assert len(told.err.splitlines()) <= 12, "a line for each tenth at most"
    assert "loading" not in told.out
    assert main(["plan"]) == 0
    assert "loading" not in capsys.readouterr().err, "nothing is fetched again"
    for words in (["data", "sample"], ["data", "check"], ["data", "preview"], ["data", "stats"]):
        shutil.rmtree(hub.folder.parent / "hub-cache")
        assert main(words) == 0
        assert "downloading ada/rows" in capsys.readouterr().err
