"""A client of `engine/service.py`: a warm child that holds the model, so that this process stays light."""

import contextlib
import itertools
import json
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.data.types import Message
from engine.errors import KINDS, FtError, TrainingError
from engine.runs.disk import explaining
from engine.runs.run import Run


class Client:
    """Asks one service process, which lives as long as the client."""

    def __init__(self, log: Path) -> None:
        """`log` gets what libraries print in the child."""
        with explaining():
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as file:
                self._child = subprocess.Popen(
                    [sys.executable, "-P", "-m", "engine.service"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=file,
                    text=True,
                    encoding="utf-8",
                    start_new_session=True,  # ctrl-c cancels an answer; it must not end the child
                )
        self._log = log
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def generate(
        self,
        run: Run,
        messages: Sequence[Message],
        max_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
        base: bool = False,
    ) -> Generator[str, None, None]:
        """The answer in pieces as they come. Closing the iterator cancels it.

        Raises the error that the service answers with, TrainingError where the service is gone.
        """
        number = next(self._numbers)
        request = {
            "id": number,
            "op": "generate",
            "run": str(run.checkpoint or run.folder),
            "base": base,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        self._send(request)
        finished = False
        try:
            while not finished:
                answer = self._receive(number)
                finished = "done" in answer or "error" in answer
                if "error" in answer:
                    error = answer["error"]
                    raise KINDS.get(error["kind"], FtError)(error["message"], error["hint"])
                if "token" in answer:
                    yield answer["token"]
        finally:
            if not finished and self._child.poll() is None:
                self._send({"id": next(self._numbers), "op": "cancel", "target": number})

    def close(self) -> None:
        """End the child."""
        if self._child.stdin is not None and not self._child.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it is gone already, which is what is wanted
                self._child.stdin.close()
        try:
            self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()

    def _send(self, request: dict[str, Any]) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None

    def _receive(self, number: int) -> dict[str, Any]:
        """The next line of this answer; what is left of a cancelled one is passed over."""
        assert self._child.stdout is not None
        for line in self._child.stdout:
            answer: dict[str, Any] = json.loads(line)
            if answer.get("id") == number:
                return answer
        raise self._gone()

    def _gone(self) -> TrainingError:
        from engine.deaths import log_end

        code = self._child.wait()
        return TrainingError(
            f"The process that answers has ended with exit code {code}.", log_end(self._log).strip()
        )
