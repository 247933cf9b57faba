"""`ft push` with the hub's real client in real processes, against a hub on this machine."""

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file

from engine.jobs.push import Push
from engine.process.launcher import start
from engine.runs.directory import control
from engine.runs.directory.card_mark import CARD
from engine.runs.directory.create_job import create_job
from engine.runs.directory.events import Phase, Saved, encode
from engine.runs.directory.run import Run
from ft.cli import main
from tests.hub_uploads import Repo, UploadHub
from tests.run_fixtures import STARTED, make_run
from tests.terminal import Terminal, ft, until

REPO = "anna/orders"
LARGE = "adapter_model.safetensors"
BASE = {"name": "someone/small", "revision": None, "licence": "apache-2.0"}
HELD = 16.0
"""Megabytes of weights that do not fit into the sockets' buffers, where the hub holds an upload up."""
PUSHED = {
    "README.md",
    "adapter_config.json",
    LARGE,
    "tokenizer_config.json",
    "chat_template.jinja",
    "loss.svg",
}


@pytest.fixture
def hub(upload_hub: UploadHub) -> UploadHub:
    return upload_hub


def result_run(run_id: str = "20261126-090000-orders", seed: int = 0, megabytes: float = 1.0) -> Run:
    """A finished run with so many megabytes of weights, and files beside them that are nobody's business."""
    run = make_run(run_id, provenance={"base": BASE})
    run.adapter.mkdir()
    settings = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "base_model_name_or_path": "someone/small"}
    (run.adapter / "adapter_config.json").write_text(json.dumps(settings))
    rows = int(megabytes * 250_000) // 16
    noise = np.random.default_rng(seed).standard_normal((16, rows)).astype(np.float32)
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {f"{layer}.lora_A.weight": noise, f"{layer}.lora_B.weight": np.zeros((8, 16), np.float32)}
    save_file(tensors, run.adapter / LARGE)
    (run.adapter / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    (run.adapter / "chat_template.jinja").write_text("{{ messages[0].content }}")
    for name in (".env", "training_args.bin", "optimizer.pt", ".hidden.safetensors", "notes.txt"):
        (run.adapter / name).write_text("not to be seen")
    with run.events_file.open("ab") as file:
        file.write(encode(Saved(t=STARTED, step=20, path="adapter", kind="adapter")))
    return run


def exit_code(*words: str) -> int:
    return main(["push", *words])


@pytest.mark.slow
def test_push_makes_private_repository_of_result_and_card(hub: UploadHub, ft_home: Path) -> None:
    run = result_run()
    done = ft("push", run.id, "--to", REPO, "--message", "First orders")
    assert done.returncode == 0, done.stderr
    repo = hub.repos[REPO]
    assert repo.private
    assert set(hub.files(REPO)) == PUSHED
    assert hub.files(REPO)[LARGE] == (run.adapter / LARGE).read_bytes()
    ((commit, branch, message),) = repo.commits
    assert (branch, message) == ("main", "First orders")
    assert done.stdout.strip() == f"{hub.url}/{REPO}/commit/{commit}"
    card = hub.files(REPO)["README.md"].decode()
    assert "# orders" in card
    assert f'AutoPeftModelForCausalLM.from_pretrained("{REPO}")' in card
    assert f"--lora-modules orders={REPO}" in card
    assert not (run.adapter / CARD).exists()  # nothing here has changed
    assert hub.asked("xet", "GET") == hub.asked("agent-harnesses", "GET") == []
    written = b"".join(path.read_bytes() for path in ft_home.rglob("*") if path.is_file())
    assert hub.token.encode() not in written
    assert b"not to be seen" not in b"".join(hub.files(REPO).values())


@pytest.mark.slow
def test_killed_push_is_continued_by_next_with_what_is_missing(hub: UploadHub) -> None:
    run = result_run(megabytes=HELD)
    small = run.adapter / "adapter_more.safetensors"
    save_file({"x": np.ones(9, np.float32)}, small)
    hub.cuts = [small.stat().st_size]  # the small one goes through whole
    hub.hold = threading.Event()
    hub.halfway.set()  # and is not held
    engine = start(Push(run.id, REPO).create())
    until(lambda: len(hub.stored) == 1, "the small file on the hub")
    hub.halfway.clear()
    assert hub.halfway.wait(60)
    for process in psutil.Process(engine.supervisor.pid).children(recursive=True):
        os.kill(process.pid, signal.SIGKILL)
    hub.hold.set()
    assert engine.supervisor.wait(60) != 0
    assert hub.files(REPO) == {}  # nothing shows before all is there
    until(lambda: not hub.reading, "the end of what was still under way")
    before = dict(hub.received)
    assert exit_code(run.id, "--to", REPO) == 0
    assert set(hub.files(REPO)) == PUSHED | {small.name}
    again = {oid: count - before.get(oid, 0) for oid, count in hub.received.items()}
    (first,) = (oid for oid, data in hub.stored.items() if data == small.read_bytes())
    assert again.pop(first) == 0
    assert list(again.values()) == [(run.adapter / LARGE).stat().st_size]


@pytest.mark.slow
def test_stopped_push_leaves_nothing_in_repository_and_says_how_to_go_on(hub: UploadHub) -> None:
    run = result_run(megabytes=HELD)
    hub.hold = threading.Event()
    engine = start(Push(run.id, REPO).create())
    assert hub.halfway.wait(60)
    control.send(engine.run, "stop")
    hub.hold.set()
    assert engine.supervisor.wait(60) == 0
    assert engine.run.state().status == "stopped"
    assert hub.repos[REPO].commits == []
    assert f"ft push {run.id} --to {REPO}" in engine.run.how_to_resume
    phases = [event for event in engine.run.events() if isinstance(event, Phase) and event.total]
    assert {phase.total for phase in phases} == {sum(_sizes(run).values())}
    assert any(LARGE in phase.note for phase in phases)


def _sizes(run: Run) -> dict[str, int]:
    """Sizes of the files that are pushed as they lie there."""
    names = PUSHED - {"README.md", "loss.svg"}
    return {name: (run.adapter / name).stat().st_size for name in names}


@pytest.mark.slow
def test_pushing_again_without_a_change_makes_no_commit(hub: UploadHub) -> None:
    run = result_run()
    assert exit_code(run.id, "--to", REPO) == 0
    assert exit_code(run.id, "--to", REPO) == 0
    assert len(hub.repos[REPO].commits) == 1
    assert len(hub.asked("/lfs/", "PUT")) == 1


@pytest.mark.slow
def test_two_pushes_to_one_repository_are_two_whole_commits(hub: UploadHub) -> None:
    runs = [result_run(f"20261126-09000{n}-orders", seed=n) for n in range(2)]
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda run: ft("push", run.id, "--to", REPO), runs))
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert len(hub.repos[REPO].commits) == 2
    last = [run for run in runs if hub.files(REPO)[LARGE] == (run.adapter / LARGE).read_bytes()]
    assert len(last) == 1


