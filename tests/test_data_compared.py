"""Answers that are compared, as a person meets them before training: findings of the lint, and previews."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from engine.data.findings import Finding
from engine.data.prepare import prepare
from engine.data.preview.previews import Previews
from engine.data.preview.values import View, compared
from engine.methods import Samples
from ft.commands.data_shown import row_title, shown_row
from screens.datasets.tokens import side_by_side
from tests.test_data_prepare import write
from tests.test_data_samples import pairs, recipe, taking


def findings(
    model: Path, tmp_path: Path, rows: Sequence[dict[str, Any]], samples: Samples, template: str = "auto"
) -> dict[str, Finding]:
    """Findings of the lint by kind."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = taking(samples, recipe(path, template=template))
    return {one.kind: one for one in prepare(config, model, lint=True).findings}


def test_pairs_that_look_swapped_are_named(tiny_model: Path, tmp_path: Path) -> None:
    rows = pairs(20)
    rows[3]["chosen"] = [{"role": "assistant", "content": "I'm sorry, but I can't help with that."}]
    rows[5]["rejected"] = [{"role": "assistant", "content": "Sorry, I cannot answer."}]
    found = findings(tiny_model, tmp_path, rows, "pairs")["swapped"]
    assert (found.count, found.of, found.severity) == (1, 20, "warning")
    assert found.places[0].endswith("rows.jsonl:4")
    assert "1 pair with a refusal as the chosen answer" in found.message


def test_columns_can_be_turned_as_the_advice_says(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in pairs(4)))
    plain, turned = (
        prepare(taking("pairs", recipe(path, **data)), tiny_model).train
        for data in ({}, {"columns": {"chosen": "rejected", "rejected": "chosen"}})
    )
    assert plain[0].input_ids.tolist() == turned[1].input_ids.tolist()
    assert plain[1].input_ids.tolist() == turned[0].input_ids.tolist()


def test_pairs_after_different_turns_are_named(tiny_model: Path, tmp_path: Path) -> None:
    rows = pairs(12)
    first = {"role": "user", "content": "Hello there."}
    rows[2] = {
        "chosen": [
            first,
            {"role": "user", "content": "What is it?"},
            {"role": "assistant", "content": "Tea."},
        ],
        "rejected": [
            first,
            {"role": "user", "content": "Who is it?"},
            {"role": "assistant", "content": "Me."},
        ],
    }
    found = findings(tiny_model, tmp_path, rows, "pairs")["prompts-differ"]
    assert (found.count, found.rows) == (1, (2,))
    assert "the first part at turn 2" in found.message


def test_turns_of_the_answers_may_differ(tiny_model: Path, tmp_path: Path) -> None:
    """An agent's calls and their results on the way to an answer are no prompt."""
    rows = pairs(12)
    for side, result in (("chosen", "21 degrees"), ("rejected", "no such town")):
        call = {"type": "function", "function": {"name": "weather", "arguments": {"town": side}}}
        rows[4][side] = [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": result},
            {"role": "assistant", "content": f"It says {result}."},
        ]
    assert "prompts-differ" not in findings(tiny_model, tmp_path, rows, "pairs", "chatml")


@pytest.mark.parametrize(
    ("better", "word"), [("a much longer answer than that", "longer"), ("no", "shorter")]
)
def test_length_that_tells_the_chosen_answer_is_told(
    tiny_model: Path, tmp_path: Path, better: str, word: str
) -> None:
    rows = pairs(60)
    for number, row in enumerate(rows):
        row["chosen"] = [{"role": "assistant", "content": f"{better} {number}"}]
        row["rejected"] = [{"role": "assistant", "content": f"it is the answer {number}"}]
    found = findings(tiny_model, tmp_path, rows, "pairs")["length-bias"]
    assert f"in 100% of the pairs the chosen answer is the {word} one" in found.message
    for row in rows[::2]:
        row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    assert "length-bias" not in findings(tiny_model, tmp_path, rows, "pairs")


@pytest.mark.parametrize(("good", "kind"), [(60, "one-label"), (57, "few-labels"), (40, None)])
def test_labels_of_one_kind_are_an_error(
    tiny_model: Path, tmp_path: Path, good: int, kind: str | None
) -> None:
    rows = [
        {"prompt": f"Question {n}?", "completion": f"Answer number {n * n}", "label": n < good}
        for n in range(60)
    ]
    found = findings(tiny_model, tmp_path, rows, "labelled")
    assert {"one-label", "few-labels"} & found.keys() == ({kind} if kind else set())
    if kind == "one-label":
        assert found[kind].severity == "error"
        assert "all 60 answers are labelled good, and none bad" in found[kind].message


def test_preview_shows_both_answers(tiny_model: Path, tmp_path: Path) -> None:
    source = str(write(tmp_path / "a.jsonl", pairs(1)))
    view = View(model=str(tiny_model), samples="pairs")
    previews = Previews()
    assert previews.wait_for(source, 0, view)
    (row,) = previews.show(source, [0], view)
    assert row.examples == 2
    text = "".join(piece.text for piece in row.pieces)
    assert "Good 0." in text
    assert "Bad 0." in text
    assert row.sides == ("chosen", "rejected")
    prompt, chosen, rejected = ("".join(piece.text for piece in part) for part in compared(row.pieces))
    assert "Question 0?" in prompt
    assert chosen.startswith("Good 0.")
    assert rejected.startswith("Bad 0.")


def test_preview_shows_the_label(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "Question?", "completion": "Answer.", "label": good} for good in (True, False)]
    source, view = str(write(tmp_path / "a.jsonl", rows)), View(model=str(tiny_model), samples="labelled")
    previews = Previews()
    assert previews.wait_for(source, 1, view)
    good, bad = previews.show(source, [0, 1], view)
    assert (good.sides, bad.sides) == (("good",), ("bad",))
    assert row_title(bad).endswith(", labelled bad")


def test_answers_of_a_pair_stand_side_by_side_where_there_is_room(tiny_model: Path, tmp_path: Path) -> None:
    source, view = str(write(tmp_path / "a.jsonl", pairs(1))), View(model=str(tiny_model), samples="pairs")
    previews = Previews()
    assert previews.wait_for(source, 0, view)
    (row,) = previews.show(source, [0], view)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(shown_row(row, parted=False, width=120))
    text = console.export_text()
    (line,) = [line for line in text.splitlines() if "Good 0." in line]
    assert line.index("Bad 0.") > 58
    lines = ["".join(run.text for run in line) for line in side_by_side(row.pieces, row.sides, 80)]
    (line,) = [line for line in lines if "Good 0." in line]
    assert line.index("Bad 0.") > line.index("│") == 39
    assert isinstance(shown_row(row, parted=False), Text)
