"""`ft plan`, as a person types it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.backend_spec import backend_names
from ft.cli import main


@pytest.fixture
def recipe(tmp_path: Path, tiny_model: Path) -> Path:
    """A recipe for the tiny model, with 40 rows."""
    rows = [{"messages": [{"role": "user", "content": "2 and 2?"}, {"role": "assistant", "content": f"{n}"}]}
            for n in range(40)]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "train.yml"
    path.write_text(f"model:\n  base: {tiny_model}\ndata:\n  train: rows.jsonl\n  validation: 0\n")
    return path


def test_plan_shows_reasons_and_memory(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(recipe)]) == 0
    told = capsys.readouterr().out
    for words in ("micro-batch", "accumulation", "steps", "optimizer", "overhead", "It fits: peak memory"):
        assert words in told


def test_a_plan_as_json_follows_set(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(recipe), "--json", "--set", "training.max_steps=7"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["work"]["steps"], told["work"]["examples"]) == (7, 40)
    assert told["memory"]["peak_bytes"] > 0
    assert told["reasons"]["batch"]


def test_impossible_plan_exits_with_2(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(recipe), "--set", "training.precision=nonsense"]) == 2
    assert "precision" in capsys.readouterr().err


def test_check_fails_where_plan_does_not_fit(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("engine.hardware.probe.memory", lambda: (600_000_000, 400_000_000))
    assert main(["plan", str(recipe)]) == 0
    assert "It does not fit" in capsys.readouterr().out
    assert main(["plan", str(recipe), "--check"]) == 1
    assert "a smaller model" in capsys.readouterr().err


def test_planning_never_imports_torch(recipe: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from engine.config.load import load_recipe;"
        f"from engine.planning.estimate import estimate; estimate(load_recipe(Path({str(recipe)!r})).config);"
        "print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_plan_of_all_backends_is_a_table(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`ft plan --backend all` prints a column for each backend."""
    assert main(["plan", str(recipe), "--backend", "all", "--set", "model.quantization=4bit"]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0].split() == ["train.yml", *backend_names()]
    for words in ("emulated", "peak memory", "runs here", "peft: trains this recipe"):
        assert words in told


def test_plan_of_all_backends_as_json(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each backend has every key."""
    assert main(["plan", str(recipe), "--backend", "all", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["backends"]) == list(backend_names())
    assert all(set(one["keys"]) == set(told["values"]) for one in told["backends"].values())


def test_refused_plan_key_exits_with_hint(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(recipe), "--backend", "mlx", "--set", "adapter.type=vera"]) == 2
    told = capsys.readouterr().err
    assert "adapter.type: vera" in told
    assert "hint:" in told
