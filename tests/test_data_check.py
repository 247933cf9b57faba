"""`ft data check` while it is at it: first findings come early, ctrl-c shows what is known, shares are of rows seen."""

import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from engine import paths
from engine.data import selection
from engine.data.lint.compared import ComparedRow
from engine.data.lint_pass import LintPass
from engine.data.preview import quick_check
from engine.data.readers.offsets import LineRows
from engine.errors import DataError
from ft.command_table import app
from ft.commands import data_check
from tests.data_service import write_place
from tests.terminal import Terminal
from tests.test_data_lint import chat, good
from tests.test_data_prepare import write


@pytest.fixture
def place(folder: Path) -> Path:
    """A folder with a model."""
    write_place(folder)
    return folder


@pytest.fixture
def large(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place, where every file counts as a large one, and ten rows are a chunk."""
    monkeypatch.setattr(quick_check, "LARGE", 0)
    monkeypatch.setattr(quick_check, "FIRST", 20)
    monkeypatch.setattr(quick_check, "STEP", 10)
    monkeypatch.setattr(selection, "CHUNK", 10)
    monkeypatch.setattr(data_check, "EVERY_S", 0)
    monkeypatch.setattr(data_check, "SPARE", 0)
    return place


def check(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["data", "check", *arguments, "--model", "tiny"])


def interrupted_at(row: int, monkeypatch: pytest.MonkeyPatch, times: int = 1) -> None:
    """Have ctrl-c pressed while the lint takes up that row, in the last look at it."""
    look = LintPass.add

    def pressed(self: LintPass, first: int, rows: Sequence[ComparedRow]) -> None:
        look(self, first, rows)
        if any(number == row for number, _, _ in rows):
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(LintPass, "add", pressed)


def test_findings_come_before_file_is_read(large: Path) -> None:
    write(large / "a.jsonl", [*good(15), good(1)[0], *good(40)[16:]])
    with (large / "a.jsonl").open("a") as file:
        file.write("{broken\n")
    result = check("a.jsonl")
    assert isinstance(result.exception, DataError)
    assert "a.jsonl:41:2: not valid JSON" in result.exception.message
    first = "the first 20 rows: warning: 1 row is the same as an earlier one (5.0%): a.jsonl:16"
    assert first in result.stderr.splitlines()


def test_unusable_rows_are_reported_early(large: Path) -> None:
    write(large / "a.jsonl", [*good(5), {"messages": [{"role": "user", "content": "alone"}]}, *good(40)[5:]])
    result = check("a.jsonl")
    assert isinstance(result.exception, DataError)
    assert "1 row cannot be used: a.jsonl:6: nothing to train" in result.stderr
    judged = [{"prompt": f"Is {n} odd?", "completion": "yes", "label": n % 2 > 0} for n in range(40)]
    write(large / "b.jsonl", judged)
    told = check("b.jsonl").stderr
    assert "20 of 40 rows are labelled false" in told
    assert "cannot be used" not in told


def test_early_shares_count_rows_seen(large: Path) -> None:
    rows = good(200)
    rows[30] = chat("Ignore that. <|im_end|>", "No.")
    write(large / "a.jsonl", rows)
    result = check("a.jsonl")
    assert "40 of 200 rows: warning: 1 row has control tokens" in result.stderr
    assert "(2.5%): a.jsonl:31" in result.stderr
    assert "(0.5%)" in result.stdout
    assert "(2.5%)" not in result.stdout


def test_early_warning_may_end_as_note(large: Path) -> None:
    """More rows make its share smaller; at the end it is told of all rows."""
    write(large / "a.jsonl", [*good(10), good(1)[0], *good(400)[11:]])
    result = check("a.jsonl")
    assert "warning: 1 row is the same" in result.stderr
    assert result.stdout.startswith("note")


def test_every_source_is_sampled_early(large: Path) -> None:
    write(large / "a.jsonl", [*good(4), chat("Ignore that. <|im_end|>", "No."), *good(30)[5:]])
    write(large / "b.jsonl", [*good(80)[50:53], *good(4), *good(80)[55:]])
    (large / "both.yml").write_text("model: {base: tiny}\ndata: {train: [a.jsonl, b.jsonl], validation: 0}\n")
    result = CliRunner().invoke(app, ["data", "check", "--recipe", "both.yml"])
    first = [line for line in result.stderr.splitlines() if line.startswith("the first 20 rows")]
    assert [line.partition("): ")[2] for line in first] == ["b.jsonl:4, 5, 6, 7", "a.jsonl:5"]


def test_early_findings_of_unchanged_file_are_cached(large: Path) -> None:
    write(large / "a.jsonl", [*good(15), good(1)[0]])
    for file in large.rglob("*"):
        os.utime(file, (1, 1))  # what changed a moment ago is read again, for it may change again
    assert "the first 16 rows" in check("a.jsonl").stderr
    again = check("a.jsonl")
    assert "the first" not in again.stderr
    assert "a.jsonl:16" in again.stdout


def test_ctrl_c_shows_findings_and_row_count(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = good(200)
    rows[30] = chat("Ignore that. <|im_end|>", "No.")
    rows[150] = chat("Do. <|im_end|>", "No.")
    write(large / "a.jsonl", rows)
    interrupted_at(95, monkeypatch)
    result = check("a.jsonl")
    assert result.exit_code == 130
    assert "warning  1 row has control tokens in the text, as <|im_end|> (1.0%)" in result.stdout
    assert "Stopped after 100 of 200 rows." in result.stderr
    assert not list((paths.cache() / "tokens").iterdir())


def test_ctrl_c_marks_json_report_incomplete(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*good(40), good(1)[0], *good(200)[41:]]
    write(large / "a.jsonl", rows)
    whole = json.loads(check("a.jsonl", "--json").stdout)
    assert whole["stopped_after"] is None
    (large / "a.jsonl").write_text((large / "a.jsonl").read_text() + "\n")
    interrupted_at(95, monkeypatch)
    result = check("a.jsonl", "--json")
    assert result.exit_code == 130
    found = json.loads(result.stdout)
    assert (found["stopped_after"], found["fingerprint"]) == (100, None)
    assert [finding["rows"] for finding in found["findings"]] == [["a.jsonl:41"]]
    assert result.stderr == ""


def test_second_ctrl_c_ends_check_at_once(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(large / "a.jsonl", good(200))
    interrupted_at(95, monkeypatch, times=2)
    result = check("a.jsonl")
    assert result.exit_code == 130
    assert result.stdout == ""


def test_row_far_down_is_awaited_and_shown(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(place / "a.jsonl", good(1500))
    starts = LineRows._starts

    def slow(self: LineRows) -> Any:
        for number, start in enumerate(starts(self)):
            if number == 1200:
                time.sleep(0.3)
            yield start

    monkeypatch.setattr(LineRows, "_starts", slow)
    result = CliRunner().invoke(app, ["data", "preview", "a.jsonl", "--row", "1400", "--model", "tiny"])
    assert "a.jsonl:1400: " in result.stderr
    beyond = CliRunner().invoke(app, ["data", "preview", "a.jsonl", "--row", "1501", "--model", "tiny"])
    assert getattr(beyond.exception, "hint", "") == "It has 1,500 rows."


@pytest.mark.slow
def test_terminal_shows_findings_while_rows_are_read(place: Path) -> None:
    rows = [*good(1000), *good(1)]
    lines = [json.dumps(row) + "\n" for row in rows]
    with (place / "a.jsonl").open("w") as file:
        for _ in range(80):
            file.writelines(lines)
    terminal = Terminal("data", "check", "a.jsonl", "--model", "tiny")
    terminal.wait_for("the first 2,000 rows:")
    terminal.wait_for("are the same as an earlier one")
    terminal.wait_for("of 80,080 rows")
    terminal.press(b"\x03")
    assert terminal.end() == 130
    assert "Stopped after " in terminal.shown
    assert "`ft data prepare` does" in terminal.shown
