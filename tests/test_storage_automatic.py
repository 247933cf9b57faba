"""The cleaning after a training: off unless a person turns it on, and never in the way of a result."""

import json
from pathlib import Path

import pytest

from engine import paths
from engine.housekeeping.automatic import Automatic, clean_after_training, load, save
from ft.cli import main
from tests.storage_fixtures import old_run, steps_of


def cleaned() -> tuple[list[str], list[str]]:
    """What it tells: notes and warnings."""
    notes: list[str] = []
    warnings: list[str] = []
    clean_after_training(notes.append, warnings.append)
    return notes, warnings


def test_nothing_is_removed_unless_told(ft_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = old_run("sql")
    assert cleaned() == ([], [])
    assert steps_of(run) == [10, 20, 30, 40]
    assert main(["storage", "automatic"]) == 0
    assert capsys.readouterr().out.startswith("off")
    assert not (ft_home / "storage.json").exists()


def test_choice_is_kept_and_taken_back(capsys: pytest.CaptureFixture[str]) -> None:
    run, late = old_run("sql"), old_run("late", days=20)
    assert main(["storage", "automatic", "after-training", "--older-than", "2w"]) == 0
    assert "older than 14 days" in capsys.readouterr().out
    [note], warnings = cleaned()
    assert note.startswith("cleaned up: 4 removed, 1.")
    assert warnings == []
    assert steps_of(run) == steps_of(late) == [20, 40]
    assert main(["storage", "automatic", "off"]) == 0
    assert main(["storage", "automatic", "--json"]) == 0
    assert '"when": "off"' in capsys.readouterr().out
    again = old_run("again")
    assert cleaned() == ([], [])
    assert steps_of(again) == [10, 20, 30, 40]


def test_unknown_choice_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["storage", "automatic", "always"]) == 2
    assert "off or after-training" in capsys.readouterr().err
    assert main(["storage", "automatic", "after-training", "--older-than", "x"]) == 2
    assert load() == Automatic()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "\xff",
        "[" * 100_000,
        '{"automatic_clean": "always"}',
        '{"automatic_clean": ["after_training"]}',
        '{"automatic_clean": "after_training", "older_than_days": "soon"}',
        '{"automatic_clean": "after_training", "older_than_days": -1}',
        '{"automatic_clean": "after_training", "older_than_days": NaN}',
        '{"automatic_clean": "after_training", "older_than_days": true}',
    ],
)
def test_damaged_choice_means_off(ft_home: Path, text: str) -> None:
    run = old_run("sql")
    (ft_home / "storage.json").write_text(text, encoding="latin-1")
    assert load() == Automatic()
    assert cleaned() == ([], [])
    assert steps_of(run) == [10, 20, 30, 40]


def test_models_never_go_by_themselves(ft_home: Path) -> None:
    (paths.models() / "unused").mkdir(parents=True)
    save(Automatic("after_training", 0.0))
    assert cleaned() == ([], [])
    assert (paths.models() / "unused").is_dir()


def test_failure_is_a_warning(ft_home: Path) -> None:
    """The lock of a run is a folder: it cannot be taken."""
    run = old_run("sql")
    save(Automatic("after_training"))
    (paths.cache() / "tokens").mkdir(parents=True)
    run.lock_file.unlink()
    run.lock_file.mkdir()
    notes, warnings = cleaned()
    assert notes == []
    assert all("could not be removed" in warning for warning in warnings)
    assert steps_of(run) == [10, 20, 30, 40]


@pytest.mark.slow
def test_training_cleans_at_its_end(ft_home: Path, folder: Path, tiny_model: Path) -> None:
    """Others' old checkpoints, never its own, and its result is there."""
    row = '{"prompt": "Say %d.", "completion": " %d"}\n'
    (folder / "rows.jsonl").write_text("".join(row % (number, number) for number in range(8)))
    (folder / "train.yml").write_text(
        f"model: {{base: {tiny_model}, max_seq_length: 32}}\n"
        "data: {train: rows.jsonl, validation: 0}\n"
        "training: {max_steps: 3, effective_batch_size: 2}\n"
        "checkpoints: {every: 1, keep: 3}\n"
    )
    old, unfinished = old_run("old"), old_run("unfinished", end=None)
    assert main(["storage", "automatic", "after-training"]) == 0
    assert main(["train", "train.yml", "--plain"]) == 0
    [own] = [path for path in paths.runs().iterdir() if path.name not in (old.id, unfinished.id)]
    assert steps_of(old) == [20, 40]
    assert steps_of(unfinished) == [10, 20, 30, 40]
    assert (own / "adapter").is_dir()
    assert len(list((own / "checkpoints").glob("step-*"))) == 3
    events = [json.loads(line) for line in (own / "events.jsonl").read_text().splitlines()]
    assert any("cleaned up: 2 removed" in event.get("note", "") for event in events)
    assert events[-1]["type"] == "finished"
