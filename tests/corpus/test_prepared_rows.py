"""`ft data prepare` writes what was read: reading its file again trains the same."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ft.command_table import app
from tests.corpus.reading import DATA, Reader
from tests.test_data_golden import GOLDEN

FILES = [
    *(
        GOLDEN / f"{name}.jsonl"
        for name in ("chat_tools", "sharegpt_tools", "reasoning", "preference", "kto")
    ),
    *(GOLDEN / f"{name}.jsonl" for name in ("alpaca", "completion", "prompt_completion")),
    *(GOLDEN / f"{name}.jsonl" for name in ("shapes", "contents", "labelled", "pairs")),
    *(
        DATA / name
        for name in (
            "02_system_beside.jsonl",
            "08_train_flag.jsonl",
            "09_roles_toolresp.jsonl",
            "11_tool_obj.jsonl",
            "21_reason.jsonl",
            "25_agent.jsonl",
            "46_anthropic.jsonl",
            "48_openai_dpo.jsonl",
            "49_empty_mid.jsonl",
            "60_fc_think.jsonl",
            "70_kto_messages.jsonl",
            "71_v1_parts.jsonl",
            "72_v1_pairs.jsonl",
        )
    ),
]


def prepared(source: Path, folder: Path) -> Path:
    done = CliRunner().invoke(app, ["data", "prepare", str(source), "-o", str(folder), "--validation", "0"])
    assert done.exit_code == 0, done.exception
    return folder / "train.jsonl"


@pytest.mark.parametrize("source", FILES, ids=lambda path: path.stem)
def test_prepared_rows_train_the_same(source: Path, read: Reader, tmp_path: Path) -> None:
    again = read(prepared(source, tmp_path / "out"))
    assert again.texts == list(dict.fromkeys(read(source).texts)), "copies are left out"


def test_mixed_source_is_prepared_in_one_format(read: Reader, tmp_path: Path) -> None:
    """The source has conversations and plain text."""
    tool = {"name": "f", "parameters": {"type": "object", "properties": {}}}
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "no", "weight": 0}]
    rows: list[dict[str, Any]] = [
        {"prompt": "2+2=", "completion": "4"},
        {"prompt": "", "completion": "Once upon a time."},
        {"prompt": "2+3=", "completion": "5", "tools": [tool]},
        {
            "prompt": turns,
            "completion": [{"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}],
        },
    ]
    first = read(rows)
    written = prepared(tmp_path / "rows.jsonl", tmp_path / "out")
    assert read(written).texts == first.texts
    assert {*map(len, map(json.loads, written.read_text().splitlines()))} == {2, 3}
