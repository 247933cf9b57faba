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


def test_preview_puts_what_is_trained_in_brackets(place: Path) -> None:
    write(place / "a.jsonl", [chat("Hi", "Hello")])
    shown = ft("preview", "a.jsonl", "--model", "tiny")
    assert shown.stdout == ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[Hello<|im_end|>]\n\n")
    assert "a.jsonl:1:" in shown.stderr


def test_preview_parts_tokens_and_takes_any_row_of_the_recipe(place: Path) -> None:
    shown = ft("preview", "--row", "7", "--tokens")
    assert "orders.jsonl:7:" in shown.stderr
    assert "]·[ s]·[al]·✂a·d·" in shown.stdout
    with pytest.raises(FtError, match="has no row 1000"):
        ft("preview", "--row", "1000")


def test_a_row_that_cannot_be_used_is_shown_with_what_is_wrong(place: Path) -> None:
    assert (
        "there is no assistant turn" in ft("preview", "mixed.jsonl", "--row", "4", "--model", "tiny").stdout
    )


def test_check_says_which_rows_are_copies_and_ends_well(place: Path) -> None:
    write(place / "a.jsonl", [*good(40), good(1)[0]])
    shown = ft("check", "a.jsonl", "--model", "tiny").stdout
    assert "1 row is the same as an earlier one" in shown
    assert "a.jsonl:41" in shown


def test_check_of_good_rows_finds_nothing(place: Path) -> None:
    write(place / "a.jsonl", good(40))
    assert "Nothing is wrong with these rows." in ft("check", "a.jsonl", "--model", "tiny").stdout
    assert json.loads(ft("check", "a.jsonl", "--model", "tiny", "--json").stdout)["findings"] == []


def test_check_fails_where_a_run_would_be_wasted(place: Path) -> None:
    write(place / "a.jsonl", [chat(f"Say {n}. <|im_end|>", f"It is {n}.") for n in range(20)])
    with pytest.raises(CheckFailed, match="errors that would stop a run"):
        ft("check", "a.jsonl", "--model", "tiny")


def test_rows_of_several_files_are_named_by_their_file(place: Path) -> None:
    write(place / "a.jsonl", good(30))
    write(place / "b.jsonl", good(3))
    (place / "both.yml").write_text("model: {base: tiny}\ndata: {train: [a.jsonl, b.jsonl], validation: 0}\n")
    assert "b.jsonl:1, 2, 3" in ft("check", "--recipe", "both.yml").stdout


def test_a_file_is_as_seen_from_here_and_all_else_from_the_recipe_that_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_of_many_rows_the_first_are_named_and_the_others_counted(place: Path) -> None:
    write(place / "a.jsonl", [*good(30), *good(12)])
    shown = ft("check", "a.jsonl", "--model", "tiny").stdout
    assert "a.jsonl:31, 32, 33, 34, 35, 36, 37, 38, 39, 40 and 2 more" in shown
    write(place / "b.jsonl", [*good(30), *[chat("a", "")] * 12])
    (place / "new").mkdir()
    assert "b.jsonl:40: nothing" in (told := ft("prepare", "b.jsonl", "-o", "new").stdout)
    assert "\n  and 2 more\n" in told
    ft("prepare", "a.jsonl", "-o", "deep/er")
    assert (place / "deep" / "er" / "report.json").is_file()


def test_the_histogram_goes_from_the_shortest_row_to_the_longest() -> None:
    bars = _histogram(np.array([30, 30, 31, 61]))
    assert bars[0] == (30, 32, 3)
    assert bars[-1] == (60, 62, 1)
    assert len(bars) == 16
    assert _histogram(np.array([7])) == [(7, 8, 1)]
    assert _histogram(np.array([7, 8, 8])) == [(7, 8, 1), (8, 9, 2)]
    assert [count for *_, count in _histogram(np.arange(33))] == [3] * 11


