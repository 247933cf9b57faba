"""Files of rows with something wrong in them, by what it is. Harmless: small, and nothing in them is run."""

import gzip
import io
import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from tests.training import ROWS

TITLE = "\x1b]0;title\x07"
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def contents() -> Iterator[tuple[str, bytes]]:
    """File names and their bytes."""
    for ending in ("jsonl", "json", "csv", "tsv", "txt", "html", "parquet", "arrow", "jsonl.gz", "jsonl.zst"):
        yield f"empty.{ending}", b""
        yield f"blank.{ending}", b" \n \n"
        yield f"zeros.{ending}", bytes(4096)
        yield f"bytes.{ending}", bytes(range(256)) * 16
        yield f"utf16.{ending}", LINES.encode("utf-16")
        yield f"other.{ending}", b"\x89PNG\r\n\x1a\n" + bytes(64)
        yield f"code.{ending}", f"{TITLE},{TITLE}\n{TITLE},{TITLE}\n".encode()
    yield from _json()
    yield from _tables()
    packed = gzip.compress(LINES.encode())
    yield "cut.jsonl.gz", packed[: len(packed) // 2]
    yield "twice.jsonl.gz", gzip.compress(packed)
    yield "page.html", b"<html>" + b"<div>" * 300 + b"text" + b"</div>" * 300


def _json() -> Iterator[tuple[str, bytes]]:
    lines = {
        "torn": LINES[:-20],
        "deep": "[" * 100_000 + "]" * 100_000 + "\n",
        "deep object": '{"a":' * 2_000 + "1" + "}" * 2_000 + "\n",
        "digits": '{"prompt": ' + "1" * 5000 + ', "completion": "x"}\n',
        "nan": '{"prompt": NaN, "completion": Infinity}\n',
        "surrogate": '{"prompt": "a \\ud800 b", "completion": "c \\udfff d"}\n',
        "escape": json.dumps({"prompt": f"a {TITLE}", "completion": f"{TITLE} \x9b2J \u202e b"}) + "\n",
        "escape in a key": json.dumps({f"a{TITLE}": "x", "b\x9b": "y"}) + "\n",
        "escape in a role": json.dumps({"messages": [{"role": TITLE, "content": "x"}]}) + "\n",
        "zero byte": '{"prompt": "a\\u0000b", "completion": "c"}\n',
        "numbers": "1\n2\n3\n",
        "words": '"a"\n"b"\n',
        "lists": "[1, 2]\n[3]\n",
        "nulls": "null\nnull\n",
        "no columns": "{}\n{}\n",
        "many columns": json.dumps({f"column{n}": n for n in range(10_000)}) + "\n",
        "long column": json.dumps({"c" * 100_000: "x"}) + "\n",
        "twice": '{"prompt": "a", "prompt": "b", "completion": "c"}\n',
        "mixed": '{"prompt": "a", "completion": "b"}\n{"text": "c"}\n7\n',
        "wrong types": '{"prompt": {"a": 1}, "completion": ["b"]}\n',
        "messages a word": '{"messages": "hello"}\n',
        "messages of words": '{"messages": ["hello", 7, null]}\n',
        "messages empty": '{"messages": []}\n',
        "no role": '{"messages": [{"content": "x"}]}\n',
        "role a list": '{"messages": [{"role": ["user"], "content": "x"}]}\n',
        "content a number": '{"messages": [{"role": "user", "content": 7}, {"role": "assistant", "content": {}}]}\n',
        "no answer": '{"messages": [{"role": "user", "content": "x"}]}\n',
        "calls a word": '{"messages": [{"role": "assistant", "content": "", "tool_calls": "f"}]}\n',
        "calls of nothing": '{"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]}\n',
        "tools a number": '{"messages": [{"role": "assistant", "content": "y"}], "tools": 7}\n',
        "weight a word": '{"messages": [{"role": "assistant", "content": "x", "weight": "much"}]}\n',
        "chosen alone": '{"chosen": "x"}\n',
        "label a word": '{"prompt": "a", "completion": "b", "label": "maybe"}\n',
        "conversations of numbers": '{"conversations": [1, 2]}\n',
        "long words": json.dumps({"messages": [{"role": "x" * 50_000, "content": "y"}]}) + "\n",
        "bad lines": LINES + "{broken\n" * 300,
    }
    for name, text in lines.items():
        yield f"{name}.jsonl", text.encode("utf-8", "surrogatepass")
    yield "latin.jsonl", '{"prompt": "caf\xe9", "completion": "x"}\n'.encode("latin-1")
    yield "an object.json", b'{"a": 1}'
    yield "a number.json", b"7"
    yield "an open list.json", b'[{"prompt": "a", "completion": "b"},'
    yield "deep.json", b"[" * 100_000
    yield "lists in lists.json", b"[[[1]]]"


def _tables() -> Iterator[tuple[str, bytes]]:
    yield "ragged.csv", b"prompt,completion\na\nb,c,d,e\n"
    yield "open quote.csv", b'prompt,completion\n"a,b\n' + b"c,d\n" * 50
    yield "same columns.csv", b"text,text\na,b\n"
    yield "no columns.csv", b",,,\n,,,\n"
    yield (
        "many columns.csv",
        (",".join(f"column{n}" for n in range(10_000)) + "\n").encode() + b"," * 9_999 + b"\n",
    )
    yield "escape.csv", f"prompt,{TITLE}\na,b\n".encode()
    yield "header alone.csv", b"prompt,completion\n"
    for name, table in {
        "no columns": pa.table({}),
        "no rows": pa.table({"prompt": pa.array([], pa.string()), "completion": pa.array([], pa.string())}),
        "numbers": pa.table({"prompt": [1, 2], "completion": [3.5, None]}),
        "binary": pa.table({"text": pa.array([b"\xff\xfe", b"\x00"])}),
        "escape": pa.table({f"a{TITLE}": ["x"], "b": [TITLE]}),
        "many columns": pa.table({f"c{n}": [n] for n in range(2_000)}),
    }.items():
        sink = io.BytesIO()
        pq.write_table(table, sink)
        yield f"{name}.parquet", sink.getvalue()
        yield f"{name} cut.parquet", sink.getvalue()[:-9]
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, (table := pa.table({"prompt": ["a"], "completion": ["b"]})).schema) as writer:
        writer.write_table(table)
    yield "cut.arrow", sink.getvalue()[:-11]
