"""Concurrent requests to `ft serve` and to `transformers serve`, in one run.

    .venv/bin/python benchmarks/serve.py [--requests 64] [--concurrency 16] [--tokens 128] [--theirs PYTHON]

The model is the starter, which is also what a merged folder of it looks like. The requests are conversations of one
question each, answered greedily and streamed; as many threads as `--concurrency` ask one after the other. Both servers
get the same questions, in processes of their own, one after the other, with their own defaults for precision;
`transformers serve` runs twice, with and without continuous batching. Tokens are counted by the model's tokenizer in
the text that comes. First tokens are timed from the request on: median and slowest. The last column is tokens for each
second of processor time that the server took, which a busy machine changes less.

PYTHON is an interpreter with `transformers[serving]`, as in an environment of its own:
`python -m venv theirs && theirs/bin/pip install "transformers[serving]" torch accelerate`.
"""

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from engine.data.token_spec import TokenSpec  # noqa: E402
from engine.models.resolve import resolve  # noqa: E402

ROWS = ROOT.parent / "shared" / "data" / "alpaca_en_demo.json"
START_S = 300
ANSWER_S = 1200
MARK = "FT_BENCHMARK_SERVER"
"""Variable in the environment of a server's processes."""


@dataclass(frozen=True)
class Answer:
    """Text of an answer, seconds until its first part and its end, and whether it ended as it should."""

    text: str
    first_s: float
    finish: str | None


def main() -> None:
    """Print a table of tokens a second and of first tokens."""
    options = _options()
    folder = resolve("starter").folder
    tokenizer = TokenSpec().tokenizer(folder)
    questions = _questions(options.rows, options.requests)
    sides = {"ft serve": _ours(folder, options.concurrency)}
    if options.theirs:
        sides["transformers serve"] = _theirs(options.theirs, folder, [])
        sides["transformers serve, batching"] = _theirs(options.theirs, folder, ["--continuous-batching"])
    print(
        f"{options.requests} requests, {options.concurrency} concurrent, answers of up to {options.tokens} tokens\n"
    )
    print(
        f"{'':30}{'tokens/s':>10}{'tokens':>9}{'first s':>9}{'slowest':>9}{'failed':>8}{'tokens/CPU s':>14}"
    )
    speeds = {}
    for name, command in sides.items():
        with _running(command) as (url, mark):
            _ask(url, folder, questions[: options.concurrency], options.concurrency, 8)  # warm
            began, used = time.perf_counter(), _cpu_seconds(mark)
            answers = _ask(url, folder, questions, options.concurrency, options.tokens)
            seconds, used = time.perf_counter() - began, _cpu_seconds(mark) - used
        tokens = sum(map(len, tokenizer.encode([one.text for one in answers], special=False)))
        first = [one.first_s for one in answers]
        failed = sum(one.finish is None for one in answers)
        speeds[name] = tokens / seconds
        figures = f"{tokens / seconds:10.1f}{tokens:9}{statistics.median(first):9.2f}{max(first):9.2f}"
        print(f"{name:30}{figures}{failed:8}{tokens / used:14.1f}")
    if len(speeds) > 1:
        ours, *others = speeds.values()
        print(f"\nft serve is {ours / max(others):.1f} times as fast as the faster of the others")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=Path, default=ROWS, help="alpaca rows, for their instructions")
    parser.add_argument("--requests", type=int, default=128)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--theirs", type=Path, help="an interpreter that has transformers[serving]")
    return parser.parse_args()


def _questions(file: Path, count: int) -> list[str]:
    rows = json.loads(file.read_text(encoding="utf-8"))
    texts = [f"{row['instruction']}\n\n{row.get('input', '')}".strip() for row in rows]
    return [texts[number % len(texts)] for number in range(count)]


def _ours(folder: Path, slots: int) -> list[str]:
    return [sys.executable, "-m", "ft.cli", "serve", str(folder), "--slots", str(slots)]


def _theirs(python: Path, folder: Path, more: Sequence[str]) -> list[str]:
    return [str(python), "-m", "transformers.cli.transformers", "serve", str(folder), *more]


@contextmanager
def _running(command: Sequence[str]) -> Iterator[tuple[str, str]]:
    """A server's address and the mark of its processes, for the length of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryFile() as log:
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), MARK: str(port)}
        process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=log, stderr=log, env=environment, start_new_session=True
        )
        url = f"http://127.0.0.1:{port}"
        try:
            _wait(url, process)
            yield url, str(port)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            if process.returncode not in (0, 130, -signal.SIGINT, -signal.SIGKILL):
                log.seek(0)
                print(log.read().decode(errors="replace")[-2000:], file=sys.stderr)


def _cpu_seconds(mark: str) -> float:
    """Processor time of all processes that were started for one server: ft's engine is not a child of its command."""
    seconds = 0.0
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                seconds += process.cpu_times().user + process.cpu_times().system
    return seconds


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a server answers; `transformers serve` has no /ready, and loads before it listens."""
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            answer = httpx.get(f"{url}/ready", timeout=5)
            if answer.status_code == 200 or (
                answer.status_code == 404 and httpx.get(f"{url}/health", timeout=5).status_code == 200
            ):
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    sys.exit("The server does not start; run its command by hand to see why.")


def _ask(url: str, folder: Path, questions: Sequence[str], concurrency: int, tokens: int) -> list[Answer]:
    model = httpx.get(f"{url}/v1/models", timeout=60).json()["data"]
    name = next((one["id"] for one in model if one["id"] == folder.name), str(folder))
    with ThreadPoolExecutor(concurrency) as pool:
        streams = [*pool.map(lambda text: _stream(url, name, text, tokens), questions)]
    return [*map(_answer, streams)]


def _stream(url: str, model: str, question: str, tokens: int) -> list[tuple[float, bytes]]:
    """The lines of an answer, and the seconds after which each came.

    They are read later: the client shares its cores with the server.
    """
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": tokens,
        "stream": True,
    }
    address = urlsplit(url)
    began = time.perf_counter()
    with closing(HTTPConnection(str(address.hostname), address.port, timeout=ANSWER_S)) as connection:
        connection.request(
            "POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"}
        )
        return [(time.perf_counter() - began, line) for line in connection.getresponse()]


def _answer(lines: Sequence[tuple[float, bytes]]) -> Answer:
    first, text, finish = None, "", None
    for seconds, line in lines:
        if not line.startswith(b"data: {"):
            continue
        for choice in json.loads(line.removeprefix(b"data: ")).get("choices", ()):
            if piece := choice["delta"].get("content"):
                first = first or seconds
                text += piece
            finish = choice.get("finish_reason") or finish
    return Answer(text, first or lines[-1][0], finish)


if __name__ == "__main__":
    main()
