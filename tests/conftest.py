"""Fixtures for every test: a home of its own, no hub, the starter and a tiny real model."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import keyring
import psutil
import pytest
from filelock import FileLock

from engine.models import starter
from engine.runs.directory.run import Run
from engine.secrets import passphrase
from tests.hub_uploads import UploadHub, uploads
from tests.keyrings import MemoryKeyring
from tests.run_fixtures import make_run
from tests.tiny import make_tiny_model

# A shell without job control starts background commands deaf to ctrl-c, and their children inherit it; the tests
# that press ctrl-c must not depend on how the test run was started.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def ft_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """FT_HOME in a folder of this test alone; nothing may reach the hub, and no engine outlives the test."""
    home = tmp_path / "ft-home"
    monkeypatch.setenv("FT_HOME", str(home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    monkeypatch.delenv(passphrase.VARIABLE, raising=False)
    yield home
    passphrase.ask_with(None)
    passphrase.remember(None)
    if (home / "runs").is_dir():
        kill_engines(home)


@pytest.fixture(autouse=True)
def left_as_it_was() -> Iterator[None]:
    """Fail a test that leaves this process on fewer cores, or a thread that may put it there in a later test."""
    if sys.platform != "linux":
        yield
        return
    before = os.sched_getaffinity(0)
    yield
    watching = [thread.name for thread in threading.enumerate() if thread.name == "CPU sharing"]
    after = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before)
    assert (after, watching) == (before, [])


def kill_engines(home: Path) -> None:
    """Kill what a failed test left training in that FT_HOME: it would slow every later test."""
    for process in psutil.process_iter(["cmdline"]):
        if any(str(home) in word for word in process.info["cmdline"] or ()):
            with suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


@pytest.fixture(scope="session")
def starter_home(pytestconfig: pytest.Config) -> Path:
    """An FT_HOME that holds the converted starter; it outlives the test run, and workers share it."""
    assert pytestconfig.cache is not None
    home = pytestconfig.cache.mkdir("ft-starter")
    with FileLock(home / "lock"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("FT_HOME", str(home))
        starter.ensure()
    return home


@pytest.fixture(scope="session")
def starter_model(starter_home: Path) -> Path:
    """The converted starter's folder. Read only: it is shared."""
    return starter_home / "models" / starter.NAME


@pytest.fixture
def ft_home_with_starter(ft_home: Path, starter_model: Path) -> Path:
    """This test's FT_HOME, where the starter is ready (a link to the shared folder)."""
    (ft_home / "models").mkdir(parents=True)
    (ft_home / "models" / starter.NAME).symlink_to(starter_model)
    return ft_home


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real Llama of about 100k parameters in fp32, weights drawn with a fixed seed. Read only: it is shared."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny-model"))


@pytest.fixture
def memory_keyring() -> Iterator[MemoryKeyring]:
    """A keyring of this test's own, in the place of the system's."""
    system, own = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(own)
    yield own
    keyring.set_keyring(system)


@pytest.fixture
def upload_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[UploadHub]:
    """A hub that takes uploads, for every process of this test, and the token for it."""
    with uploads(UploadHub()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", hub.token)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
        yield hub


@pytest.fixture
def three_runs(ft_home: Path) -> list[Run]:
    return [
        make_run("20260103-000000-sql-new", steps=30, start_loss=2.0, lr=2e-4),
        make_run("20260102-000000-chat", steps=20),
        make_run("20260101-000000-sql-old", steps=10, start_loss=5.0),
    ]
