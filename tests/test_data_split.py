"""The validation share: copies of a row are on one side, and the seed alone decides."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.prepare import prepare
from engine.data.rewrite import rewrite
from engine.data.split import drawn, validation_mask
from tests.test_data_lint import chat, good
from tests.test_data_prepare import chats, decoded, recipe, texts, write

Rows = list[tuple[int, ...]]
"""The contents of each row's examples; none for a row that is left out."""


def split(rows: Rows, share: float, seed: int = 42, salt: int = 1) -> list[bool]:
    """Flag each row that is used for validation, its contents hashed with some salt."""
    numbers = [number for number, row in enumerate(rows) for _ in row]
    contents = [hash(f"{content} {salt}") for row in rows for content in row]
    held = validation_mask(
        np.array(numbers, dtype=np.int64), np.array(contents, dtype=np.int64), len(rows), share, seed
    )
    return list(held.tolist())


ROWS = st.lists(st.lists(st.integers(0, 12), max_size=2).map(tuple), min_size=1, max_size=60)


@settings(deadline=None)
@given(ROWS, st.floats(0.01, 0.99), st.integers(0, 99))
def test_split_keeps_copies_on_one_side(rows: Rows, share: float, seed: int) -> None:
    held = split(rows, share, seed)
    sides: dict[tuple[int, ...], set[bool]] = {}
    for row, aside in zip(rows, held, strict=True):
        sides.setdefault(tuple(sorted(row)), set()).add(aside)
    sides.pop((), None)
    assert all(len(found) == 1 for found in sides.values())
    assert not any(aside for row, aside in zip(rows, held, strict=True) if not row)
    assert sum(held) < max(sum(map(bool, rows)), 1), "never all of them"
    assert any(held) == (len(sides) > 1)


@settings(deadline=None)
@given(ROWS, st.integers(0, 99), st.integers(1, 2**31))
def test_split_depends_on_copies_not_hashes(rows: Rows, seed: int, salt: int) -> None:
    assert split(rows, 0.3, seed) == split(rows, 0.3, seed, salt)


@given(st.integers(2, 200), st.floats(0.01, 0.99), st.integers(0, 99))
def test_split_without_copies_is_unchanged(count: int, share: float, seed: int) -> None:
    held = split([(number,) for number in range(count)], share, seed)
    assert held == drawn(count, share, seed).tolist()


def test_split_rounds_share_keeping_both_sides() -> None:
    """Never nothing and never all, unless the share is 0."""
    sizes = [
        int(drawn(count, share, 1).sum()) for count, share in ((100, 0.1), (2, 0.99), (5, 0.01), (15, 0.1))
    ]
    assert sizes == [10, 1, 1, 2]
    assert not drawn(100, 0.0, 1).any()
    assert not any(split([(1,), (2,), (3,)], 0.0))
    assert split([(), ()], 0.5) == [False, False]


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_split_keeps_share_where_copies_allow(share: float) -> None:
    rows = [(number % 800,) for number in range(1000)]
    assert sum(split(rows, share)) == 1000 * share
    other = [*rows, *[()] * 500]
    assert sum(split(other, share)) == 1000 * share, "rows without examples do not count"


def test_oversized_group_of_copies_stays_in_training() -> None:
    """If all groups are too large, the smallest is used for validation."""
    held = split([(0,)] * 50 + [(number,) for number in range(1, 51)], 0.1)
    assert not any(held[:50])
    assert sum(held) == 10
    assert split([(0,)] * 6 + [(1,)] * 4, 0.1) == [False] * 6 + [True] * 4
    assert not any(split([(0,)] * 10, 0.1))


def test_run_trains_no_copy_of_validation_row(tmp_path: Path, tiny_model: Path) -> None:
    file = write(tmp_path / "a.jsonl", [*good(40), *good(15), *good(15), *good(40)[20:]])
    dataset = prepare(recipe(file, validation=0.2), tiny_model, lint=True)
    train, held = decoded(dataset.train, tiny_model), decoded(dataset.validation, tiny_model)
    assert len(held) == 18
    assert len(train) + len(held) == 90
    assert not {*train} & {*held}
    assert "overlap" not in {finding.kind for finding in dataset.findings}
    assert "18 of 90 rows are used for validation" in dataset.notes
    assert all(any(question.answer in text for text in held) for question in dataset.questions)
    assert len(dataset.questions) == 7


def test_rows_alike_up_to_cut_are_copies(tmp_path: Path, tiny_model: Path) -> None:
    rows = [chat("Say.", "tea " * 60 + str(number)) for number in range(10)]
    file = write(tmp_path / "a.jsonl", [*rows, *chats(10)])
    dataset = prepare(recipe(file, validation=0.3, max_seq_length=64), tiny_model)
    assert not {*decoded(dataset.train, tiny_model)} & {*decoded(dataset.validation, tiny_model)}


def test_identical_rows_have_no_validation_split(tmp_path: Path, tiny_model: Path) -> None:
    """The notes say so."""
    dataset = prepare(recipe(write(tmp_path / "a.jsonl", chats(1) * 20), validation=0.5), tiny_model)
    assert len(dataset.train) == 20
    assert dataset.validation is None
    assert "no row is used for validation: all of them are the same" in dataset.notes


def test_weight_applies_to_training_rows_only(tmp_path: Path, tiny_model: Path) -> None:
    """Validation rows count once."""
    file = write(tmp_path / "a.jsonl", [*texts(20), *texts(5)])
    dataset = prepare(recipe([{"path": file, "weight": 3}], validation=0.2), tiny_model)
    train, held = decoded(dataset.train, tiny_model), decoded(dataset.validation, tiny_model)
    assert len(held) == 5
    assert len(train) == 3 * 20
    assert train[:3] == [train[0]] * 3
    assert not {*train} & {*held}


def test_split_is_same_in_another_process(tmp_path: Path, tiny_model: Path) -> None:
    file = write(tmp_path / "a.jsonl", [*chats(30), *chats(25)])
    code = (
        "import sys; from pathlib import Path; from tests.test_data_prepare import recipe\n"
        "from engine.data.prepare import prepare\n"
        "print(prepare(recipe(sys.argv[1]), Path(sys.argv[2])).fingerprint)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, file, str(tiny_model)],
        env={"PYTHONHASHSEED": "7", "FT_HOME": str(tmp_path / "home")},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == prepare(recipe(file), tiny_model).fingerprint


@pytest.mark.parametrize("copies", [0, 1, 12])
@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_prepare_writes_validation_rows_of_run(
    copies: int, share: float, tmp_path: Path, tiny_model: Path
) -> None:
    rows = [*chats(40), *chats(copies)]
    config = recipe(write(tmp_path / "a.jsonl", rows), validation=share)
    trained = prepare(config, tiny_model)
    rewrite(config, tmp_path / "out")
    files = {"train": trained.train, "validation": trained.validation}
    for name, examples in files.items():
        written = prepare(recipe(str(tmp_path / "out" / f"{name}.jsonl"), validation=0), tiny_model).train
        assert set(decoded(written, tiny_model)) == set(decoded(examples, tiny_model))
