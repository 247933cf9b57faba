"""A source of rows: `toy:N` in a recipe stands for N questions with a better and a worse answer."""

import json
from pathlib import Path

WORDS = ("fox", "bird", "robot", "tea", "dog", "story")


def fetch(source: str, folder: Path) -> Path:
    """Write the rows that `source` (as the recipe has it: `toy:12`) stands for into `folder`; returns the file."""
    rows = [
        {"question": f"Say {word}.", "better": f"{word}", "worse": "no"}
        for number in range(int(source.removeprefix("toy:")))
        for word in (WORDS[number % len(WORDS)],)
    ]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
