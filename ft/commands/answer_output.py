"""Answers on the terminal: the text on stdout as it comes, reasoning on stderr, dimmed."""

import json
import os
import sys
from collections.abc import Generator

from engine.inference.answer import Answer, Piece


def show(pieces: Generator[Piece, None, None]) -> Answer:
    """Print an answer as it comes, calls of tools as a line of JSON each. Ctrl-c cancels it, and keeps what there is.

    Raises what `pieces` raises, with the line ended.
    """
    answer = Answer()
    thinking = _Dim()
    try:
        for piece in pieces:
            answer += piece
            if piece.reasoning:
                thinking.write(piece.reasoning)
            if piece.text:
                thinking.close()
                _write(piece.text)
        thinking.close()
        _calls(answer)
    except KeyboardInterrupt:
        pieces.close()
        thinking.close()
        _write(" …")
    finally:
        thinking.close()
        _write("\n")
    return answer


class _Dim:
    """Reasoning on stderr: dimmed on a terminal, between tags elsewhere."""

    def __init__(self) -> None:
        self._open = False
        self._styled = (
            sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        )

    def write(self, text: str) -> None:
        if not self._open:
            self._open = True
            self._raw("\033[2m" if self._styled else "<think>\n")
        sys.stderr.write(text)
        sys.stderr.flush()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._raw("\033[0m\n" if self._styled else "\n</think>\n")

    def _raw(self, text: str) -> None:
        stream = getattr(sys.stderr, "stream", sys.stderr)  # past what makes control characters visible
        stream.write(text)
        stream.flush()


def _calls(answer: Answer) -> None:
    for number, call in enumerate(answer.calls):
        _write("\n" if answer.text or number else "")
        _write(json.dumps(call["function"], ensure_ascii=False))


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
