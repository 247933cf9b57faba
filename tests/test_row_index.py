"""Any row of a file: the same rows as training reads, found without holding the file."""

import csv
import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import paths
from engine.data.readers import json_stream, offsets, search
from engine.data.readers.random_access import Rows, open_rows
from engine.data.readers.registry import READERS
from engine.data.readers.table import BOM
from engine.errors import DataError

HERE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def counted(rows: Rows) -> Rows:
    """The rows once all of them are counted."""
    while rows.counting is not None:
        os.sched_yield()
    return rows


def write(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def as_read_for_training(path: Path) -> list[tuple[str, dict[str, object]]]:
    return list(READERS[path.suffix](path, path.name).rows())


def every_row(rows: Rows) -> Iterator[tuple[str, dict[str, object]]]:
    return (rows.read(number) for number in range(rows.known))


values = st.text(max_size=12) | st.integers()
objects = st.dictionaries(st.text(min_size=1, max_size=4), values, max_size=3)


@HERE
@given(
    rows=st.lists(objects, min_size=1, max_size=8),
    blank=st.sampled_from(["", "\n", " \t\n"]),
    bom=st.booleans(),
)
def test_every_jsonl_row_is_found(
    tmp_path: Path, rows: list[dict[str, object]], blank: str, bom: bool
) -> None:
    """Blank lines between them do not matter."""
    body = blank + (blank + "\n").join(json.dumps(row) for row in rows)
    path = write(tmp_path / "rows.jsonl", (BOM if bom else b"") + body.encode())
    found = counted(open_rows(path, path.name))
    assert list(every_row(found)) == as_read_for_training(path)


@HERE
@given(
    records=st.lists(st.lists(st.text(max_size=10), min_size=2, max_size=2), min_size=1, max_size=8),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_every_csv_row_is_found(tmp_path: Path, records: list[list[str]], end: str) -> None:
    """Quotes and line ends do not matter."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([["prompt", "completion"], *records])
    path = write(tmp_path / "rows.csv", text.getvalue().encode(errors="replace"))
    found = counted(open_rows(path, path.name))
    assert list(every_row(found)) == as_read_for_training(path)


def test_parquet_rows_are_found_in_every_group(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": [f"row {n}" for n in range(2500)]}), path, row_group_size=1100)
    rows = open_rows(path, path.name)
    assert rows.known == 2500
    for number in (0, 1099, 1100, 2199, 2200, 2499, 7):
        assert rows.read(number) == (f"rows.parquet row {number + 1}", {"text": f"row {number}"})
    assert json.loads(rows.raw(2499)) == {"text": "row 2499"}


@HERE
@given(
    rows=st.lists(objects, min_size=1, max_size=8),
    indent=st.none() | st.integers(0, 2),
    ascii_only=st.booleans(),
    inside=st.booleans(),
    bom=st.booleans(),
    chunk=st.integers(1, 40),
)
def test_every_json_array_row_is_found(
    tmp_path: Path,
    rows: list[dict[str, object]],
    indent: int | None,
    ascii_only: bool,
    inside: bool,
    bom: bool,
    chunk: int,
) -> None:
    """Chunk boundaries do not matter."""
    whole = {"version": [1], "size": 1234567, "rows": [{"id": 0}, *rows], "end": "]"} if inside else rows
    body = json.dumps(whole, indent=indent, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    path = write(tmp_path / "rows.json", (BOM if bom else b"") + body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "CHUNK", chunk)
        found = counted(open_rows(path, path.name))
        assert list(every_row(found)) == as_read_for_training(path)
    assert [columns for _, columns in every_row(found)] == ([{"id": 0}, *rows] if inside else rows)
    assert [json.loads(found.raw(number)) for number in range(found.known)][-1] == rows[-1]


def test_broken_json_array_is_told_by_line(tmp_path: Path) -> None:
    """The distance of the error from the start does not matter."""
    lines = [*['{"text": "abc"},'] * 300_000, '{"text" "d"}']
    path = write(tmp_path / "rows.json", "[" + "\n".join(lines) + "]")
    rows = counted(open_rows(path, path.name))
    assert rows.known == 300_000
    assert rows.error is not None
    assert rows.error.message == "rows.json:300001:9: not valid JSON: Expecting ':' delimiter"


def test_json_object_lines_are_read_in_place(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.json", '{"text": "a"}\n{"text": "b"}\n')
    assert counted(open_rows(path, path.name)).read(1) == ("rows.json:2", {"text": "b"})


def test_broken_line_is_one_broken_row(tmp_path: Path) -> None:
    """The row can still be looked at."""
    path = write(tmp_path / "rows.jsonl", b'{"text": "a"}\n{"text": \n\xff\xfe\n{"text": "d"}\n')
    rows = counted(open_rows(path, path.name))
    assert rows.known == 4
    with pytest.raises(DataError, match=r"rows.jsonl:2:\d+: not valid JSON"):
        rows.read(1)
    assert rows.raw(1) == '{"text": '
    with pytest.raises(DataError, match=r"rows.jsonl:3: byte 24 is not UTF-8|UTF-16"):
        rows.read(2)
    assert rows.read(3)[1] == {"text": "d"}


def test_broken_csv_keeps_the_rows_before(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", 'prompt,completion\na,b\nc,d\n"never closed,e\nf,g\n')
    rows = counted(open_rows(path, path.name))
    assert rows.known == 2
    assert rows.read(1)[1] == {"prompt": "c", "completion": "d"}
    assert rows.error is not None
    assert "rows.csv:4" in rows.error.message


def test_rows_of_large_file_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has changed is counted again."""
    monkeypatch.setattr(offsets, "WORTH_KEEPING", 1)
    path = write(tmp_path / "rows.jsonl", '{"text": "a"}\n{"text": "b"}\n')
    counted(open_rows(path, path.name))
    (kept,) = wait_for_kept()
    again = open_rows(path, path.name)
    assert again.counting is None
    assert [row for _, row in every_row(again)] == [{"text": "a"}, {"text": "b"}]
    write(path, '{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n')
    assert counted(open_rows(path, path.name)).known == 3
    kept.write_bytes(b"damaged")
    assert counted(open_rows(write(path, '{"text": "a"}\n{"text": "b"}\n'), path.name)).known == 2


def wait_for_kept() -> list[Path]:
    """The kept indexes; writing one goes on for a moment after the rows are counted."""
    while not (found := list((paths.cache() / "rows").glob("*.npy"))):
        os.sched_yield()
    return found


def test_rows_can_be_read_while_counting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    halfway, seen = threading.Event(), threading.Event()
    whole = offsets.LineRows._starts

    def starts(self: offsets.LineRows) -> Iterator[tuple[int, int]]:
        for number, place in enumerate(whole(self)):
            if number == 1000:
                halfway.set()
                assert seen.wait(60)
            yield place

    monkeypatch.setattr(offsets.LineRows, "_starts", starts)
    path = write(tmp_path / "rows.jsonl", b"".join(b'{"text": "%d"}\n' % n for n in range(2000)))
    rows = open_rows(path, path.name)
    assert halfway.wait(60)
    share = rows.counting
    assert share is not None
    assert share == pytest.approx(0.5, abs=0.05)
    assert rows.known == 999, "where the last row ends is not known yet"
    assert rows.read(998)[1] == {"text": "998"}
    with pytest.raises(IndexError):
        rows.read(999)
    seen.set()
    assert counted(rows).known == 2000
    assert rows.read(1999)[1] == {"text": "1999"}
    with pytest.raises(IndexError):
        rows.read(2000)


ENDINGS = (".jsonl", ".csv", ".json", ".parquet", ".arrow", ".tsv")


@pytest.mark.parametrize("ending", ENDINGS)
def test_search_finds_next_row_and_wraps(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "BLOCK", 64)
    texts = [f"row {number} of many" for number in range(3000)]
    texts[7], texts[2500] = 'She said: "Crème brûlée"', "creme, and CRÈME again"
    rows = counted(open_rows(written(tmp_path / f"rows{ending}", texts), "rows"))

    def find(words: str, start: int) -> int | None:
        return search.find_row(rows, words, start, lambda: False)

    assert find("ROW 41 of", 0) == 41
    assert find("row 41 of", 42) == 41
    assert find("row 2999 of", 2999) == 2999
    assert find("brûlée", 8) == 7
    assert find("reme, AND", 0) == 2500
    assert find("nowhere", 5) is None
    assert search.find_row(rows, "row 2999 of", 0, lambda: True) is None
    assert find('said: "Cr', 0) == 7


def written(path: Path, texts: list[str]) -> Path:
    """A file of one column."""
    objects = [{"text": text} for text in texts]
    match path.suffix:
        case ".jsonl":
            return write(path, "".join(json.dumps(row) + "\n" for row in objects))
        case ".json":
            return write(path, json.dumps(objects, ensure_ascii=False))
        case ".csv" | ".tsv":
            out = io.StringIO(newline="")
            csv.writer(out, delimiter="\t" if path.suffix == ".tsv" else ",").writerows(
                [["text"], *([text] for text in texts)]
            )
            return write(path, out.getvalue())
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(objects)
    if path.suffix == ".arrow":
        with pa.ipc.new_stream(path, table.schema) as out:
            out.write_table(table, max_chunksize=1100)
    else:
        pq.write_table(table, path, row_group_size=1100)
    return path
