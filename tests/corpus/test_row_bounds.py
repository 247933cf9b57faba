"""One row that is far too long is an error of the data with its place, in bounded memory (reliability.md, 4)."""

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.config.load import load_text
from engine.data import tokenise
from engine.data.prepare import prepare
from engine.data.preview.previews import Previews
from engine.data.preview.quick_check import check
from engine.data.preview.values import View
from engine.data.readers.table import bounded_lines
from engine.data.sources import archives
from engine.data.sources.archives import BEGINNING
from engine.data.tokenization import row_size
from engine.data.tokenization.row_encoder import RowEncoder
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Dataset, Text
from engine.errors import DataError
from ft.cli import main
from ft.commands.data_shown import row_title
from tests.training import recipe_text

SHORT = [{"prompt": f"Say {n}.", "completion": f"word{n}"} for n in range(20)]
LONGEST = 1_000_000
"""Bytes that a row may have in these tests."""
LONG = "fox " * (LONGEST // 4 + 1000)
READERS = (
    "readers.table",
    "readers.jsonl",
    "readers.json_stream",
    "readers.text",
    "readers.csv_table",
    "readers.random_access",
    "readers.offsets",
    "readers.arrow",
    "sources.archives",
)


@pytest.fixture
def longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limit of a row from 64 MB to `LONGEST`, so that tests need not write files of that size."""
    for module in READERS:
        monkeypatch.setattr(f"engine.data.{module}.ROW_BYTES", LONGEST)
    monkeypatch.setattr(archives, "CHUNK", 100_000)


def lines(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def table(rows: list[dict[str, str]]) -> pa.Table:
    return pa.Table.from_pylist(rows)


def arrow(rows: list[dict[str, str]], path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table(rows).schema) as out:
        out.write_table(table(rows))


def records(rows: list[dict[str, str]], comma: str) -> str:
    return f"prompt{comma}completion\n" + "".join(
        f"{row['prompt']}{comma}{row['completion']}\n" for row in rows
    )


WRITERS: dict[str, Callable[[list[dict[str, str]], Path], object]] = {
    ".jsonl": lambda rows, path: path.write_text(lines(rows)),
    ".jsonl.gz": lambda rows, path: path.write_bytes(gzip.compress(lines(rows).encode(), 1)),
    ".json": lambda rows, path: path.write_text(json.dumps(rows)),
    ".csv": lambda rows, path: path.write_text(records(rows, ",")),
    ".tsv": lambda rows, path: path.write_text(records(rows, "\t")),
    ".parquet": lambda rows, path: pq.write_table(table(rows), path, row_group_size=11),
    ".arrow": arrow,
}
PLACES = {".jsonl": ":11", ".jsonl.gz": ":11", ".json": ":1", ".csv": ":12", ".tsv": ":12"}
"""Place of row 11 in an error, by suffix; in columnar files it is `row 11`."""
WITH_LONG = [*SHORT[:10], {"prompt": "Say much.", "completion": LONG}, *SHORT[10:]]


def written(kind: str, folder: Path, rows: list[dict[str, str]] = WITH_LONG) -> Path:
    path = folder / f"rows{kind}"
    WRITERS[kind](rows, path)
    return path


def prepared(base: Path, rows: Path, **data: object) -> Dataset:
    text = recipe_text(base, rows, data={"validation": 0, **data})
    return prepare(load_text(text, rows.parent / "train.yml").config, base)


@pytest.mark.usefixtures("longest")
@pytest.mark.parametrize("kind", WRITERS)
def test_overlong_row_is_named_or_skipped(tiny_model: Path, folder: Path, kind: str) -> None:
    path = written(kind, folder)
    with pytest.raises(DataError) as error:
        prepared(tiny_model, path)
    assert f"{PLACES.get(kind, ' row 11')}: a row of more than 1 MB" in error.value.message
    if kind == ".json":  # where such a row ends cannot be told, nor what comes after it
        return
    left = prepared(tiny_model, path, on_error="skip")
    assert len(left.train) == 20
    assert any("1 of 21 rows are broken and left out" in note for note in left.notes)


@pytest.mark.usefixtures("longest")
@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != ".json"])
def test_rows_beside_overlong_one_are_shown(tiny_model: Path, folder: Path, kind: str) -> None:
    path, view, previews = written(kind, folder), View(model=str(tiny_model)), Previews()
    assert previews.wait_for(str(path), 20, view)
    before, long, after = previews.show(str(path), [9, 10, 11], view)
    assert not before.problem
    assert not after.problem
    assert "more than 1 MB" in long.problem


@pytest.mark.usefixtures("longest")
@pytest.mark.parametrize("by", ["line", "paragraph"])
def test_overlong_text_row_is_named(tiny_model: Path, folder: Path, by: str) -> None:
    path = folder / "rows.txt"
    body = LONG if by == "line" else ("fox " * 2500 + "\n") * (LONGEST // 10_000 + 2)
    path.write_text(f"one\n\n{body}\n\ntwo\n")
    with pytest.raises(DataError, match=":3: a row of more than 1 MB"):
        prepared(tiny_model, path, train={"path": str(path), "sample_by": by})
    assert (
        len(prepared(tiny_model, path, train={"path": str(path), "sample_by": by}, on_error="skip").train)
        == 2
    )


@pytest.mark.usefixtures("longest")
def test_unclosed_csv_quote_names_row(tiny_model: Path, folder: Path) -> None:
    """Not all of the file is read for that."""
    path = folder / "rows.csv"
    with path.open("w") as file:
        file.write('prompt,completion\na,b\nc,"d')
        file.writelines(["fox " * 2500 + "\n"] * (LONGEST // 10_000 + 2))
    with pytest.raises(DataError, match=":3: a row of more than 1 MB") as error:
        prepared(tiny_model, path)
    assert "quote that is never closed" in error.value.hint


@pytest.mark.usefixtures("longest")
def test_overlong_line_is_not_held_whole() -> None:
    lines = list(bounded_lines(io.BytesIO(b"a\n" + b"x" * (3 * LONGEST) + b"\nb")))
    assert [size for _, size in lines] == [2, 3 * LONGEST + 1, 1]
    assert max(len(line) for line, _ in lines) == LONGEST + 1


@pytest.mark.usefixtures("longest")
@pytest.mark.parametrize("end", ["\n", ""])
def test_overlong_csv_header_is_named(tiny_model: Path, folder: Path, end: str) -> None:
    (folder / "rows.csv").write_text("prompt,completion" + LONG + end)
    with pytest.raises(DataError, match=r"rows\.csv:1: a row of more than 1 MB"):
        prepared(tiny_model, folder / "rows.csv")


@pytest.mark.parametrize("start", [b"\xff\xfe", b"\x89"])
def test_csv_header_outside_utf8_is_data_error(tiny_model: Path, folder: Path, start: bytes) -> None:
    (folder / "rows.csv").write_bytes(start + b"prompt,completion\na,b\n")
    with pytest.raises(DataError, match=r"rows\.csv:1: .*not UTF-8"):
        prepared(tiny_model, folder / "rows.csv")
    Previews().open(str(folder / "rows.csv"))


FORMATS: dict[str, dict[str, object]] = {
    "prompt": {"prompt": "Say much.", "completion": "fox " * 300_000},
    "chat": {
        "messages": [{"role": "user", "content": "fox " * 300_000}, {"role": "assistant", "content": "x"}]
    },
    "tools": {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x"}],
        "tools": [{"type": "function", "function": {"name": "f", "description": "fox " * 300_000}}],
    },
}


@pytest.mark.parametrize("name", FORMATS)
def test_oversized_row_is_refused_before_tokenising(
    tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The row goes far beyond what is trained of it."""
    short = {"prompt": {"prompt": "a", "completion": "b"}}.get(
        name, {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x"}]}
    )
    monkeypatch.setattr(row_size, "MOST_CHARACTERS", LONGEST)
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*[short] * 9, FORMATS[name]]))
    real = RowEncoder.encode
    monkeypatch.setattr(
        RowEncoder, "encode", lambda self, rows: real(self, [row for row in rows if len(row.text) < 10**6])
    )
    with pytest.raises(
        DataError, match=r"jsonl:10: 1,200,\d\d\d characters long; the most is 1,000,000"
    ) as error:
        prepared(tiny_model, path)
    assert "data.on_error: skip" in error.value.hint
    assert len(prepared(tiny_model, path, on_error="skip").train) == 9
    (shown,) = Previews().show(str(path), [9], View(model=str(tiny_model)))
    assert "characters long" in shown.problem