@pytest.mark.slow
def test_same_push_is_not_made_twice_simultaneously(
    hub: UploadHub, capsys: pytest.CaptureFixture[str]
) -> None:
    run = result_run(megabytes=HELD)
    hub.hold = threading.Event()
    engine = start(Push(run.id, REPO).create())
    assert hub.halfway.wait(60)
    assert exit_code(run.id, "--to", REPO) == 2
    assert f"{engine.run.id} pushes this already" in capsys.readouterr().err
    hub.hold.set()
    assert engine.supervisor.wait(60) == 0


@pytest.mark.slow
def test_latest_run_is_pushed_only_after_yes_on_a_terminal(hub: UploadHub) -> None:
    run = result_run()
    terminal = Terminal("push", "--to", REPO)
    terminal.wait_for("Push it? [y/N]")
    assert run.id in terminal.shown
    assert f"{REPO} (private)" in terminal.shown
    terminal.press(b"n\r")
    assert terminal.end() == 130
    assert hub.repos == {}
    terminal = Terminal("push", "--to", REPO, "--public")
    terminal.wait_for("Push it? [y/N]")
    assert "everybody may see it" in terminal.shown
    terminal.press(b"y\r")
    assert terminal.end() == 0, terminal.shown
    assert not hub.repos[REPO].private


