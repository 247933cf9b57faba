"""`on_error: skip`: rows that cannot be used are left out, counted and named, and everything else stays what it was."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.data.findings import Finding
from engine.data.prepare import prepare, sample
from engine.errors import CheckFailed, DataError
from tests.data_service import write_place
from tests.test_data_command import ft
from tests.test_data_lint import chat, good
from tests.test_data_prepare import chats, decoded, recipe, texts, write

BAD: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "alone"}]},
    chat("no answer", " "),
    {"messages": [{"role": "narrator", "content": "a"}]},
    {"text": "of another form"},
    {"messages": [{"role": "user", "content": 3}]},
]
WHY = (
    "nothing to train: there is no assistant turn",
    "nothing to train: the assistant's answer is empty",
    "`messages[0].role` is 'narrator'",
    "columns `text`, but chat needs `messages`",
    "`messages[0].content` is 3 where text is expected",
)
COUNTED = "2 with nothing to train, 2 malformed, 1 with other columns"


def mixed(rows: list[Any], bad: list[Any]) -> list[Any]:
    """The bad rows between the others, every third one as long as there are some."""
    found, left = [], list(bad)
    for number, row in enumerate(rows):
        found += [left.pop(0)] if number % 3 == 2 and left else []
        found.append(row)
    return found


@pytest.fixture
def file(folder: Path) -> str:
    """60 rows, and 5 in other places that cannot be used."""
    write(folder / "a.jsonl", mixed(chats(60), BAD))
    return "a.jsonl"


def found(findings: tuple[Finding, ...], kind: str) -> Finding:
    return next(one for one in findings if one.kind == kind)


def test_unusable_rows_stop_run_by_default(file: str, tiny_model: Path) -> None:
    with pytest.raises(DataError, match="5 rows cannot be used"):
        prepare(recipe(file), tiny_model)
    dataset = prepare(recipe(file, on_error="skip", validation=0), tiny_model)
    clean = prepare(recipe(write(Path("clean.jsonl"), chats(60)), validation=0), tiny_model)
    assert decoded(dataset.train, tiny_model) == decoded(clean.train, tiny_model)


def test_skipped_rows_are_counted_by_reason(file: str, tiny_model: Path) -> None:
    (note,) = (
        note for note in prepare(recipe(file, on_error="skip"), tiny_model).notes if "cannot be used" in note
    )
    lead, *lines = note.splitlines()
    assert lead == f"5 of 65 rows cannot be used and are left out (on_error: skip), {COUNTED}:"
    assert len(lines) == 5
    for line, number, why in zip(lines, (3, 7, 11, 15, 19), WHY, strict=True):
        assert line.startswith(f"  a.jsonl:{number}: {why}")


def test_only_ten_skipped_rows_are_named(folder: Path, tiny_model: Path) -> None:
    write(folder / "a.jsonl", mixed(chats(60), BAD * 3))
    dataset = prepare(recipe("a.jsonl", on_error="skip", validation=0), tiny_model, lint=True)
    (note,) = (note for note in dataset.notes if "cannot be used" in note)
    assert "15 of 75 rows cannot be used" in note
    assert note.count("\n  a.jsonl:") == 10
    assert note.endswith("\n  and 5 more")
    assert len(found(dataset.findings, "unusable").rows) == 10


def test_validation_share_counts_usable_rows_only(file: str, tiny_model: Path) -> None:
    """The questions are of usable rows too."""
    dataset = prepare(recipe(file, on_error="skip", validation=0.5), tiny_model)
    train, held = decoded(dataset.train, tiny_model), decoded(dataset.validation, tiny_model)
    assert (len(train), len(held)) == (30, 30)
    assert len({*train, *held}) == 60
    assert "30 of 60 rows are used for validation" in dataset.notes
    assert len(dataset.questions) == 7
    assert all(any(question.answer in text for text in held) for question in dataset.questions)


def test_skipping_keeps_repeats_of_weighted_rows(folder: Path, tiny_model: Path) -> None:
    write(folder / "a.jsonl", mixed(texts(9), [{"text": ""}, {"text": 3}]))
    write(folder / "b.jsonl", chats(4))
    sources = [{"path": "a.jsonl", "weight": 2}, {"path": "b.jsonl", "weight": 1}]
    dataset = prepare(recipe(sources, on_error="skip", validation=0), tiny_model)
    assert decoded(dataset.train, tiny_model)[:18] == [row["text"] for row in texts(9) for _ in "12"]
    assert len(dataset.train) == 22


def test_rows_refused_by_template_are_skipped(folder: Path, tiny_model: Path) -> None:
    """As are those that it shows nothing of."""
    (folder / "t.jinja").write_text(
        "{% for m in messages %}{% if m.content == 'no' %}{{ raise_exception('not this') }}{% endif %}"
        "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    write(folder / "a.jsonl", [*chats(12), chat("no", "answer")])
    write(folder / "b.jsonl", [*texts(12), {"text": "x"}])
    config = recipe(["a.jsonl", "b.jsonl"], on_error="skip", validation=0)
    config = config.model_copy(update={"model": config.model.model_copy(update={"chat_template": "t.jinja"})})
    dataset = prepare(config, tiny_model, lint=True)
    unusable = found(dataset.findings, "unusable")
    assert unusable.message.startswith("1 row cannot be used")
    assert "1 that the chat template does not take" in unusable.message
    assert len(dataset.train) == 25


def test_row_of_end_token_alone_is_skipped(folder: Path, tiny_model: Path) -> None:
    write(folder / "a.jsonl", [*texts(5), {"text": "<|im_end|>"}, *texts(7)[5:]])
    with pytest.raises(DataError, match=r"a.jsonl:6: nothing to train: it has no tokens of its own"):
        prepare(recipe("a.jsonl"), tiny_model)
    dataset = prepare(recipe("a.jsonl", on_error="skip", validation=0), tiny_model, lint=True)
    assert decoded(dataset.train, tiny_model) == [row["text"] for row in texts(7)]
    unusable = found(dataset.findings, "unusable")
    assert (unusable.rows, unusable.of) == ((5,), 8)
    assert "1 with nothing to train" in unusable.message
    assert "untrained" not in {one.kind for one in dataset.findings}


def test_skipped_validation_rows_name_own_file(file: str, tiny_model: Path) -> None:
    write(Path("b.jsonl"), [*good(12), BAD[1]])
    config = recipe(file, validation="b.jsonl", on_error="skip")
    dataset = prepare(config, tiny_model, lint=True)
    assert len(dataset.validation or ()) == 12
    assert any(note.startswith("validation: 1 of 13 rows cannot be used and is") for note in dataset.notes)
    assert {place for one in dataset.findings if one.kind == "unusable" for place in one.places} == {
        *(f"a.jsonl:{number}" for number in (3, 7, 11, 15, 19)),
        "b.jsonl:13",
    }


@pytest.mark.parametrize(("bad", "severity"), [(2, "note"), (8, "warning"), (30, "error")])
def test_many_skipped_rows_warn_and_half_fail(
    bad: int, severity: str, folder: Path, tiny_model: Path
) -> None:
    write(folder / "a.jsonl", [*chats(30), *[chat("a", "")] * bad])
    (folder / "b.jsonl").write_text(json.dumps(chats(1)[0]) + "\n" + "{no\n" * 30)
    dataset = prepare(recipe("a.jsonl", on_error="skip"), tiny_model, lint=True)
    finding = found(dataset.findings, "unusable")
    assert (finding.severity, finding.count, finding.of) == (severity, bad, 30 + bad)
    unreadable = prepare(recipe("b.jsonl", on_error="skip"), tiny_model, lint=True)
    assert found(unreadable.findings, "unreadable").severity == "error"


def test_no_usable_rows_error_names_first(folder: Path, tiny_model: Path) -> None:
    write(folder / "a.jsonl", BAD[:3] * 5)
    with pytest.raises(DataError) as refused:
        prepare(recipe("a.jsonl", on_error="skip", format="chat"), tiny_model)
    lead, *lines = refused.value.message.splitlines()
    assert lead == "none of the 15 rows can be used, 10 with nothing to train, 5 malformed:"
    assert lines[0] == f"  a.jsonl:1: {WHY[0]}"
    assert len(lines) == 10
    assert "data.format" in refused.value.hint


def test_plan_looks_past_skipped_rows(file: str, tiny_model: Path) -> None:
    with pytest.raises(DataError, match="cannot be used"):
        sample(recipe(file, validation=0), tiny_model)
    looked, count = sample(recipe(file, on_error="skip", validation=0), tiny_model)
    assert len(looked.train) == count == 60


def test_check_reports_skipped_rows_stats_ignores(file: str, folder: Path) -> None:
    """Stats counts none of them."""
    write_place(folder)
    skip = ("--model", "tiny", "--set", "data.on_error=skip")
    shown = ft("check", file, *skip)
    assert f"5 rows cannot be used and are left out: {COUNTED} (7.7%)" in shown.stdout
    assert "a.jsonl:3, 7, 11, 15, 19" in shown.stdout
    assert f"a.jsonl:3: {WHY[0]}" in shown.stderr
    assert json.loads(ft("stats", file, *skip, "--json").stdout)["rows"] == 60
    write(folder / "b.jsonl", [*chats(9), *BAD[:2] * 5])
    with pytest.raises(CheckFailed):
        ft("check", "b.jsonl", *skip)


def test_prepare_counts_broken_rows_by_reason(folder: Path) -> None:
    """It warns where they are most of the rows."""
    rows = "".join(json.dumps(row) + "\n" for row in mixed(chats(9), BAD[:2]))
    (folder / "a.jsonl").write_text(rows + "{no\n")
    shown = ft("prepare", "a.jsonl", "-o", "clean").stdout
    assert "1 row that cannot be read left out" in shown
    assert f"2 broken rows left out, 2 with nothing to train:\n  a.jsonl:3: {WHY[0]}" in shown
    assert "are lost" not in shown
    report = json.loads((folder / "clean" / "report.json").read_text())
    assert (report["rows"], report["broken"], report["unreadable"]) == (11, 2, 1)
    assert report["reasons"] == {"with nothing to train": 2}
    (folder / "b.jsonl").write_text(rows + "{no\n" * 9)
    assert "11 of 20 rows are lost. Fix these rows" in ft("prepare", "b.jsonl", "-o", "more").stdout
