"""Exports that llama.cpp loads: a GGUF model, with a GGUF adapter on it or without."""

import json
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np

from engine.data.types import Float32, Int32, Message
from engine.errors import MachineError, ModelError
from engine.hardware.probe import usable_cores
from engine.parity import gguf_weights, llama_cpp_process
from engine.parity.exported import LIKELIEST, Distributions, Heartbeat, Probe, program
from engine.parity.probes import MOST_TOKENS
from engine.runs.directory.trained_model import TrainedModel

LISTED = 2 * LIKELIEST
"""Tokens that llama.cpp lists at a place: the trained model's likeliest ones are nearly always among them."""
POLL_S = 0.1
"""Seconds between two heartbeats while llama.cpp loads or computes."""
INSTALL = "pip install 'ft-studio[gguf]' brings llama.cpp (xllamacpp). To export without proof: --no-prove"


class LlamaCpp:
    """A model in llama.cpp, in a process of its own: what ends it does not end ours. See `Exported`."""

    def __init__(
        self,
        process: "subprocess.Popen[str]",
        log: IO[str],
        model: Path,
        weights: Path | None,
        heartbeat: Heartbeat,
    ) -> None:
        """`model` is the folder whose names the tensors of the file `weights` get; None for an adapter."""
        self.process, self.log, self.model, self.gguf = process, log, model, weights
        self.program = program("llama.cpp, by xllamacpp", "xllamacpp")
        self.heartbeat = heartbeat
        self._answer()

    def next_tokens(self, probes: Sequence[Probe]) -> Distributions:
        found = []
        for probe in probes:
            for place, position in enumerate(probe.positions):
                wanted = probe.wanted[place] if probe.wanted is not None else np.empty(0, np.int32)
                found.append(self._place(probe.tokens[: position + 1].tolist(), wanted))
        return Distributions.of_places(found)

    def _place(self, tokens: Sequence[int], wanted: Int32) -> tuple[Int32, Float32]:
        """Its likeliest next tokens and the wanted ones, and their log-probabilities.

        Where a wanted one is not listed, it is asked for more of them.
        """
        listed = LISTED
        while True:
            found = self.ask({"tokens": tokens, "likeliest": listed})
            ids, logps = np.array(found["ids"], np.int32), np.array(found["logps"], np.float32)
            if len(ids) < listed or np.isin(wanted, ids).all():
                break
            listed *= 8
        kept = np.isin(ids, wanted)
        kept[np.argsort(-logps)[:LIKELIEST]] = True
        return ids[kept], logps[kept]

    def text_ids(self, text: str) -> list[int]:
        return list(self.ask({"text": text})["ids"])

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        found = self.ask({"messages": turns})
        if "error" in found:
            raise ValueError(found["error"])
        return list(found["ids"])

    def answer(self, messages: Sequence[Message], max_tokens: int) -> str:
        """The greedy answer to a conversation. Raises ValueError where the template refuses it."""
        turns = [{"role": message.role, "content": message.content} for message in messages]
        found = self.ask({"messages": turns, "max_tokens": max_tokens})
        if "error" in found:
            raise ValueError(found["error"])
        return str(found["text"])

    def weights(self) -> Iterator[tuple[str, Float32]]:
        if self.gguf is not None:
            yield from gguf_weights.named(self.gguf, self.model)

    def ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The process's answer. Raises ModelError where it has ended, and what the heartbeat raises."""
        assert self.process.stdin is not None
        self.heartbeat()
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
        except BrokenPipeError as error:
            raise self._ended() from error
        return self._answer()

    def _answer(self) -> Mapping[str, Any]:
        assert self.process.stdout is not None
        while not select.select([self.process.stdout], [], [], POLL_S)[0]:
            self.heartbeat()
        line = self.process.stdout.readline()
        if not line:
            raise self._ended()
        found: Mapping[str, Any] = json.loads(line)
        return found

    def _ended(self) -> ModelError:
        code = self.process.wait()
        self.log.seek(0)
        said = [line.strip() for line in self.log if "error" in line.lower() or "failed" in line.lower()]
        why = said[0] if said else f"it ended with {code}"
        return ModelError(
            f"llama.cpp does not run the exported model: {why}", "Report it with the model's name."
        )


@contextmanager
def loaded(
    file: Path, model: Path, adapter: Path | None = None, heartbeat: Heartbeat = lambda: None
) -> Iterator[LlamaCpp]:
    """llama.cpp with a GGUF file, for the length of the block; `model` is the folder that the file was made of.

    Raises MachineError where it is not installed, ModelError where it does not load the file.
    """
    if find_spec("xllamacpp") is None:
        raise MachineError("Proving a GGUF needs llama.cpp, which is not installed here.", INSTALL)
    # Threads that wait spin: on all cores, they would be slower than on half of them whenever others compute.
    threads = max(1, usable_cores() // 2)
    asked = {
        "file": str(file),
        "adapter": adapter and str(adapter),
        "context": MOST_TOKENS + 8,
        "threads": threads,
    }
    command = [sys.executable, "-P", "-m", llama_cpp_process.__name__, json.dumps(asked)]
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            yield LlamaCpp(process, log, model, None if adapter else file, heartbeat)
        finally:
            process.kill()
            process.communicate()


@contextmanager
def open_model(
    model: TrainedModel, out: Path, facts: Mapping[str, Any], heartbeat: Heartbeat
) -> Iterator[LlamaCpp]:
    """A whole model in the GGUF file that the facts name."""
    with loaded(out / str(facts["file"]), model.base_folder(), heartbeat=heartbeat) as found:
        yield found
