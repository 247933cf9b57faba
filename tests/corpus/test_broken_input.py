"""Broken recipes, rows, models and runs: each command ends soon, with a documented exit code and one short message.

What holds for all of them is in `Outcome.wrong`: no traceback, no mistake of ours (70), nothing a terminal would obey.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.load import load_text
from engine.runs.directory.create import create_run
from tests.corpus import broken_models, broken_recipes, broken_rows
from tests.corpus.commands import Outcome, assert_all_well, run_all
from tests.training import recipe_text, write_rows

pytestmark = pytest.mark.slow


def codes(outcomes: list[Outcome]) -> set[int]:
    return {outcome.code for outcome in outcomes}


def test_broken_recipes_are_reported(tiny_model: Path, tmp_path: Path) -> None:
    write_rows(tmp_path)
    commands: list[tuple[list[str | Path], Path | None]] = []

    def ask(data: bytes, *more: str) -> None:
        path = tmp_path / f"recipe{len(commands)}.yml"
        path.write_bytes(data.replace(b"MODEL", str(tiny_model).encode()).replace(b"ROWS", b"rows.jsonl"))
        commands.append((["validate", path, *more], tmp_path))
        commands.append((["validate", path, "--json", *more], tmp_path))
        commands.append((["plan", path, *more], tmp_path))

    for _, data in broken_recipes.texts():
        ask(data)
    for option in broken_recipes.overrides():
        ask(broken_recipes.GOOD.encode(), "--set", option)
    commands += [(["init", "x" * 300], tmp_path), (["init", tmp_path / "rows.jsonl"], tmp_path)]
    outcomes = run_all(commands)
    assert_all_well(outcomes)
    assert {2, 3, 4} <= codes(outcomes)


def test_broken_rows_are_reported(tiny_model: Path, tmp_path: Path) -> None:
    commands: list[tuple[list[str | Path], Path | None]] = []
    for name, data in broken_rows.contents():
        path = tmp_path / name
        path.write_bytes(data)
        model = ["--model", str(tiny_model)]
        commands.append((["data", "check", path, *model], None))
        commands.append((["data", "preview", path, *model], None))
        if name.endswith((".jsonl", ".csv", ".parquet")):
            commands.append((["data", "sample", path, *model], None))
            commands.append((["data", "stats", path, *model], None))
            commands.append(
                (["data", "prepare", path, "--out", tmp_path / f"out{len(commands)}", *model], None)
            )
    outcomes = run_all(commands)
    assert_all_well(outcomes)
    assert {0, 3} <= codes(outcomes)


def test_file_name_outside_utf8_is_reported(tiny_model: Path, tmp_path: Path) -> None:
    """Linux takes any bytes for a name; recipes and events are UTF-8."""
    rows = tmp_path / "rows"
    rows.mkdir()
    name = os.fsencode(rows) + b"/a\xff.jsonl"
    try:
        Path(os.fsdecode(name)).write_text(broken_rows.LINES)
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    (rows / "fine.jsonl").write_text(broken_rows.LINES)
    (outcome, folder) = run_all(
        [(["data", "check", os.fsdecode(name)], None), (["data", "check", rows, "--model", tiny_model], None)]
    )
    assert_all_well([outcome, folder])
    assert outcome.code == 2
    assert "not UTF-8" in outcome.err
    assert folder.code == 0


def test_broken_models_are_reported(tiny_model: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path)
    commands: list[tuple[list[str | Path], Path | None]] = []
    names: list[str] = []
    for number, (name, change, of_tokens) in enumerate(broken_models.changes()):
        folder = tmp_path / f"model{number}"
        folder.mkdir()
        for path in tiny_model.iterdir():
            (folder / path.name).symlink_to(path)
        change(folder)
        asked: list[list[str | Path]] = [["data", "preview", rows, "--model", folder]]
        if not of_tokens:
            recipe = tmp_path / f"recipe{number}.yml"
            recipe.write_text(recipe_text(folder, rows))
            asked = [["models", "show", folder], ["plan", recipe]]
        commands += [(argv, None) for argv in asked]
        names += [name] * len(asked)
    outcomes = run_all(commands)
    assert_all_well(outcomes)
    fine = [name for name, outcome in zip(names, outcomes, strict=True) if outcome.code == 0]
    assert not [name for name in fine if name.startswith(tuple(broken_models.SIZES))], "nonsense that passes"
    assert codes(outcomes) <= {0, 1, 2, 3, 4}


STATES: dict[str, Callable[[Path], object]] = {
    "events empty": lambda run: (run / "events.jsonl").write_bytes(b""),
    "events gone": lambda run: (run / "events.jsonl").unlink(),
    "events of bytes": lambda run: (run / "events.jsonl").write_bytes(bytes(range(256)) * 40),
    "events deep": lambda run: (run / "events.jsonl").write_bytes(b"[" * 100_000 + b"\n"),
    "events of a stranger": lambda run: (run / "events.jsonl").write_text(_hostile()),
    "events of no time": lambda run: (run / "events.jsonl").write_text(
        '{"v": 1, "type": "started", "t": 1e300, "run": "x", "pid": 1}\n'
    ),
    "events as a folder": lambda run: ((run / "events.jsonl").unlink(), (run / "events.jsonl").mkdir()),
    "recipe empty": lambda run: (run / "train.yml").write_bytes(b""),
    "recipe gone": lambda run: (run / "train.yml").unlink(),
    "recipe of bytes": lambda run: (run / "train.yml").write_bytes(bytes(range(256))),
    "recipe of a stranger": lambda run: (run / "train.yml").write_text(
        'model: {base: "\\e]0;title\\a"}\ndata: {train: "\\e]0;title\\a"}\ntags: ["\\e]0;t\\a"]\n'
    ),
    "plan a list": lambda run: (run / "plan.json").write_text("[1]"),
    "plan deep": lambda run: (run / "plan.json").write_text("[" * 100_000),
    "plan of strangers": lambda run: (run / "plan.json").write_text('{"steps": "x", "memory": 7}'),
    "provenance a list": lambda run: (run / "provenance.json").write_text("[1]"),
    "provenance deep": lambda run: (run / "provenance.json").write_text('{"a":' * 50_000),
    "lock a folder": lambda run: (run / "lock").mkdir(),
    "control a file": lambda run: ((run / "control").rmdir(), (run / "control").write_text("x")),
    "checkpoints a file": lambda run: ((run / "checkpoints").rmdir(), (run / "checkpoints").write_text("x")),
    "checkpoint of no number": lambda run: _checkpoint(run, "step-abc", "{}"),
    "checkpoint of nothing": lambda run: _checkpoint(run, "step-000002", ""),
    "checkpoint of a list": lambda run: _checkpoint(run, "step-000002", "[1]"),
    "checkpoint deep": lambda run: _checkpoint(run, "step-000002", "[" * 100_000),
    "best elsewhere": lambda run: (run / "checkpoints" / "best").write_text("../../../elsewhere\n"),
    "last of bytes": lambda run: (run / "checkpoints" / "last").write_bytes(b"\xff\0\n"),
    "an adapter of nothing": lambda run: (run / "adapter").mkdir(),
    "limits a list": lambda run: (run / "limits.json").write_text("[1]"),
}
"""Damage to a run's folder, by name."""


