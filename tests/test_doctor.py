"""`ft doctor`: planted faults are found by name, each with what mends it, and a sound machine has none."""

import fcntl
import json
import os
import resource
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from engine import paths, secrets
from engine.doctor import access, environment, folders, machine, packages, terminal
from engine.doctor.examine import Report, examine
from engine.doctor.finding import Finding, ok
from engine.hardware.gpu import Gpu
from engine.hardware.probe import probe
from engine.models import hub
from tests.hub_server import Hub, serving
from tests.run_fixtures import make_run

GB = 1_000_000_000


def found(findings: Iterable[Finding], name: str, state: str = "fault") -> Finding:
    """The one finding of that name; it must say what mends it."""
    [one] = [one for one in findings if one.name == name]
    assert (one.state, one.fix != "") == (state, True), one
    return one


def problems(findings: Iterable[Finding]) -> list[str]:
    return [one.name for one in findings if one.state in ("warning", "fault")]


# The machine


@pytest.mark.parametrize(
    ("seen", "name", "state"),
    [
        (machine.Nvidia("570.86.10", None, None, 0), "torch-without-cuda", "fault"),
        (machine.Nvidia("470.57.02", "12.8", None, 1), "nvidia-driver", "fault"),
        (machine.Nvidia("570.86.10", "13.0", None, 1), "nvidia-driver", "fault"),
        (machine.Nvidia("570.86.10", "12.8", "-1", 0), "gpus-hidden", "warning"),
        (machine.Nvidia("570.86.10", "12.8", None, 0), "nvidia-library", "fault"),
    ],
)
def test_driver_and_torch_that_do_not_fit(seen: machine.Nvidia, name: str, state: str) -> None:
    found(machine.nvidia(seen), name, state)


def test_driver_and_torch_that_fit_are_no_problem() -> None:
    for seen in (machine.Nvidia("580.65.06", "13.0", None, 2), machine.Nvidia(None, "12.8", None, 0)):
        assert problems(machine.nvidia(seen)) == []


def test_memory_limit_of_a_container_is_told() -> None:
    here = replace(probe(), ram_bytes=8 * GB, available_bytes=GB)
    assert "the machine has 64.0 GB" in found(machine.memory(here, 64 * GB), "memory", "warning").text
    roomy = replace(here, ram_bytes=64 * GB, available_bytes=60 * GB)
    assert problems(machine.memory(roomy, 64 * GB)) == []


def test_gpus_are_listed() -> None:
    here = replace(probe(), gpus=(Gpu("NVIDIA RTX 4090", 24 * GB, 20 * GB, (8, 9)),), system="Darwin")
    assert "NVIDIA RTX 4090, 20.0 GB of 24.0 GB free" in [one.text for one in machine.findings(here)]


# Packages


def test_missing_and_old_packages() -> None:
    asked = [Requirement("numpy>=99"), Requirement("no-such-package>=1"), Requirement("pyyaml>=6")]
    old, missing = packages.needed(asked)
    assert "ft needs >=99" in old.text
    assert "pip install 'numpy>=99'" in old.fix
    assert "no-such-package is not installed" in missing.text


def test_this_environment_has_what_ft_needs() -> None:
    assert len(packages.requirements()) > 20
    assert problems(packages.needed(packages.requirements())) == []
    assert problems(packages.twice(sys.path)) == []
    assert problems(packages.shadowed(packages.IMPORTED)) == []


def test_package_installed_twice(tmp_path: Path) -> None:
    for version in ("1.0", "1.1"):
        (tmp_path / f"some_package-{version}.dist-info").mkdir()
    one = found(packages.twice([str(tmp_path), str(tmp_path)]), "installed-twice")
    assert "some-package is installed 2 times" in one.text


def test_file_in_the_way_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rouge_score.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "rouge_score", raising=False)  # an earlier test may have imported it
    assert str(tmp_path / "rouge_score.py") in found(packages.shadowed(["rouge_score"]), "shadowed").text


