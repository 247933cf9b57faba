"""`ft data`: rows as the model will see them, what is wrong with them, and how to make them better."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from engine.data.stats import _histogram
from engine.errors import CheckFailed, FtError
from ft.command_table import app
from tests.data_service import write_place
from tests.test_data_lint import chat, good
from tests.test_data_prepare import write


@pytest.fixture
def place(folder: Path) -> Path:
    """A folder with rows, a model that reads them, and a recipe that names both."""
    write_place(folder)
    return folder


def ft(*arguments: str) -> Result:
    """Run a command in this process; an error that a person would read is raised."""
    result = CliRunner().invoke(app, ["data", *arguments])
    if isinstance(result.exception, FtError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def test_preview_brackets_trained_tokens(place: Path) -> None:
    write(place / "a.jsonl", [chat("Hi", "Hello")])
    shown = ft("preview", "a.jsonl", "--model", "tiny")
    assert shown.stdout == ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[Hello<|im_end|>]\n\n")
    assert "a.jsonl:1:" in shown.stderr


def test_preview_separates_tokens_of_any_row(place: Path) -> None:
    shown = ft("preview", "--row", "7", "--tokens")
    assert "orders.jsonl:7:" in shown.stderr
    assert "]·[ s]·[al]·✂a·d·" in shown.stdout
    with pytest.raises(FtError, match="has no row 1000"):
        ft("preview", "--row", "1000")


def test_preview_explains_unusable_row(place: Path) -> None:
    assert (
        "there is no assistant turn" in ft("preview", "mixed.jsonl", "--row", "4", "--model", "tiny").stdout
    )


def test_check_names_copied_rows_and_succeeds(place: Path) -> None:
    write(place / "a.jsonl", [*good(40), good(1)[0]])
    shown = ft("check", "a.jsonl", "--model", "tiny").stdout
    assert "1 row is the same as an earlier one" in shown
    assert "a.jsonl:41" in shown


def test_check_of_good_rows_finds_nothing(place: Path) -> None:
    write(place / "a.jsonl", good(40))
    assert "Nothing is wrong with these rows." in ft("check", "a.jsonl", "--model", "tiny").stdout
    assert json.loads(ft("check", "a.jsonl", "--model", "tiny", "--json").stdout)["findings"] == []


def test_check_fails_when_run_would_be_wasted(place: Path) -> None:
    write(place / "a.jsonl", [chat(f"Say {n}. <|im_end|>", f"It is {n}.") for n in range(20)])
    with pytest.raises(CheckFailed, match="errors that would stop a run"):
        ft("check", "a.jsonl", "--model", "tiny")


def test_rows_are_named_by_their_file(place: Path) -> None:
    write(place / "a.jsonl", good(30))
    write(place / "b.jsonl", good(3))
    (place / "both.yml").write_text("model: {base: tiny}\ndata: {train: [a.jsonl, b.jsonl], validation: 0}\n")
    assert "b.jsonl:1, 2, 3" in ft("check", "--recipe", "both.yml").stdout


def test_data_file_is_relative_to_working_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All else comes from the recipe that is named."""
    (place / "sub").mkdir()
    write(place / "sub" / "mine.jsonl", [chat("Hi", "Hello")])
    (place / "train.yml").write_text(
        "model: {base: tiny, chat_template: llama3}\ndata: {train: orders.jsonl, validation: 0}\n"
    )
    monkeypatch.chdir(place / "sub")
    assert "<|start_header_id|>user" in ft("preview", "mine.jsonl", "--recipe", "../train.yml").stdout
    monkeypatch.chdir(place)
    shown = ft("preview", "sub/mine.jsonl", "--recipe", "train.yml").stdout
    assert "<|start_header_id|>user" in shown, "a recipe that is named is used, also by its usual name"


def test_check_names_first_rows_counts_others(place: Path) -> None:
    write(place / "a.jsonl", [*good(30), *good(12)])
    shown = ft("check", "a.jsonl", "--model", "tiny").stdout
    assert "a.jsonl:31, 32, 33, 34, 35, 36, 37, 38, 39, 40 and 2 more" in shown
    write(place / "b.jsonl", [*good(30), *[chat("a", "")] * 12])
    (place / "new").mkdir()
    assert "b.jsonl:40: nothing" in (told := ft("prepare", "b.jsonl", "-o", "new").stdout)
    assert "\n  and 2 more\n" in told
    ft("prepare", "a.jsonl", "-o", "deep/er")
    assert (place / "deep" / "er" / "report.json").is_file()


def test_histogram_spans_shortest_to_longest_row() -> None:
    bars = _histogram(np.array([30, 30, 31, 61]))
    assert bars[0] == (30, 32, 3)
    assert bars[-1] == (60, 62, 1)
    assert len(bars) == 16
    assert _histogram(np.array([7])) == [(7, 8, 1)]
    assert _histogram(np.array([7, 8, 8])) == [(7, 8, 1), (8, 9, 2)]
    assert [count for *_, count in _histogram(np.arange(33))] == [3] * 11


def test_stats_counted_in_parts_are_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(place / "a.jsonl", good(20))
    whole = ft("stats", "a.jsonl", "--model", "tiny", "--json").stdout
    monkeypatch.setattr("engine.data.stats.PART", 7)
    assert ft("stats", "a.jsonl", "--model", "tiny", "--json").stdout == whole