def _hostile() -> str:
    title = "\x1b]0;title\x07"
    events = [
        {"type": "started", "run": title, "pid": 1},
        {"type": "phase", "name": title, "note": title},
        {"type": "step", "step": 10**30, "total": -1, "loss": "nan"},
        {"type": "warning", "message": f"{title} \x9b2J", "hint": title},
        {"type": "sample", "step": 1, "prompt": title, "text": title},
        {"type": "eval", "step": 1, "loss": 1.0, "perplexity": 1.0, "metrics": {title: 1.0}},
        {"type": "failed", "kind": title, "message": f"{title} \u202e" + "x" * 100_000, "hint": title * 5000},
    ]
    return "".join(json.dumps({"v": 1, "t": 1.0} | event, ensure_ascii=False) + "\n" for event in events)


def _checkpoint(run: Path, name: str, progress: str) -> None:
    (run / "checkpoints" / name / "adapter").mkdir(parents=True)
    (run / "checkpoints" / name / "progress.json").write_text(progress)


def test_broken_runs_are_reported(tiny_model: Path, tmp_path: Path) -> None:
    recipe = load_text(recipe_text(tiny_model, write_rows(tmp_path)), tmp_path / "train.yml")
    whole = create_run(recipe)
    commands: list[list[str]] = []
    for change in STATES.values():
        run = create_run(recipe)
        change(run.folder)
        commands += [["runs", "show", run.id], ["runs", "show", run.id, "--json"]]
        commands += [["runs", "compare", run.id, whole.id], ["attach", run.id], ["stop", run.id]]
    commands += [["runs", "list"], ["runs", "list", "--json"], ["runs", "list", "--filter", "loss<1 tag:x"]]
    commands += [["runs", "show", "x" * 10_000], ["runs", "show", "a\0b"], ["runs", "rm", "--yes", "no-such"]]
    commands += [["train", "--resume", str(whole.checkpoints / "step-abc")]]
    outcomes = run_all([(argv, None) for argv in commands])
    assert_all_well(outcomes)
    listed = next(outcome for outcome in outcomes if outcome.argv == ("runs", "list"))
    assert whole.id in listed.out
