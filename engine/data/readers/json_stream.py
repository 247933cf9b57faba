"""Incremental parsing of JSON: one value at a time, with as much of the file in memory as that value needs."""

import codecs
import json
import re
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.data.readers.jsonl import too_deep
from engine.data.readers.table import BOM, ROW_BYTES, not_utf8, too_long
from engine.errors import DataError

CHUNK = 1 << 20
"""Bytes of a read, or as many as are held already, so that a long value is not parsed over and over."""
CUT = 16
"""Characters before the end within which an error may be that of a value that continues: no literal, number or escape
of JSON is longer."""
SPACE = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder()


class JsonWindow:
    """Position in a file of JSON that moves on. All methods raise `DataError` if the file is not UTF-8 or not JSON."""

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        self._file = path.open("rb")
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text, self._at, self._mark = "", 0, 0
        """Text that is held; the place in it; the place up to there of which byte, line and column are known."""
        self._read = self._offset = self._line = self._column = 0
        """Bytes that were read; byte, line and column of the mark, from 0."""
        if self._file.read(len(BOM)) == BOM:
            self._read = self._offset = len(BOM)
        else:
            self._file.seek(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def place(self) -> tuple[int, int]:
        """The byte of the file, and the line from 1, at which the window stands."""
        self._step()
        return self._offset, self._line + 1

    def peek(self) -> str:
        """The next character that is not white space; empty at the end of the file."""
        while True:
            space = SPACE.match(self._text, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, wanted: str, otherwise: str) -> str:
        """Step over one of the characters `wanted`. Raises `DataError` with `otherwise` where another stands there."""
        found = self.peek()
        if not found or found not in wanted:
            raise self.error(otherwise, self._at)
        self._at += 1
        return found

    def value(self) -> Any:
        """The value that starts here; the window then stands after it."""
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._cut(error) and len(self._text) - self._at > ROW_BYTES:
                    raise self._too_long() from error
                if not (self._cut(error) and self._more()):
                    raise self.error(error.msg, error.pos) from error
            except RecursionError as error:
                raise too_deep(self._name) from error
            except ValueError as error:  # a number of thousands of digits
                raise self.error(str(error), self._at) from error
            else:
                if end - self._at > ROW_BYTES:
                    raise self._too_long()
                if end < len(self._text) or not self._more():
                    self._at = end
                    return value

    def _too_long(self) -> DataError:
        self._step()
        return too_long(f"{self._name}:{self._line + 1}")

    def error(self, problem: str, at: int | None = None) -> DataError:
        """Error for a problem at a character of the text that is held, or here."""
        before = self._text[self._mark : self._at if at is None else at]
        line, last = self._line + before.count("\n") + 1, before.rfind("\n")
        column = len(before) - last if last >= 0 else self._column + len(before) + 1
        return DataError(
            f"{self._name}:{line}:{column}: not valid JSON: {problem}",
            "Correct the file at this line and column.",
        )

    def _cut(self, error: json.JSONDecodeError) -> bool:
        """Return True if an error may come from where the held text ends, rather than from the file."""
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - CUT

    def _more(self) -> bool:
        """Hold more of the file, and let go of what is passed. False at its end."""
        data = self._file.read(max(CHUNK, len(self._text) - self._at))
        pending = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            offset = self._read - pending + error.start
            before = error.object[: error.start].count(b"\n")
            line = self._line + self._text.count("\n", self._mark) + before + 1
            raise not_utf8(f"{self._name}:{line}", offset, error.object[:4096]) from error
        if not data:
            return False
        self._read += len(data)
        self._step()
        self._text = self._text[self._at :] + text
        self._at = self._mark = 0
        return True

    def _step(self) -> None:
        """Bring the mark to the place."""
        passed = self._text[self._mark : self._at]
        last = passed.rfind("\n")
        self._column = len(passed) - last - 1 if last >= 0 else self._column + len(passed)
        self._line += passed.count("\n")
        self._offset += _bytes(passed)
        self._mark = self._at


def _bytes(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())
