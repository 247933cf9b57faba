"""Looking through a large compressed file: its first rows are there before the whole is unpacked."""

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.data.preview import previews as preview
from engine.data.preview.previews import Previews
from engine.data.preview.values import Opened, View
from engine.data.readers.offsets import LineRows
from engine.data.sources import archives
from engine.errors import DataError
from tests.terminal import PATIENCE_S

ROWS = 3000


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A compressed file that is large for this test."""
    monkeypatch.setattr(archives, "LARGE", 1000)
    monkeypatch.setattr(archives, "BEGINNING", 50_000)
    file = tmp_path / "rows.jsonl.gz"
    rows = ({"text": f"Row {number} tells of {number * 7919 % 1000} foxes."} for number in range(ROWS))
    file.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return file


@pytest.fixture
def view(tiny_model: Path) -> View:
    return View(model=str(tiny_model))


def all_of(previews: Previews, file: Path, view: View) -> list[Opened]:
    """Previews of a file until all of its rows are known."""
    found, until = [previews.open(str(file), view)], time.monotonic() + PATIENCE_S
    while found[-1].counting is not None and time.monotonic() < until:
        found.append(previews.open(str(file), view))
    return found


def is_unpacked(file: Path) -> bool:
    return not archives.takes_time(file, ".jsonl")


def test_first_rows_show_before_file_is_unpacked(packed: Path, view: View) -> None:
    previews = Previews()
    opened = previews.open(str(packed), view, whole=False)
    assert 0 < opened.known < ROWS
    assert opened.counting is not None, "more rows follow"
    assert "Row 0 tells of 0 foxes." in "".join(
        piece.text for piece in previews.show(str(packed), [0], view)[0].pieces
    )
    assert previews.wait_for(str(packed), 5, view)
    assert not is_unpacked(packed)


def test_no_row_vanishes_during_unpacking(packed: Path, view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = LineRows._starts

    def slowly(rows: LineRows) -> Iterator[tuple[int, int]]:
        for number, start in enumerate(starts(rows)):
            if not number % 100:
                time.sleep(0.005)
            yield start

    monkeypatch.setattr(LineRows, "_starts", slowly)
    monkeypatch.setattr(preview, "SAMPLE_ROWS", 1)  # else many rows are waited for whatever was there before
    found = all_of(Previews(), packed, view)
    known = [each.known for each in found]
    assert known[0] < ROWS
    assert known[-1] == ROWS
    assert known == sorted(known)


def test_row_far_in_file_is_awaited(packed: Path, view: View) -> None:
    previews = Previews()
    assert previews.wait_for(str(packed), ROWS - 1, view)
    assert not previews.wait_for(str(packed), ROWS, view)


def test_truncated_file_is_reported_at_its_end(packed: Path, view: View) -> None:
    packed.write_bytes(packed.read_bytes()[:-2000])
    previews = Previews()
    assert previews.show(str(packed), [0], view)
    with pytest.raises(DataError, match=r"rows.jsonl.gz: not a whole .gz file"):
        all_of(previews, packed, view)
