"""Tokens and passwords are in no file, no log, no message and no cache; a run goes on without them."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine import addresses, secrets
from engine.clean_logs import scrub
from engine.config.load import load_text
from engine.config.sections import Source
from engine.data.sources.resolve import find
from engine.errors import DataError, ModelError
from engine.jobs.base import secrets_of
from engine.redaction import redacted
from engine.runs.directory.create import create_run
from engine.runs.directory.events import Failed, Phase, Warned
from engine.runs.directory.fork import fork_text
from engine.runs.directory.run import Run
from ft.cli import main
from screens import preferences
from tests.keyrings import MemoryKeyring
from tests.run_fixtures import make_run
from tests.training import ROWS, recipe_text

TOKEN = "oneTokenThatNobodyMayRead0123"
PASSWORD = "correct-horse-battery"
SIGNATURE = "c2lnbmF0dXJl0123456789"


class Repeating(BaseHTTPRequestHandler):
    """Refuses everything, and repeats the request's headers as it does, as some proxies do."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        body = json.dumps({"error": f"bad request with headers {dict(self.headers)}"}).encode()
        self.send_response(400)
        self.send_header("X-Error-Message", f"you sent {dict(self.headers)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - so it is called


class Locked(BaseHTTPRequestHandler):
    """Gives the rows to who has the password and the signature."""

    rows = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    login = "Basic " + base64.b64encode(f"usr:{PASSWORD}".encode()).decode()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        allowed = self.headers["Authorization"] == self.login and SIGNATURE in self.path
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(self.rows) if allowed else 0))
        self.end_headers()
        self.wfile.write(self.rows if allowed else b"")


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def locked_rows() -> Iterator[str]:
    """The address of rows on this machine, its password and signature in it."""
    with serving(Locked) as port:
        yield f"http://usr:{PASSWORD}@127.0.0.1:{port}/rows.jsonl?part=2&sig={SIGNATURE}"


def written_below(*folders: Path) -> bytes:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert files
    return b"".join(path.read_bytes() for path in files)