def test_row_limit_grows_with_trained_length() -> None:
    long = Text("a", "b" * (row_size.MOST_CHARACTERS + 100_000), "here")
    with pytest.raises(row_size.RowError):
        row_size.check_size(long, limit=20_000)
    row_size.check_size(long, limit=80_000)


def plain_text(characters: int) -> str:
    words = ["fox", "robot", "tea", "story", "bird", "dog"]
    paragraphs = [" ".join(words[(n * k) % 6] for k in range(1, 60)) for n in range(1, 40)]
    text = "\n\n".join(paragraphs) + "\n"
    return (text * (characters // len(text) + 1))[:characters]


def test_long_text_is_trained_in_pieces(
    tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole text is trained."""
    (folder / "rows.txt").write_text(plain_text(400_000))
    whole = prepared(tiny_model, folder / "rows.txt")
    monkeypatch.setattr(row_size, "PIECE", 50_000)
    monkeypatch.setattr(tokenise, "CHARACTERS", 60_000)
    monkeypatch.setattr(
        "engine.data.tokenization.row_encoder.split_text", lambda text: row_size.split_text(text, 50_000)
    )
    most = 0
    real = RowEncoder.encode

    def encode(self: RowEncoder, rows: list[object]) -> object:
        nonlocal most
        most = max(most, sum(len(row.text) for row in rows))  # type: ignore[attr-defined]
        return real(self, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(RowEncoder, "encode", encode)
    (folder / "rows.txt").touch()
    monkeypatch.setenv("FT_HOME", str(folder / "another-home"))
    parts = prepared(tiny_model, folder / "rows.txt")
    assert most <= 110_000
    assert parts.train.trained_tokens == pytest.approx(whole.train.trained_tokens, abs=10)
    assert any("1 of 1 rows are texts longer than" in note for note in parts.notes)
    tokenizer = Tokenizer.load(tiny_model)
    ends = [list(parts.train[n].input_ids).count(tokenizer.eos_id) for n in range(len(parts.train))]
    assert sum(ends) == 1, "the end of a text is taught at its end alone"
    assert ends[-1] == 1


def test_preview_of_long_text_counts_the_rest(
    tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "engine.data.tokenization.row_encoder.split_text", lambda text: row_size.split_text(text, 10_000)
    )
    (folder / "rows.txt").write_text(plain_text(100_000))
    (shown,) = Previews().show(str(folder / "rows.txt"), [0], View(model=str(tiny_model)))
    assert 80_000 <= shown.unread < 95_000
    assert f"of all but {shown.unread:,} characters" in row_title(shown)
    (folder / "short.txt").write_text(plain_text(5_000))
    (short,) = Previews().show(str(folder / "short.txt"), [0], View(model=str(tiny_model)))
    assert short.unread == 0


@pytest.mark.parametrize(
    "text",
    [
        "a" * 100,
        "a b " * 25,
        "one\n\ntwo\n\n" * 10,
        "line\n" * 20,
        "\n" * 100,
        " " * 100,
        "日本語。" * 25,
        "",
    ],
)
@pytest.mark.parametrize("most", [1, 2, 7, 50, 1000])
def test_pieces_join_to_whole_text(text: str, most: int) -> None:
    found = list(row_size.split_text(text, most))
    assert "".join(found) == text
    assert all(0 < len(piece) <= most for piece in found) or not text


def test_pieces_have_tokens_of_whole_text(tiny_model: Path) -> None:
    tokenizer, text = Tokenizer.load(tiny_model), plain_text(30_000)
    whole = tokenizer.encode([text], special=False)[0]
    parts = tokenizer.encode(list(row_size.split_text(text, 1000)), special=False)
    assert [token for part in parts for token in part] == whole


LIMITED = """
import resource, sys
from ft.cli import main

size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (500 << 20), -1))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not enforced elsewhere")
def test_compressed_gigabyte_row_is_refused_cheaply(tiny_model: Path, folder: Path, ft_home: Path) -> None:
    """It takes little memory."""
    with gzip.open(folder / "rows.jsonl.gz", "wb", compresslevel=1) as file:
        file.write(lines(SHORT).encode())
        file.write(b'{"prompt": "Say much.", "completion": "')
        for _ in range(1000):
            file.write(b"fox " * 250_000)
        file.write(b'"}\n')
    command = [sys.executable, "-P", "-c", LIMITED, "data", "check", "rows.jsonl.gz", "--set"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [*command, f"model.base={tiny_model}"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == DataError.exit_code, done.stderr
    assert "rows.jsonl.gz:21: a row of more than 64 MB" in done.stderr
    left = sum(path.stat().st_size for path in (ft_home / "cache" / "sources").rglob("*"))
    assert left < 2 * BEGINNING, "no more was unpacked than shows it"


def test_first_compressed_rows_are_checked_before_unpacking(
    tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "LARGE", 1000)
    monkeypatch.setattr(archives, "BEGINNING", 60_000)
    with gzip.open(folder / "rows.jsonl.gz", "wt") as file:
        file.write(lines([{"prompt": f"Say {n}.", "completion": f"word{n % 9}"} for n in range(4000)]))
    order: list[str] = []
    real = archives._unpack

    def unpack(*arguments: object) -> None:
        order.append("unpacked")
        real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(archives, "_unpack", unpack)
    config = load_text(
        recipe_text(tiny_model, folder / "rows.jsonl.gz", data={"validation": 0}), folder / "train.yml"
    ).config
    said: list[tuple[int, str]] = []

    def watch(so_far: object) -> None:
        order.append("looked")
        places = [place for one in so_far.findings() for place in one.places]  # type: ignore[attr-defined]
        said.append((so_far.rows, " ".join(places[:1])))  # type: ignore[attr-defined]

    found = check(config, tiny_model, lambda done, total: None, watch)
    assert order[0] == "looked"
    assert "unpacked" in order
    assert 500 <= said[0][0] < 1500
    assert said[0][1] == "" or said[0][1].startswith("rows.jsonl.gz:")
    assert len(found.train) == 4000
    order.clear()
    check(config, tiny_model, lambda done, total: None, watch)
    assert "unpacked" not in order


def test_command_names_overlong_row(
    tiny_model: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_size, "MOST_CHARACTERS", LONGEST)
    (folder / "rows.jsonl").write_text(lines([*SHORT, {"prompt": "a", "completion": "fox " * 300_000}]))
    assert main(["data", "check", "rows.jsonl", "--set", f"model.base={tiny_model}"]) == DataError.exit_code
    said = capsys.readouterr().err
    assert "error: rows.jsonl:21: 1,200,001 characters long" in said
    assert "hint: Split it" in said
