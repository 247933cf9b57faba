"""No bytes in a file of any kind give a traceback: there are rows, or a `DataError`."""

import gzip
import io
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config.schema import TrainConfig
from engine.config.sections import Source
from engine.data.readers import arrow
from engine.data.readers.random_access import open_rows
from engine.data.readers.registry import DOCUMENTS, PACKED, READERS
from engine.data.readers.search import find_row
from engine.data.sources import layout
from engine.data.sources.resolve import find, open_source
from engine.errors import DataError

SOME = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
TABLE = pa.table({"text": ["one", "two é", None], "n": [1, 2, 3], "list": [[{"a": "b"}], [], None]})


def _arrow(stream: bool) -> bytes:
    out = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(out, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return out.getvalue()


def _parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(TABLE, out)
    return out.getvalue()


WHOLE: dict[str, bytes] = {
    ".json": b'{"a": [1], "rows": [{"text": "one \\u00e9 \\ud83d\\ude00"}, {"text": 1e5}, null]}',
    ".jsonl": b'{"text": "one"}\n\n{"text": "two"}\n[]\n',
    ".csv": b'text;n\n"one;\n""x""";1\ntwo;2\n',
    ".tsv": b'text\tn\n"one"\t1\n',
    ".parquet": _parquet(),
    ".arrow": _arrow(stream=True),
    ".txt": b"one\n\ntwo\r\nthree",
    ".md": b"# one\n\ntwo",
    ".html": b"<html><body><article><h1>One</h1><p>Two, and three.</p></article></body></html>",
}
SEEDS = [*WHOLE.items(), (".arrow", _arrow(stream=False)), (".ndjson", WHOLE[".jsonl"])]
PIECES = [
    b'"',
    b"{",
    b"[",
    b"}",
    b",",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"9" * 5000,
    b"[" * 3000,
    b"<svg>",
]


def test_every_file_format_is_fuzzed() -> None:
    assert {suffix for suffix, _ in SEEDS} | {".markdown", ".htm"} == {*READERS, *DOCUMENTS}


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A suffix, and bytes that were a whole file of that kind, or never were one."""
    suffix, whole = draw(st.sampled_from(SEEDS))
    data = bytearray(draw(st.binary(max_size=60)) if draw(st.integers(0, 4)) == 0 else whole)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 2)):
            case 0:
                data[at : at + draw(st.integers(0, 20))] = b""
            case 1:
                data[at:at] = draw(st.sampled_from(PIECES) | st.binary(max_size=8))
            case _:
                data[at : at + 4] = draw(st.binary(min_size=4, max_size=4))
    return suffix, bytes(data)


def read_all(path: Path, by: str) -> Iterator[object]:
    """Everything that reads a source, each as far as it goes."""
    source = Source.model_validate({"path": str(path), "sample_by": by})
    config = TrainConfig.model_validate({"model": {"base": "x"}, "data": {"train": source}})
    table = open_source(source, config.data).table
    for step in (table.count, lambda: list(table.rows()), lambda: list(table.broken())):
        with suppress(DataError):
            yield step()
    [file] = find(source).files
    rows = open_rows(file.path, file.name, file.kind, source.sample_by)
    while rows.counting is not None:
        os.sched_yield()
    for number in range(min(rows.known, 20)):
        with suppress(DataError):
            yield rows.read(number)
        with suppress(DataError):
            yield rows.raw(number)
    with suppress(DataError):
        yield find_row(rows, "one", 0, lambda: False)


@SOME
@given(file=damaged(), by=st.sampled_from(["document", "paragraph", "line"]))
def test_random_file_bytes_give_no_traceback(tmp_path: Path, file: tuple[str, bytes], by: str) -> None:
    suffix, data = file
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(data)
    with suppress(DataError):
        list(read_all(path, by))


@SOME
@given(data=st.binary(max_size=40), cut=st.integers(0, 80), suffix=st.sampled_from(PACKED))
def test_random_compressed_bytes_give_no_traceback(
    tmp_path: Path, data: bytes, cut: int, suffix: str
) -> None:
    whole = (
        gzip.compress(WHOLE[".jsonl"], mtime=0)
        if suffix == ".gz"
        else pa.Codec("zstd").compress(WHOLE[".jsonl"], asbytes=True)
    )
    path = tmp_path / f"rows.jsonl{suffix}"
    path.write_bytes(whole[:cut] + data)
    with suppress(DataError):
        list(read_all(path, "document"))


@SOME
@given(
    names=st.lists(
        st.text(max_size=20) | st.sampled_from(["train.jsonl", "../train.jsonl", "a/test.csv"]), max_size=5
    ),
    readme=st.text(max_size=60)
    | st.text(max_size=40).map(lambda text: f"---\nconfigs:\n- {text}\n---\n")
    | st.sampled_from(["---\nconfigs:\n- {config_name: 1, data_files: [{split: [x], path: {a: b}}]}\n---\n"]),
    config=st.none() | st.text(max_size=5),
    split=st.none() | st.text(max_size=5),
)
def test_odd_dataset_layout_gives_no_traceback(
    names: list[str], readme: str, config: str | None, split: str | None
) -> None:
    """No layout leads outside of its folder."""
    with suppress(DataError):
        chosen = layout.choose(names, readme, config, split, "ada/rows")
        assert all(".." not in name.split("/") and not name.startswith("/") for name in chosen.names)


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_number_of_thousand_digits_breaks_row(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(
        b'[{"text": ' + b"9" * 5000 + b"}]" if suffix == ".json" else b'{"text": ' + b"9" * 5000 + b"}\n"
    )
    config = TrainConfig.model_validate({"model": {"base": "x"}, "data": {"train": str(path)}})
    with pytest.raises(DataError, match=r"rows.jsonl?:1.*not valid JSON"):
        list(open_source(Source(path=str(path)), config.data).table.rows())
    assert list(read_all(path, "document"))


def test_column_file_missing_rows_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with fewer rows than it says."""
    path = tmp_path / "rows.parquet"
    path.write_bytes(WHOLE[".parquet"])
    monkeypatch.setattr(arrow.Parquet, "_lengths", lambda table: [5])
    with pytest.raises(DataError, match=r"holds 3 rows and says that it has 5"):
        list(arrow.read_parquet(path, path.name).rows())
    with pytest.raises(DataError, match=r"holds 3 rows"):
        open_rows(path, path.name).read(4)
