"""Odd input of `ft evaluate`: each mistake is one clear message, before the work where it can be."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.runs.directory.run import Run
from ft.cli import main
from tests.serving import make_adapter

ROWS = "--data rows.jsonl"
BEFORE: dict[str, str] = {
    f"adapter {ROWS} --metrics exact_match --fail-under exact_match=80": "Write 80% for a percentage",
    f"adapter {ROWS} --metrics exact_match --fail-under exact_match=-0.1": "it is a share, from 0 to 1",
    f"adapter {ROWS} --metrics bleu --fail-under bleu=20%": "Without the sign: bleu=20",
    f"adapter {ROWS} --fail-under eval_loss=inf": "expected METRIC=NUMBER",
    f"adapter {ROWS} --fail-under blue=1": "There is none of that name; computed are eval_loss, perplexity",
    f"adapter {ROWS} --fail-under chrf=1": "Add it: --metrics chrf",
    f"adapter {ROWS} --html .": "--html . is a folder",
    f"adapter {ROWS} --metrics ,": "--metrics names no metric",
    f"adapter {ROWS} --tasks ,": "--tasks names no task",
    f"adapter {ROWS} --judge-model x": "none is named",
    f"adapter {ROWS} --against ./adapter": "is the model itself",
    f"adapter {ROWS} --checkpoint best": "adapter is not a run, so it has no checkpoints",
    f"base {ROWS} --against base": "--against FOLDER",
    f"nothing {ROWS}": "holds no run, model or adapter",
    "adapter --tasks ./mine.yaml --metrics chrf": "--data FILE",
    "adapter": "Name them: --data FILE",
}
AFTER: dict[str, str] = {
    "adapter --data empty.jsonl": "empty.jsonl: the file is empty",
    "adapter --data unanswered.jsonl": "`completion` is missing",
    "anna/model --data rows.jsonl": "or use `starter` or a local folder",
    "moved --data rows.jsonl": "was trained on ./gone, and there is no folder",
    "adapter --data anna/rows": "anna/rows is not in the cache",
    f"adapter {ROWS} --tasks no_such_task": "lm-eval has no task 'no_such_task'",
    f"adapter {ROWS} --judge http://127.0.0.1:9/v1 --judge-model x": "The judge at http://127.0.0.1:9/v1",
}


@pytest.fixture
def place(tiny_model: Path, folder: Path) -> Path:
    """A folder with a base, an adapter on it, one whose base is gone, and rows."""
    (folder / "base").symlink_to(tiny_model)
    for name in ("adapter", "moved"):
        make_adapter(tiny_model, folder / name, 1)
    settings = folder / "moved" / "adapter_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"base_model_name_or_path": "./gone"}))
    (folder / "nothing").mkdir()
    (folder / "empty.jsonl").touch()
    (folder / "rows.jsonl").write_text('{"prompt": "Say fox.", "completion": " fox"}\n')
    (folder / "unanswered.jsonl").write_text('{"prompt": "Say fox."}\n')
    return folder


@pytest.fixture
def told(place: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, str]]:
    def told(words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["evaluate", *words.split()])
        shown = capsys.readouterr()
        assert shown.out == ""
        assert "Traceback" not in shown.err
        assert "hint: " in shown.err
        return code, shown.err

    return told


def test_mistake_is_refused_before_an_engine_is_started(told: Callable[[str], tuple[int, str]]) -> None:
    for words, expected in BEFORE.items():
        code, shown = told(words)
        assert (code, expected in shown) == (2, True), (words, shown)
    assert Run.all() == []


@pytest.mark.slow
@pytest.mark.parametrize("words", AFTER)
def test_mistake_that_the_engine_finds_is_one_clear_message(
    words: str, told: Callable[[str], tuple[int, str]]
) -> None:
    code, shown = told(words)
    assert code not in (0, 6), shown
    assert AFTER[words] in shown


@pytest.mark.slow
def test_one_row_is_scored_without_intervals(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "evaluate",
        "adapter",
        *ROWS.split(),
        "--against",
        "base",
        "--metrics",
        "chrf",
        "--html",
        "a.html",
    ]
    assert main(words) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("validation loss"))
    assert line.split()[-3:] == ["–", "–", "–"]
    assert "Texts scored: 1" in (place / "a.html").read_text()
