"""Pictures, video and sound beside a text are refused or reported, never dropped."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import DataError
from tests.corpus.reading import ASKED, GOOD, Reader, ft


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASKED, GOOD]},
        {"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "A cat."}]},
        {"instruction": "?", "output": "A cat."},
        {"prompt": "?", "completion": "A cat."},
        {"prompt": "?", "chosen": "A cat.", "rejected": "A dog."},
        {"messages": [ASKED, GOOD], "label": True},
        {"text": "A cat."},
    ],
    ids=lambda row: "+".join(row),
)
def test_image_column_is_refused(row: dict[str, Any], read: Reader) -> None:
    with pytest.raises(DataError, match="`images` is not empty, and ft trains text alone") as caught:
        read([{**row, "images": ["a.png"]}])
    assert "data.on_error=skip" in caught.value.hint
    columns: dict[str, Any] = {
        "images": None,
        "image": "",
        "videos": [],
        "video": "[]",
        "audios": "null",
        "audio": {},
    }
    assert len(read([{**row, **columns}]).texts) == 1


@pytest.mark.parametrize("several", [False, True])
def test_image_column_of_any_name_is_reported(several: bool, read: Reader, tmp_path: Path) -> None:
    """As `datasets` holds its types Image and Audio."""
    picture: Any = {"bytes": b"\x89PNG", "path": "a.png"}
    row = {"messages": [ASKED, GOOD], "face": [picture] if several else picture, "id": 7}
    pq.write_table(pa.Table.from_pylist([row, row | {"face": None}]), tmp_path / "rows.parquet")
    found = read(tmp_path / "rows.parquet")
    said = "1 of 2 rows has `face`, which holds a picture, a sound or another file and is not used"
    assert said in found.said
    assert "`id`" not in found.said


@pytest.mark.parametrize("column", ["image", "videos", "video", "audios", "audio"])
def test_video_and_audio_columns_are_refused(column: str, read: Reader) -> None:
    with pytest.raises(DataError, match=f"`{column}` is not empty"):
        read([{"messages": [ASKED, GOOD], column: "a.bin"}])


def test_images_are_refused_once_per_source(read: Reader) -> None:
    with pytest.raises(DataError) as caught:
        read("07_images.jsonl")
    assert caught.value.message.startswith("at least 12 rows cannot be used: `images` is not empty")
    assert "\n" not in caught.value.message


def test_image_placeholder_without_image_is_found(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    turns = [{"role": "user", "content": "<image>What is on it?"}, GOOD]
    path.write_text(json.dumps({"messages": turns, "images": []}) + "\n")
    found = json.loads(ft("data", "check", str(path), "--model", str(tiny_model), "--json").stdout)[
        "findings"
    ]
    assert [(one["kind"], one["severity"]) for one in found] == [("placeholder", "warning")]
    assert "as <image>" in found[0]["message"]


def test_images_in_message_are_refused(read: Reader) -> None:
    with pytest.raises(DataError, match=r"`messages\[0\].images` is not empty"):
        read([{"messages": [{**ASKED, "images": ["a.png"]}, GOOD]}])
    with pytest.raises(DataError, match=r"`messages\[0\].content` has a part that is not text: image_url"):
        read([{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "a"}]}, GOOD]}])