def test_another_ft_on_the_path(tmp_path: Path) -> None:
    other = tmp_path / "ft"
    other.write_text("#!/usr/bin/python3\n")
    other.chmod(0o755)
    found(packages.other_ft(str(tmp_path)), "another-ft", "warning")
    assert list(packages.other_ft(str(Path(sys.executable).parent))) == []


def test_no_backend_that_can_train() -> None:
    here = replace(probe(), packages={})
    found(packages.backends(here), "no-backend")


def test_other_versions_than_tested_are_told() -> None:
    known = json.loads(packages.KNOWN_GOOD.read_text())["versions"]
    assert [one.state for one in packages.known_set(known | {"torch": f"{known['torch']}+cu128"})] == ["ok"]
    [one] = packages.known_set(known | {"torch": "99.0"})
    assert (one.state, "torch 99.0" in one.text) == ("note", True)


def test_tested_set_names_what_ft_asks_for() -> None:
    known = json.loads(packages.KNOWN_GOOD.read_text())["versions"]
    assert {"torch", "transformers", "peft", "textual", "huggingface-hub"} <= set(known)


# Folders


def test_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    found(folders.folder("home", tmp_path / "home" / "deep", "FT_HOME", 0, ""), "home")


def test_home_that_cannot_be_written_to() -> None:
    found(folders.folder("home", Path("/proc/ft"), "FT_HOME", 0, ""), "home")


def test_full_disk(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    one = found(folders.folder("home", tmp_path, "FT_HOME", 2 * free, "ft storage"), "home", "warning")
    assert "ft storage" in one.fix
    assert problems(folders.folder("home", tmp_path / "new", "FT_HOME", free // 2, "")) == []


def test_file_system_whose_locks_do_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some network file systems are mounted: everybody gets the lock."""
    monkeypatch.setattr(fcntl, "flock", lambda handle, kind: None)
    found(folders.folder("home", tmp_path, "FT_HOME", 0, ""), "home-locks")


def test_hub_cache_is_where_the_client_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HOME", str(Path(constants.HF_HUB_CACHE).parent))
    assert hub.cache_place() == Path(constants.HF_HUB_CACHE)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert hub.cache_place() == tmp_path


def test_incomplete_model_and_damaged_run(ft_home: Path) -> None:
    (ft_home / "models" / "half").mkdir(parents=True)
    (ft_home / "models" / "half" / "config.json").write_text("{")
    run = make_run("20260101-000000-torn")
    (run.folder / "train.yml").write_text("model: [")
    assert "half" in found(folders.models(), "model-incomplete", "warning").text
    assert run.id in found(folders.runs(), "run-damaged", "warning").text


def test_profile_that_is_no_recipe(ft_home: Path) -> None:
    paths.profiles().mkdir(parents=True)
    (paths.profiles() / "mine.yml").write_text("training: {learning_rte: 1}")
    (paths.profiles() / "binary.yml").write_bytes(b"\xff\xfe")
    assert [one.name for one in folders.profiles()] == ["profile", "profile"]
    assert all(one.state == "fault" and one.fix for one in folders.profiles())


# Variables and limits


@pytest.mark.parametrize(
    ("variable", "value", "name", "state"),
    [
        ("OMP_NUM_THREADS", "many", "omp-threads", "fault"),
        ("OMP_NUM_THREADS", "0", "omp-threads", "fault"),
        ("HTTPS_PROXY", "htp://proxy:8080", "proxy", "fault"),
        ("all_proxy", "socks5://localhost:1080", "proxy-socks", "fault"),
        ("SSL_CERT_FILE", "/no/such/file.pem", "certificates", "fault"),
        ("HF_ENDPOINT", "hub.example.org", "endpoint", "fault"),
        ("HF_TOKEN", "hf_notARealOne0123456789\n", "token", "fault"),
        ("HUGGING_FACE_HUB_TOKEN", "'hf_notARealOne0123456789'", "token", "fault"),
        ("HF_TOKEN", "notARealOne0123456789", "token", "warning"),
        ("HF_HUB_OFFLINE", "1", "offline", "note"),
    ],
)
def test_variable_in_the_way(variable: str, value: str, name: str, state: str) -> None:
    assert "notARealOne" not in found(environment.findings({variable: value}), name, state).text


def test_socks_is_refused_as_the_client_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault that the finding tells of, as httpx has it."""
    import httpx

    monkeypatch.setenv("ALL_PROXY", "socks5://localhost:1080")
    with pytest.raises(ImportError, match="socksio"):
        httpx.Client()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores are counted otherwise")
def test_one_thread_of_several_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "usable_cores", lambda: 8)
    found(environment.threads({"OMP_NUM_THREADS": "1"}), "omp-threads", "warning")
    assert list(environment.threads({"OMP_NUM_THREADS": "8"})) == []


def test_limits_of_the_shell() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    size, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**9, most))
    try:
        seen = list(environment.limits())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
    assert "128 open files" in found(seen, "open-files").text
    assert "1.00 GB" in found(seen, "file-size").text