def test_latest_run_is_not_pushed_without_a_terminal(
    hub: UploadHub, capsys: pytest.CaptureFixture[str]
) -> None:
    run = result_run()
    assert exit_code("--to", REPO) == 2
    said = capsys.readouterr().err
    assert "has to be confirmed" in said
    assert f"ft push {run.id} --to {REPO}" in said
    assert hub.requests == []


@pytest.mark.slow
def test_push_fails_with_one_clear_message(hub: UploadHub) -> None:
    run = result_run()
    done = ft("push", run.id, "--to", "bert/orders")
    assert done.returncode == 4
    assert "error: This token may not write to bert/orders." in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_dry_run_lists_files_and_changes_nothing(
    hub: UploadHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    run = result_run()
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    assert exit_code("--to", REPO, "--dry-run") == 0
    said = capsys.readouterr()
    assert {line.split()[0] for line in said.out.splitlines()[1:]} == PUSHED
    assert "1.00 MB" in said.out
    assert "Not pushed: .env, .hidden.safetensors, notes.txt, optimizer.pt, training_args.bin" in said.err
    assert hub.requests == []
    assert Run.all()[0].folder == run.folder  # no job was made
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
    assert exit_code(run.id, "--to", REPO, "--dry-run", "--json") == 0
    body = json.loads(capsys.readouterr().out)
    assert body["files"][LARGE] == (run.adapter / LARGE).stat().st_size


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "orders"], "'orders' cannot be the name of a repository"),
        (["--to", "anna/orders/more"], "cannot be the name of a repository"),
        (["--to", "anna/.git"], "cannot be the name of a repository"),
        (["--to", "anna/a--b"], "cannot be the name of a repository"),
        ([], "The repository to push to is missing."),
        (["--to", REPO, "--message", " "], "--message is empty."),
    ],
)
def test_impossible_push_is_refused_before_it_begins(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = result_run()
    assert exit_code(run.id, *words) == 2
    assert message in capsys.readouterr().err
    assert len(Run.all()) == 1


def test_run_without_a_result_is_not_pushed(capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run("20261126-090000-young", end=None)
    for reference in (run.id, str(run.folder)):
        assert exit_code(reference, "--to", REPO, "--dry-run") == 2
        assert "has no trained adapter yet" in capsys.readouterr().err


def test_run_of_an_export_means_the_folder_that_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made"
    out.mkdir()
    (out / "m.gguf").write_bytes(b"GGUF")
    run = create_job("export", "export-gguf-made", {"model": "x", "exporter": "gguf", "out": str(out)})
    assert exit_code(run.id, "--to", REPO, "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["files"] == {"m.gguf": 4}


def test_push_without_token_says_how_to_set_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    run = result_run()
    assert exit_code(run.id, "--to", REPO) == 2
    assert "ft secrets set HF_TOKEN" in capsys.readouterr().err
    assert len(Run.all()) == 1


@pytest.mark.slow
def test_exported_folder_is_pushed_with_its_own_card(hub: UploadHub, tmp_path: Path) -> None:
    out = tmp_path / "orders-gguf"
    out.mkdir()
    (out / "orders-q8_0.gguf").write_bytes(b"GGUF" + bytes(1000))
    (out / CARD).write_text("---\nlicense: mit\n---\n# Mine, proved")
    (out / "Modelfile").write_text("FROM ./orders-q8_0.gguf")
    (out / "secrets.json").write_text("{}")
    hub.repos[REPO] = Repo(private=True, branches={"main": {"old.gguf": b"old"}})
    assert exit_code(str(out), "--to", REPO, "--revision", "q8") == 0
    assert set(hub.files(REPO)) == {"old.gguf"}
    assert set(hub.files(REPO, "q8")) == {"old.gguf", "orders-q8_0.gguf", CARD, "Modelfile"}
    assert hub.files(REPO, "q8")[CARD] == (out / CARD).read_bytes()