def test_stats_count_rows_tokens_and_cuts(place: Path) -> None:
    write(place / "a.jsonl", [*good(20), chat("Much.", "tea " * 300)])
    found = json.loads(ft("stats", "a.jsonl", "--model", "tiny", "--json").stdout)
    assert (found["rows"], found["examples"], found["turns"]) == (21, 21, {"2": 21})
    assert found["cut"]["256"] == pytest.approx(1 / 21)
    assert sum(count for _, _, count in found["histogram"]) == 21
    assert 0 < found["trained"] < found["tokens"]
    shown = ft("stats", "a.jsonl", "--model", "tiny").stdout
    assert "21 of 2 messages" in shown
    assert "4.8% at 256" in shown


def test_stats_of_many_tokens_are_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are more tokens than are counted at the same time."""
    write(place / "a.jsonl", good(20))
    whole = ft("stats", "a.jsonl", "--model", "tiny", "--json").stdout
    monkeypatch.setattr("engine.data.stats.PART", 7)
    assert ft("stats", "a.jsonl", "--model", "tiny", "--json").stdout == whole


def test_sample_prints_same_rows_as_jsonl(place: Path) -> None:
    first, again = (ft("sample", "orders.jsonl", "-n", "4").stdout for _ in range(2))
    assert first == again
    assert len([json.loads(line) for line in first.splitlines()]) == 4
    assert len(ft("sample", "orders.jsonl").stdout.splitlines()) == 5


def test_prepare_cleans_splits_and_reports_rows(place: Path) -> None:
    rows: list[Any] = [*good(30), good(1)[0], {"messages": [{"role": "user", "content": "alone"}]}]
    write(place / "a.jsonl", rows)
    shown = ft("prepare", "a.jsonl", "-o", "clean", "--validation", "0.2").stdout
    assert "1 copy left out" in shown
    assert "a.jsonl:32: nothing to train: there is no assistant turn" in shown
    train, validation = (
        [json.loads(line) for line in (place / "clean" / name).read_text().splitlines()]
        for name in ("train.jsonl", "validation.jsonl")
    )
    assert (len(train), len(validation)) == (24, 6)
    assert sorted(map(json.dumps, train + validation)) == sorted(map(json.dumps, good(30)))
    report = json.loads((place / "clean" / "report.json").read_text())
    assert (report["rows"], report["copies"], report["broken"]) == (32, 1, 1)


def test_validation_source_rows_stay_held_out(place: Path) -> None:
    rows = good(30)
    write(place / "a.jsonl", rows[:20])
    write(place / "b.jsonl", [rows[0], *rows[20:]])  # one is trained on already
    ft("prepare", "a.jsonl", "-o", "clean", "--set", "data.validation=b.jsonl")
    train, validation = (
        [json.loads(line) for line in (place / "clean" / name).read_text().splitlines()]
        for name in ("train.jsonl", "validation.jsonl")
    )
    assert (train, validation) == (rows[:20], rows[20:])


def test_prepare_skips_and_names_broken_json_rows(place: Path) -> None:
    (place / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in good(9)) + "{broken\n")
    shown = ft("prepare", "a.jsonl", "-o", "clean", "--validation", "0")
    assert "a.jsonl:10:2: not valid JSON" in shown.stderr
    assert len((place / "clean" / "train.jsonl").read_text().splitlines()) == 9


def test_prepare_again_splits_rows_alike(place: Path) -> None:
    """Nothing is written over."""
    write(place / "a.jsonl", good(30))
    for name in ("one", "two"):
        ft("prepare", "a.jsonl", "-o", name)
    assert (place / "one" / "validation.jsonl").read_bytes() == (
        place / "two" / "validation.jsonl"
    ).read_bytes()
    with pytest.raises(FtError, match="one is there already"):
        ft("prepare", "a.jsonl", "-o", "one")


def test_prepare_drops_near_copies_if_asked(place: Path) -> None:
    long = "the quick brown fox jumps over the lazy dog and runs away into the deep dark forest again"
    write(place / "a.jsonl", [*good(20), chat("Tell.", long), chat("Tell.", long + "!")])
    assert "1 near copy left out" in ft("prepare", "a.jsonl", "-o", "clean", "--near").stdout


def test_every_format_becomes_chat_or_text(place: Path) -> None:
    write(place / "a.jsonl", [{"instruction": f"Add {n}.", "input": "1", "output": str(n)} for n in range(4)])
    write(place / "b.jsonl", [{"text": f"A text {n}."} for n in range(4)])
    for name in ("a", "b"):
        ft("prepare", f"{name}.jsonl", "-o", name, "--validation", "0")
    (first, *_) = (place / "a" / "train.jsonl").read_text().splitlines()
    assert json.loads(first) == chat("Add 0.\n\n1", "0")
    assert (place / "b" / "train.jsonl").read_text() == (place / "b.jsonl").read_text()
    assert not (place / "a" / "validation.jsonl").exists()


def test_dataset_command_is_alias_of_data(place: Path) -> None:
    shown = CliRunner().invoke(app, ["dataset", "sample", "orders.jsonl", "-n", "1"])
    assert shown.exit_code == 0
    assert shown.stdout == ft("sample", "orders.jsonl", "-n", "1").stdout