def test_what_is_counted_in_parts_is_counted_alike(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(place / "a.jsonl", good(20))
    whole = ft("stats", "a.jsonl", "--model", "tiny", "--json").stdout
    monkeypatch.setattr("engine.data.stats.PART", 7)
    assert ft("stats", "a.jsonl", "--model", "tiny", "--json").stdout == whole


def test_stats_count_rows_tokens_and_what_limits_would_cut(place: Path) -> None:
    write(place / "a.jsonl", [*good(20), chat("Much.", "tea " * 300)])
    found = json.loads(ft("stats", "a.jsonl", "--model", "tiny", "--json").stdout)
    assert (found["rows"], found["examples"], found["turns"]) == (21, 21, {"2": 21})
    assert found["cut"]["256"] == pytest.approx(1 / 21)
    assert sum(count for _, _, count in found["histogram"]) == 21
    assert 0 < found["trained"] < found["tokens"]
    shown = ft("stats", "a.jsonl", "--model", "tiny").stdout
    assert "21 of 2 messages" in shown
    assert "4.8% at 256" in shown


def test_stats_of_more_tokens_than_are_counted_at_once_are_the_same(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place / "a.jsonl", good(20))
    whole = ft("stats", "a.jsonl", "--model", "tiny", "--json").stdout
    monkeypatch.setattr("engine.data.stats.PART", 7)
    assert ft("stats", "a.jsonl", "--model", "tiny", "--json").stdout == whole


def test_a_sample_is_the_same_rows_each_time_and_is_jsonl(place: Path) -> None:
    first, again = (ft("sample", "orders.jsonl", "-n", "4").stdout for _ in range(2))
    assert first == again
    assert len([json.loads(line) for line in first.splitlines()]) == 4
    assert len(ft("sample", "orders.jsonl").stdout.splitlines()) == 5


def test_prepared_rows_are_clean_split_and_told(place: Path) -> None:
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


def test_rows_of_a_validation_source_stay_held_out(place: Path) -> None:
    rows = good(30)
    write(place / "a.jsonl", rows[:20])
    write(place / "b.jsonl", [rows[0], *rows[20:]])  # one is trained on already
    ft("prepare", "a.jsonl", "-o", "clean", "--set", "data.validation=b.jsonl")
    train, validation = (
        [json.loads(line) for line in (place / "clean" / name).read_text().splitlines()]
        for name in ("train.jsonl", "validation.jsonl")
    )
    assert (train, validation) == (rows[:20], rows[20:])


def test_rows_that_are_no_json_are_left_out_of_what_is_prepared_and_named(place: Path) -> None:
    (place / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in good(9)) + "{broken\n")
    shown = ft("prepare", "a.jsonl", "-o", "clean", "--validation", "0")
    assert "a.jsonl:10:2: not valid JSON" in shown.stderr
    assert len((place / "clean" / "train.jsonl").read_text().splitlines()) == 9


def test_preparing_again_splits_alike_and_writes_over_nothing(place: Path) -> None:
    write(place / "a.jsonl", good(30))
    for name in ("one", "two"):
        ft("prepare", "a.jsonl", "-o", name)
    assert (place / "one" / "validation.jsonl").read_bytes() == (
        place / "two" / "validation.jsonl"
    ).read_bytes()
    with pytest.raises(FtError, match="one is there already"):
        ft("prepare", "a.jsonl", "-o", "one")


def test_near_copies_are_left_out_where_asked(place: Path) -> None:
    long = "the quick brown fox jumps over the lazy dog and runs away into the deep dark forest again"
    write(place / "a.jsonl", [*good(20), chat("Tell.", long), chat("Tell.", long + "!")])
    assert "1 near copy left out" in ft("prepare", "a.jsonl", "-o", "clean", "--near").stdout


def test_every_form_of_rows_becomes_chat_or_stays_text(place: Path) -> None:
    write(place / "a.jsonl", [{"instruction": f"Add {n}.", "input": "1", "output": str(n)} for n in range(4)])
    write(place / "b.jsonl", [{"text": f"A text {n}."} for n in range(4)])
    for name in ("a", "b"):
        ft("prepare", f"{name}.jsonl", "-o", name, "--validation", "0")
    (first, *_) = (place / "a" / "train.jsonl").read_text().splitlines()
    assert json.loads(first) == chat("Add 0.\n\n1", "0")
    assert (place / "b" / "train.jsonl").read_text() == (place / "b.jsonl").read_text()
    assert not (place / "a" / "validation.jsonl").exists()


def test_dataset_is_another_name_of_the_group(place: Path) -> None:
    shown = CliRunner().invoke(app, ["dataset", "sample", "orders.jsonl", "-n", "1"])
    assert shown.exit_code == 0
    assert shown.stdout == ft("sample", "orders.jsonl", "-n", "1").stdout
