"""`ft doctor` as a command: what it prints, its exit codes, and the file for a bug report."""

import getpass
import json
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from engine import paths
from engine.doctor import bundle
from engine.runs.directory.events import Failed, Sample
from ft.cli import main
from tests.run_fixtures import STARTED, make_run

TOKEN = "hf_notARealOne0123456789"


def test_sound_machine_ends_with_0(
    ft_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "Every package that ft needs is installed" in told
    assert "✗" not in told


def test_fault_ends_with_1_and_says_what_mends_it(
    ft_home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file.pem")
    assert main(["doctor"]) == 1
    told = capsys.readouterr()
    assert "unset SSL_CERT_FILE" in told.out
    assert "1 thing does not work" in told.err


def test_json_has_every_area(ft_home: Path) -> None:
    """In a process of its own: it loads neither torch nor transformers."""
    loaded = "[name for name in ('torch', 'transformers') if name in sys.modules]"
    code = (
        f"import sys; from ft.cli import main; main(['doctor', '--json']); print({loaded}, file=sys.stderr)"
    )
    told = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    areas = json.loads(told.stdout)["findings"]
    assert list(areas) == ["machine", "packages", "folders", "environment", "terminal", "tokens", "hub"]
    assert all(one["text"] and one["state"] for area in areas.values() for one in area)
    assert told.stderr.splitlines()[-1] == "[]"


def test_home_that_is_a_file_is_a_finding_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FT_HOME", str(tmp_path / "file"))
    assert main(["doctor"]) == 1
    assert "is no folder" in capsys.readouterr().out


def bodies(file: Path) -> dict[str, str]:
    with zipfile.ZipFile(file) as opened:
        return {name: opened.read(name).decode() for name in opened.namelist()}


def test_bundle_has_the_failed_run_and_nothing_secret(
    ft_home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    make_run("20260101-000000-fine")
    run = make_run("20260102-000000-broken", end=None)
    run.emit(Sample(t=STARTED + 1, step=1, prompt="my private question", text="my private answer"))
    run.emit(Failed(t=STARTED + 2, kind="memory", message="Memory ran out."))
    run.log.write_text(f"reading {Path.home()}/rows.jsonl with {TOKEN}\n")
    (ft_home / "settings.json").write_text('{"theme": "ft-dark"}')

    assert main(["doctor", "--bundle", "report.zip"]) == 0
    found = bodies(folder / "report.zip")
    assert {"doctor.json", "packages.txt", "settings.json", "run/train.yml", "run/events.jsonl"} <= set(found)
    assert "broken" in found["run/train.yml"]
    assert "Memory ran out." in found["run/events.jsonl"]
    everything = "".join(found.values())
    assert "my private" not in everything
    assert TOKEN not in everything
    assert str(Path.home()) + "/" not in everything
    assert "doctor.json" in capsys.readouterr().err


def test_bundle_of_a_named_run_replaces_no_file(ft_home: Path, folder: Path) -> None:
    make_run("20260101-000000-fine")
    assert main(["doctor", "--bundle", "report.zip", "--run", "20260101-000000-fine"]) == 0
    assert "fine" in bodies(folder / "report.zip")["run/train.yml"]
    before = (folder / "report.zip").read_bytes()
    assert main(["doctor", "--bundle", "report.zip"]) == 2
    assert (folder / "report.zip").read_bytes() == before
    assert main(["doctor", "--bundle", "other.zip", "--run", "nothing"]) != 0


def test_torn_files_of_a_run_break_no_bundle(ft_home: Path, folder: Path) -> None:
    run = make_run("20260101-000000-torn", end=None)
    run.events_file.write_bytes(run.events_file.read_bytes()[:-7] + b"\xff\xfe{")
    (run.folder / "train.yml").unlink()
    (run.folder / "plan.json").mkdir()
    assert main(["doctor", "--bundle", "report.zip", "--run", "20260101-000000-torn"]) == 0


def test_names_of_person_and_machine_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "adalovelace")
    monkeypatch.setattr(socket, "gethostname", lambda: "engine-1843")
    text = f"{Path.home()}/x by adalovelace on engine-1843, /mnt/adalovelace/y, adalovelaces"
    assert bundle.anonymous(text) == "~/x by USER on HOST, /mnt/USER/y, adalovelaces"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_bundle_into_a_folder_without_rights(ft_home: Path) -> None:
    assert main(["doctor", "--bundle", "/report.zip"]) == 5


def test_bundle_where_no_folder_is(ft_home: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--bundle", "no/such/report.zip"]) != 0
    assert "Traceback" not in capsys.readouterr().err
    assert not paths.runs().exists()
