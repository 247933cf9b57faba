"""Rows of plain text, Markdown and HTML: a document, a paragraph or a line each, in a column `text`."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from engine.data.readers.table import BOM, ROW_BYTES, Keep, Origin, bounded_lines, not_utf8, too_long
from engine.errors import DataError

SampleBy = Literal["document", "paragraph", "line"]
DOCUMENT_BYTES = 256_000_000
"""Largest document of plain text that is one row: it is held whole."""


@dataclass(frozen=True)
class Text:
    """A .txt or .md file. Blank lines separate paragraphs and are not rows themselves."""

    path: Path
    name: str
    by: SampleBy = "document"

    def count(self) -> int:
        return 1 if self.by == "document" else sum(1 for _ in self.blocks())

    def rows(self, keep: Keep | None = None) -> Iterator[Origin]:
        for index, (number, offset, data) in enumerate(self.blocks()):
            if keep is None or keep[index]:
                yield self.row(number, offset, data)

    def broken(self) -> Iterator[tuple[int, DataError]]:
        for index, block in enumerate(self.blocks()):
            try:
                self.row(*block)
            except DataError as error:
                yield index, error

    def row(self, number: int, offset: int, data: bytes) -> Origin:
        """A row of a block's bytes, which start at this line and byte.

        Raises `DataError` where they are not text, or too many.
        """
        where = self.name if self.by == "document" else f"{self.name}:{number}"
        if self.by != "document" and len(data) > ROW_BYTES:
            raise too_long(where)
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise not_utf8(where, offset + error.start, data) from error
        return where, {"text": text if self.by == "document" else text.strip("\r\n")}

    def blocks(self) -> Iterator[tuple[int, int, bytes]]:
        """Line number from 1, byte offset and bytes of each row. Raises `DataError` where a document is too large."""
        if self.by == "document":
            data = whole(self.path, self.name)
            body = data.removeprefix(BOM)
            yield 1, len(data) - len(body), body
            return
        with self.path.open("rb") as file:
            yield from self.blocks_in(file)

    def blocks_in(self, file: IO[bytes], line: int = 1, byte: int = 0) -> Iterator[tuple[int, int, bytes]]:
        """The paragraphs or lines of a file, or of a part of it that starts at this line and byte."""
        first, start, block = line, byte, bytearray()
        for number, offset, data in _lines(file, line, byte):
            filled = bool(data.strip())
            if filled and not block:
                first, start = number, offset
            if filled and self.by == "paragraph":
                block += data[: ROW_BYTES + 1 - len(block)]
            elif filled:
                yield number, offset, data
            elif block:
                yield first, start, bytes(block)
                block.clear()
        if block:
            yield first, start, bytes(block)


@dataclass(frozen=True)
class Html:
    """A page of HTML: its main text as Markdown, without menus, banners and what else surrounds it."""

    path: Path
    name: str
    by: SampleBy = "document"

    def count(self) -> int:
        return 1 if self.by == "document" else len(self._parts())

    def rows(self, keep: Keep | None = None) -> Iterator[Origin]:
        for index, text in enumerate(self._parts()):
            if keep is None or keep[index]:
                where = self.name if self.by == "document" else f"{self.name} row {index + 1}"
                yield where, {"text": text}

    def broken(self) -> Iterator[tuple[int, DataError]]:
        if self.by == "document":
            try:
                self._parts()
            except DataError as error:
                yield 0, error

    def _parts(self) -> list[str]:
        text = main_text(whole(self.path, self.name, ROW_BYTES), self.name)
        if self.by == "document":
            return [text]
        parts = text.split("\n\n" if self.by == "paragraph" else "\n")
        return [part.strip("\n") for part in parts if part.strip()]


def _lines(file: IO[bytes], line: int, byte: int) -> Iterator[tuple[int, int, bytes]]:
    """Number, byte offset and bytes of each line, as `bounded_lines`."""
    for number, (data, size) in enumerate(bounded_lines(file), start=line):
        body = data.removeprefix(BOM) if not byte else data
        yield number, byte + len(data) - len(body), body
        byte += size


def whole(path: Path, name: str, most: int = DOCUMENT_BYTES) -> bytes:
    """A document's bytes. Raises `DataError` where it is too large to be one row."""
    if (size := path.stat().st_size) > most:
        raise DataError(
            f"{name}: one document of {size / 1e6:,.0f} MB; the most is {most / 1e6:,.0f} MB",
            "Let each paragraph or line be a row, with sample_by, or split the file.",
        )
    return path.read_bytes()


def main_text(page: bytes, name: str) -> str:
    """Extract the main text of a page of HTML as Markdown. Raises `DataError` where there is none."""
    import trafilatura

    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # problems of a page are reported below
    text = trafilatura.extract(page, output_format="markdown", include_comments=False)
    text = text or trafilatura.html2txt(page)  # a page too short for its main text to be found
    if not text or not text.strip():
        raise DataError(
            f"{name}: no text is found on this page", "Check that it is a page of HTML with text."
        )
    return str(text)
