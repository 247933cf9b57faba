"""Typing a few words finds the runs that are meant, and a mistake is pointed at."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.runs.directory.state import RunState
from engine.runs.index.filter import FIELDS, FilterError, compile_filter
from engine.runs.index.index import RunSummary


def run(name: str, config: dict[str, Any] | None = None, damaged: str = "", **state: Any) -> RunSummary:
    values = {"model.base": "starter", "data.train": "starter"} | (config or {})
    run_id = f"20260101-000000-{name}"
    created = time.time() - 3600
    return RunSummary(
        run_id, Path("/runs", run_id), name, created, False, RunState(**state), config=values, damaged=damaged
    )


RUNS = (
    run("sql-helper", {"training.learning_rate": 2e-4, "adapter.rank": 16}, status="completed", loss=0.8),
    run(
        "sql-old",
        {"training.learning_rate": 1e-5, "adapter.rank": 64, "tags": ["tried", "v1.2"]},
        status="stopped",
        loss=1.5,
    ),
    run("café", {"model.base": "Qwen/Qwen3-0.6B", "data.train": ["a.jsonl", {"path": "b.csv"}]}, step=3),
    run("diverged", {"training.gradient_checkpointing": True}, status="failed", loss=float("nan")),
    run("broken", damaged="train.yml is gone", status="new"),
)


def names(text: str) -> list[str]:
    """Names of the runs that the words find; each was created an hour ago, however long the tests have been running."""
    meant, created = compile_filter(text), time.time() - 3600
    return [found.name for found in RUNS if meant(replace(found, created=created))]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [found.name for found in RUNS]),
        ("   ", [found.name for found in RUNS]),
        ("lr>1e-4", ["sql-helper"]),
        ("lr>1e-4 loss<1 status:completed name:sql tag:sql model:start", ["sql-helper"]),
        ("loss<1", ["sql-helper"]),
        ("loss>=1.5", ["sql-old"]),
        ("loss=nan", ["diverged"]),
        ("lr=2e-4", ["sql-helper"]),
        ("lr:0.0002", ["sql-helper"]),
        ("rank!=16", ["sql-old"]),
        ("rank=16,64", ["sql-helper", "sql-old"]),
        ("status:completed,stopped", ["sql-helper", "sql-old"]),
        ("status:COMP", ["sql-helper"]),
        ("status=comp", []),
        ("status!=completed name:sql", ["sql-old"]),
        ("status:damaged", ["broken"]),
        ("tag:sql", ["sql-helper", "sql-old"]),
        ("tag:sq", []),
        ("tag:tried", ["sql-old"]),
        ("tag:v1.2,helper", ["sql-helper", "sql-old"]),
        ("tried", ["sql-old"]),
        ("sql -old", ["sql-helper"]),
        ("-sql -status:queued", ["diverged"]),  # version 0.1.0's word for new
        ("-sql -status:new", ["diverged"]),
        ("-loss<1 lr>0", ["sql-old"]),
        ("model:qwen", ["café"]),
        ("data:b.csv", ["café"]),
        ("CAFÉ", ["café"]),
        ("qwen", ["café"]),
        ("adapter.rank>=32", ["sql-old"]),
        ("training.gradient_checkpointing:true", ["diverged"]),
        ("model.base:starter name:sql-o", ["sql-old"]),
        ("age<2h name:sql-o", ["sql-old"]),
        ("age<30min", []),
        ("age>59", [found.name for found in RUNS]),
        ("step<1k step>2", ["café"]),
        ('"sql old"', []),
        ('name:"sql-old"', ["sql-old"]),
        ("20260101-000000-diverged", ["diverged"]),
    ],
)
def test_filter_finds_the_meant_runs(text: str, found: list[str]) -> None:
    assert names(text) == found


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("name:sql los<1", "There is no field 'los'.", "los"),
        ("loss<", "A value has to follow loss<", "loss<"),
        ("sql loss<low", "'low' is not a number.", "low"),
        ("loss<1x", "'1x' is not a number.", "1x"),
        ("age<2parsecs", "'2parsecs' is not a time.", "2parsecs"),
        ("name>3", "name is text", "name>3"),
        ("lr:high", "'high' is not a number.", "high"),
        ('a "b c', "The quote is not closed.", '"b c'),
        ("a - b", "A word has to follow the -.", "-"),
        ("tag:,", "A value has to follow tag:,", "tag:,"),
    ],
)
def test_filter_mistake_says_what_and_where(text: str, message: str, place: str) -> None:
    with pytest.raises(FilterError) as caught:
        compile_filter(text)
    error = caught.value
    assert message in error.message
    assert text[error.start : error.end] == place
    assert error.hint
    assert error.pointed(text).splitlines()[1].index("^") == text.index(place)


def test_misspelt_filter_field_is_corrected() -> None:
    with pytest.raises(FilterError, match="There is no field 'staus'") as caught:
        compile_filter("staus:dead")
    assert caught.value.hint.startswith("Did you mean status?")


@given(st.text() | st.text(alphabet='lrossnametag<>=!:-,." 1e5'))
def test_any_filter_text_works_or_is_explained(text: str) -> None:
    try:
        places = (0, 0)
        assert all(compile_filter(text)(found) in (True, False) for found in RUNS)
    except FilterError as error:
        places = (error.start, error.end)
    assert 0 <= places[0] <= places[1] <= len(text)


def test_every_filter_field_works_on_every_run() -> None:
    for name, field in FIELDS.items():
        meant = compile_filter(f"{name}:1" if field.kind == "text" else f"{name}>=1")
        assert all(meant(found) in (True, False) for found in RUNS)


def test_older_status_word_finds_crashed_runs() -> None:
    """Version 0.1.0 called them dead."""
    lost = run("lost", status="crashed")
    assert compile_filter("status:dead")(lost)
    assert compile_filter("status:crashed")(lost)
    assert not compile_filter("status!=dead")(lost)