@pytest.mark.slow
def test_echoed_token_stays_out_of_log(
    ft_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "train.yml"
    recipe.write_text("name: x\nmodel: {base: acme/x}\ndata: {train: starter}\n")
    with serving(Repeating) as port:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.delenv("HF_HUB_OFFLINE")
        assert main(["train", str(recipe)]) == 4
    (run,) = Run.all()
    assert "authorization" in run.log.read_text().lower()  # it was sent, and repeated
    everything = written_below(ft_home)
    assert TOKEN.encode() not in everything
    shown = capfd.readouterr()
    assert TOKEN not in shown.out + shown.err


@pytest.mark.slow
def test_url_password_stays_out_of_run_files(
    locked_rows: str,
    ft_home: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    memory_keyring: MemoryKeyring,
) -> None:
    """The run goes on."""
    recipe = tmp_path / "train.yml"
    recipe.write_text(
        recipe_text(tiny_model, Path("x"), data={"train": locked_rows}, training={"max_steps": 2})
    )
    monkeypatch.setattr(sys, "argv", ["ft", "train", str(recipe), "--set", f"data.train={locked_rows}"])
    assert main(["train", str(recipe)]) == 0
    (run,) = Run.all()
    for command in (["runs", "show"], ["runs", "show", "--json"], ["runs", "list", "--json"]):
        assert main(command) == 0
    shown = capfd.readouterr()
    everything = written_below(ft_home)
    for secret in (PASSWORD, SIGNATURE):
        assert secret.encode() not in everything
        assert secret not in shown.out + shown.err
    assert "part=2" in (run.folder / "train.yml").read_text()
    assert run.folder.stat().st_mode & 0o777 == 0o700

    (name,) = addresses.names((run.folder / "train.yml").read_text())
    source = Source(path=str(run.config.data.train))
    assert "not stored with the run" in find(source).notes[0]  # the rows are kept here, so it can go on

    for file in (ft_home / "cache" / "sources").iterdir():
        file.unlink()
    assert main(["train", "--resume", str(run.checkpoints / "step-000002")]) == 3
    assert name in capfd.readouterr().err
    secrets.set(name, locked_rows)
    assert "fetched" in find(source).notes[0]
    assert secrets_of(run.config) == (name,)
    assert PASSWORD.encode() not in written_below(ft_home)


def test_secret_goes_only_to_own_host(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"https://usr:{PASSWORD}@good.example/rows.jsonl"
    kept = addresses.stored(url)
    (name,) = addresses.names(kept)
    monkeypatch.setenv(name, url)
    assert addresses.whole(kept) == url
    with pytest.raises(addresses.MissingAddressError):
        addresses.whole(kept.replace("good.example", "other.example"))
    monkeypatch.setenv(name, url.replace("good", "other"))
    with pytest.raises(addresses.MissingAddressError):
        addresses.whole(kept)


def test_url_without_secret_is_unchanged() -> None:
    for url in (
        "https://example.org/rows.jsonl?download=true&part=7",
        "https://example.org/a/b.csv?name=training_rows.csv",
        "hf://datasets/owner/name@main/train.parquet",
        "gdrive:0123456789abcdef",
    ):
        assert addresses.stored(url) == url


def test_stored_recipe_text_has_no_password(tmp_path: Path) -> None:
    url = f"https://usr:{PASSWORD}@example.org/rows.jsonl?X-Amz-Signature={SIGNATURE}"
    text = f"# my rows\nmodel: {{base: starter}}\ndata:\n  train:\n    - {url}\n    - path: '{url}'\n      weight: 2\n"
    run = create_run(load_text(text, tmp_path / "train.yml"))
    stored = (run.folder / "source.yml").read_text()
    assert "# my rows" in stored
    assert PASSWORD not in stored
    assert SIGNATURE not in stored
    assert set(run.addresses.values()) == {url}
    assert run.config.data.train[0] == addresses.stored(url)  # type: ignore[index]


def test_validating_recipe_repeats_no_password(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "train.yml"
    path.write_text(
        f"model: {{base: starter}}\ndata: {{train: 'https://u:{PASSWORD}@example.org/x.jsonl'}}\n"
    )
    assert main(["validate", str(path), "--json"]) == 0
    path.write_text(path.read_text().replace("https", "ftp"))
    assert main(["data", "check", "--recipe", str(path)]) == 3
    shown = capfd.readouterr()
    assert PASSWORD not in shown.out + shown.err
    assert "example.org" in shown.out + shown.err


def test_events_and_errors_have_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SERVICE_API_KEY", TOKEN)
    error = ModelError(f"The server says: no {TOKEN}", f"ask https://u:{PASSWORD}@h/x?sig={SIGNATURE}")
    assert str(error) == "The server says: no ***"
    assert error.hint == "ask https://***@h/x?sig=***"
    run = create_run(load_text("model: {base: starter}\ndata: {train: starter}\n", tmp_path / "train.yml"))
    run.emit(Phase(name="loading", note=f"with {TOKEN}"))
    run.emit(Warned(message=f"with {TOKEN}", hint=f"{TOKEN}"))
    run.emit(Failed(kind="model", message=f"with {TOKEN}", hint=f"Authorization: Bearer {TOKEN}x"))
    run.record({"command": f"ft train --set data.train=ftp://u:{PASSWORD}@h/x"})
    everything = written_below(run.folder)
    assert TOKEN.encode() not in everything
    assert PASSWORD.encode() not in everything


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("GET http://usr:pw@h/x?sig=abc&part=2 failed", "GET http://***@h/x?sig=***&part=2 failed"),
        ("http://u:p'a@h/x", "http://***@h/x"),
        ("[('Authorization', 'Bearer abcdefgh')]", "[('Authorization', 'Bearer ***')]"),
        ("{b'authorization': b'Basic dXNy'}", "{b'authorization': b'Basic ***'}"),
        ("authorization: Bearer abc, x-y: z", "authorization: Bearer ***, x-y: z"),
        ("hf_abcdefghijklmnop is a token", "hf_*** is a token"),
        ("git clone ssh://git@host/x", "git clone ssh://git@host/x"),
        ("A basic understanding of authorization, and of tokens.",) * 2,
        ("https://[::1/x is no address",) * 2,
    ],
)
def test_secrets_are_redacted_from_text(text: str, right: str) -> None:
    assert redacted(text) == right
    assert redacted(right) == right


def test_secrets_from_native_code_leave_log(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_bytes(b"x" * ((1 << 20) - 5) + TOKEN.encode() + b" and\n" + TOKEN.encode() + b"\n")
    size = log.stat().st_size
    scrub(log, [TOKEN])
    assert TOKEN.encode() not in log.read_bytes()
    assert log.stat().st_size == size


@pytest.mark.slow
def test_engine_output_has_no_secrets(tmp_path: Path) -> None:
    """By print, a warning, a logger and a traceback, from a token under a name of one's own."""
    program = f"""
import json, logging, sys, warnings
from engine import clean_logs, secrets
secrets.adopt({{"MY_OWN": {TOKEN!r}}})
clean_logs.redact_output()
print("a", {TOKEN!r}, {{"x": {TOKEN!r}}})
warnings.warn({TOKEN!r})
logging.getLogger("x").error("b %s", {TOKEN!r})
raise ValueError({TOKEN!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."}
    )
    assert TOKEN not in done.stdout + done.stderr
    assert done.stderr.count("***") >= 3
    assert "ValueError: ***" in done.stderr


def test_app_settings_hold_no_password(ft_home: Path) -> None:
    url = f"https://usr:{PASSWORD}@example.org/rows.jsonl"
    preferences.save({"datasets": [url, json.dumps({"path": url, "split": "train"})]})
    assert PASSWORD.encode() not in written_below(ft_home)
    assert preferences.load().datasets[0] == addresses.stored(url)


def test_source_redirect_to_plain_http_is_refused(ft_home: Path) -> None:
    """No request goes to the other host: here nobody would answer there, and the refusal comes all the same."""

    class Leading(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", "http://203.0.113.1/rows.jsonl")
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Leading) as port, pytest.raises(DataError, match="http:// is not read"):
        find(Source(path=f"http://127.0.0.1:{port}/rows.jsonl"))


def test_old_run_hides_password_and_forks(ft_home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Those runs have the whole address in their recipes, which stay as they are."""
    url = f"http://usr:{PASSWORD}@127.0.0.1/rows.jsonl?sig={SIGNATURE}"
    run = make_run("20261101-000000-old", provenance={"command": f"ft train --set data.train={url}"})
    for name in ("train.yml", "source.yml"):
        path = run.folder / name
        path.write_text(path.read_text().replace("train: starter", f"train: {url}"))
        assert PASSWORD in path.read_text()
    other = make_run("20261101-000001-other")
    for command in (
        ["show", run.id],
        ["show", run.id, "--json"],
        ["list", "--json"],
        ["compare", run.id, other.id],
    ):
        assert main(["runs", *command]) == 0
    shown = capfd.readouterr()
    assert "***" in shown.out
    for secret in (PASSWORD, SIGNATURE):
        assert secret not in shown.out + shown.err
        assert secret.encode() not in written_below(ft_home / "cache")
    assert url in fork_text(run.folder, ())