def test_ordinary_environment_has_no_problem() -> None:
    given = {"HTTPS_PROXY": "http://proxy:8080", "HF_ENDPOINT": "https://hub.example.org", "LANG": "C.UTF-8"}
    assert problems(environment.findings(given)) == []
    assert "user:pw" not in str(list(environment.proxies({"HTTP_PROXY": "http://user:pw@proxy:1"})))


# Terminal


def test_terminal_that_cannot_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((60, 20)))
    found(terminal.findings({"TERM": "dumb"}, tty=True), "terminal", "warning")
    small = list(terminal.findings({"TERM": "xterm-256color"}, tty=True))
    assert "60×20" in found(small, "terminal-size", "warning").text
    assert "256 colours" in small[-1].text


# Tokens and the hub


def test_system_without_keyring(ft_home: Path) -> None:
    import keyring
    from keyring.backends import fail

    before = keyring.get_keyring()
    keyring.set_keyring(fail.Keyring())
    try:
        found(access.keyring(), "keyring", "warning")
    finally:
        keyring.set_keyring(before)


def test_tokens_are_named_never_shown(ft_home: Path, memory_keyring: object) -> None:
    secrets.set("HF_TOKEN", "hf_notARealOne0123456789")
    texts = [one.text for one in access.keyring()]
    assert "HF_TOKEN (keyring)" in texts[-1]
    assert "notARealOne" not in str(texts)


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    return monkeypatch


@contextmanager
def refusing(status: int) -> Iterator[str]:
    """A server that answers everything with one status."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            self.send_response(status)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_hub_that_answers_and_one_that_does_not(tiny_model: Path, online: pytest.MonkeyPatch) -> None:
    with serving(Hub("acme/tiny", tiny_model)) as served:
        online.setenv("HF_ENDPOINT", served.url)
        assert [one.name for one in access.hub()][:1] == ["hub"]
        assert problems(access.hub()) == []
    assert "ConnectError" in found(access.hub(), "hub", "warning").text


def test_hub_that_never_answers_and_a_proxy_that_refuses(online: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        online.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "Timeout" in found(access.hub(), "hub", "warning").text
    with refusing(407) as url:
        online.setenv("HF_ENDPOINT", url)
        assert "answers 407" in found(access.hub(), "hub", "warning").text


def test_hub_is_not_asked_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert list(access.hub()) == []


def test_clock_that_is_wrong() -> None:
    now = time.time()
    found(access.clock(formatdate(now - 3600), now), "clock", "warning")
    assert list(access.clock(formatdate(now - 20), now)) == []
    assert list(access.clock("no date", now)) == []


# The whole


def test_check_that_breaks_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks() -> Iterator[Finding]:
        yield ok("first", "fine")
        raise OSError("a disk that is gone")

    monkeypatch.setattr(folders, "findings", breaks)
    report = examine()
    assert [one.name for one in report.areas["folders"]] == ["first", "check-broken"]
    assert "a disk that is gone" in found(report.areas["folders"], "check-broken").text
    assert len(report.areas["packages"]) > 3


def test_problems_come_faults_first() -> None:
    report = Report({"one": (Finding("a", "warning", ""), Finding("b", "fault", "")), "two": (ok("c", ""),)})
    assert [one.name for one in report.problems] == ["b", "a"]


def test_temporary_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/proc/no-folder")
    found(folders.findings(), "temporary")
