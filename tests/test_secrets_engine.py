"""A token on its way into the engine: it arrives, and nothing on the way shows it."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import keyring
import psutil
import pytest

from engine import secrets
from engine.config.load import load_text
from engine.data.types import Message
from engine.errors import HubError, MachineError
from engine.process import launcher
from engine.runs.directory.create import create_run
from engine.runs.directory.run import Run
from engine.service.client import Client
from tests.keyrings import LockedKeyring, MemoryKeyring
from tests.terminal import Terminal

TOKEN = "hf_notARealOne0123456789"
RECIPE = "name: gated\nmodel: {base: someone/gated}\ndata: {train: starter}\n"

pytestmark = pytest.mark.slow


class GatedHub(ThreadingHTTPServer):
    """Keeps the engine's first question waiting until it was looked at, then refuses it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), GatedHandler)
        self.asked, self.looked_at = threading.Event(), threading.Event()
        self.authorization: str | None = None


class GatedHandler(BaseHTTPRequestHandler):
    server: GatedHub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.server.authorization = self.headers.get("authorization")
        self.server.asked.set()
        self.server.looked_at.wait(30)
        self.send_response(403)
        self.send_header("X-Error-Code", "GatedRepo")
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[GatedHub]:
    """A hub that every engine of this test calls; this process has no token in its environment."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    server = GatedHub()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.looked_at.set()
    server.shutdown()
    thread.join()
    server.server_close()


def new_run(tmp_path: Path) -> Run:
    return create_run(load_text(RECIPE, tmp_path / "train.yml"))


def shown_by(pid: int) -> bytes:
    """Environment and command line of a process and all its children, which any tool of the same user can read."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return b"".join(
        Path(f"/proc/{one.pid}/{name}").read_bytes() for one in processes for name in ("environ", "cmdline")
    )


def written_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
@pytest.mark.parametrize("place", ["keyring", "environment"])
def test_engine_token_is_hidden_from_others(
    place: str,
    hub: GatedHub,
    memory_keyring: MemoryKeyring,
    ft_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if place == "keyring":
        secrets.set("HF_TOKEN", TOKEN)
    else:
        monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", TOKEN)
    run = new_run(tmp_path)
    engine = launcher.start(run)
    assert hub.asked.wait(30)
    seen = shown_by(engine.supervisor.pid)
    hub.looked_at.set()
    engine.supervisor.wait(timeout=30)
    assert hub.authorization == f"Bearer {TOKEN}"
    assert b"engine.process.worker" in seen
    assert TOKEN.encode() not in seen
    assert b"is gated" in written_below(run.folder)
    assert TOKEN.encode() not in written_below(ft_home)


def test_engine_outlives_its_killed_parent(
    hub: GatedHub, memory_keyring: MemoryKeyring, tmp_path: Path
) -> None:
    run = new_run(tmp_path)
    child = os.fork()
    if child == 0:  # the app, which is killed as soon as the engine runs
        launcher.start(run)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert hub.asked.wait(30)
    assert run.alive()
    hub.looked_at.set()
    deadline = time.monotonic() + 30
    while run.alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert run.state().status == "failed"


def test_run_needing_locked_token_does_not_start(
    memory_keyring: MemoryKeyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    secrets.set("HF_TOKEN", TOKEN)
    keyring.set_keyring(LockedKeyring())
    run = new_run(tmp_path)
    with pytest.raises(MachineError, match="locked"):
        launcher.start(run)
    assert not run.alive()


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
def test_service_does_not_show_the_token(
    memory_keyring: MemoryKeyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    log = tmp_path / "service.log"
    with Client(log):
        # another test's child that has just ended has no command line
        others = (one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE)
        [child] = [one for one in others if "engine.service.server" in one.cmdline()]
        assert TOKEN.encode() not in shown_by(child.pid)
    assert TOKEN.encode() not in log.read_bytes()


def test_token_set_later_reaches_the_service(
    hub: GatedHub, memory_keyring: MemoryKeyring, tmp_path: Path
) -> None:
    hub.looked_at.set()
    run = new_run(tmp_path)
    with Client(tmp_path / "service.log") as client:
        for token, seen in ((TOKEN, f"Bearer {TOKEN}"), (None, None)):
            if token is None:
                secrets.forget("HF_TOKEN")
            else:
                secrets.set("HF_TOKEN", token)
            client.renew("HF_TOKEN")
            with pytest.raises(HubError, match="gated"):
                list(client.generate(run, [Message("user", "hello")], base=True))
            assert hub.authorization == seen


def test_token_typed_at_prompt_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "tests.keyrings.MemoryKeyring")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    terminal = Terminal("secrets", "set", "HF_TOKEN")
    terminal.wait_for("(not shown)")
    terminal.press(TOKEN.encode() + b"\n")
    terminal.wait_for("HF_TOKEN is in the keyring")
    assert terminal.end() == 0
    assert TOKEN not in terminal.shown
