"""What docs/evaluate.md, serve.md and publish.md say to type does what they say, on small models."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from engine.runs.directory.run import Run
from tests.hub_uploads import UploadHub
from tests.judge_server import judging
from tests.own_task import own_task
from tests.serving import make_adapter
from tests.test_docs import ROOT, blocks, commands
from tests.training import recipe_text

pytestmark = pytest.mark.slow
DOCS = ROOT / "docs"
MAILS = {"praise": "The tea is great", "complaint": "The coat is torn", "question": "Which size is the coat"}
EARLIER = "20261130-015155-evaluate-mail"


@dataclass
class Page:
    """A page of docs, and a folder in which its commands are run."""

    name: str
    folder: Path

    @property
    def path(self) -> Path:
        return DOCS / self.name

    def shown(self) -> Iterator[tuple[list[str], list[str]]]:
        """The commands of its console blocks, each with the lines that it is said to print."""
        for body in blocks(self.path, "console"):
            for part in re.split(r"^\$ ", body.replace("\\\n", ""), flags=re.MULTILINE)[1:]:
                command, *lines = part.rstrip().splitlines()
                yield shlex.split(command), lines

    def run(self, words: list[str]) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-P", "-m", "ft.cli", *words],
            cwd=self.folder, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def train(self, base: Path, name: str, seed: int = 0) -> Run:
        """A run of twelve steps on mails with labels, with checkpoints at the sixth and the last."""
        rows = [
            json.dumps(
                {
                    "prompt": f"Sort this mail into praise, complaint or question: {text} {at}.",
                    "completion": kind,
                }
            )
            for at in range(12)
            for kind, text in MAILS.items()
        ]
        (self.folder / "mail.jsonl").write_text("\n".join(rows))
        (self.folder / "test.jsonl").write_text("\n".join(rows[:6]))
        recipe = recipe_text(
            base, self.folder / "mail.jsonl", name=name, seed=seed,
            data={"validation": 0.4}, training={"epochs": 9, "max_steps": 12},
            checkpoints={"every": 6}, evaluation={"every": 6, "samples": [], "metrics": ["exact_match"]},
        )  # fmt: skip
        (self.folder / "train.yml").write_text(recipe)
        done = self.run(["train", "train.yml", "--plain"])
        assert done.returncode == 0, done.stderr
        return Run.open()


def firsts(lines: list[str]) -> list[str]:
    """The first cell of each line, up to the rows that are shown."""
    rows = next((at for at, line in enumerate(lines) if line.startswith("Rows that differ")), len(lines))
    kept = [line for line in lines[:rows] if line.strip() and ".jsonl:" not in line]
    return [re.split(r" {2,}|:", line.strip())[0] for line in kept if not line.startswith("    ")]


def test_every_command_of_the_evaluation_page_works(tiny_model: Path, ft_home: Path, folder: Path) -> None:
    """With exit code 1 where a gate is not passed; tables and details have the lines that the page shows."""
    page = Page("evaluate.md", folder)
    other, run = page.train(tiny_model, "other", seed=1), page.train(tiny_model, "mail")
    (own,) = blocks(page.path, "python")
    (folder / "mine.py").write_text(own)
    own_task(folder).rename(folder / "mine.yaml")
    shown = {tuple(words[1:]): lines for words, lines in page.shown()}
    ran = [words for words in commands(page.path) if words[0] == "evaluate"]
    assert len(ran) > 10
    with judging(lambda asked: "TIE") as server:
        real = {"RUN": run.id, "OTHER": other.id, "http://localhost:8000/v1": server.address}
        for words in ran:
            evaluations = (each.id for each in Run.all() if each.kind == "evaluate")
            named = real | ({EARLIER: next(evaluations)} if EARLIER in words else {})
            done = page.run([named.get(word, word) for word in words])
            expected = 1 if "--fail-under" in words else 0
            assert done.returncode == expected, f"ft {shlex.join(words)}\n{done.stderr}"
            there = set(firsts(done.stdout.splitlines() + done.stderr.splitlines()))
            assert not {*firsts(shown.get(tuple(words), []))} - there, (
                f"ft {shlex.join(words)}\n{done.stdout}"
            )
    assert (folder / "report.html").is_file()


@pytest.fixture
def hub(upload_hub: UploadHub) -> UploadHub:
    return upload_hub


def test_commands_of_the_publishing_page_push_what_they_list(
    tiny_model: Path, folder: Path, hub: UploadHub
) -> None:
    page = Page("publish.md", folder)
    run = page.train(tiny_model, "orders")
    (listing, listed), (pushing, told) = page.shown()
    done = page.run(listing[1:])
    assert done.returncode == 0, done.stderr
    files = [line.split()[0] for line in done.stdout.splitlines()]
    of_starter = "additional_chat_templates/tool_use.jinja"
    assert files == [line.split()[0] for line in listed[:-1] if of_starter not in line]
    assert "would be pushed to anna/orders from" in done.stderr
    assert hub.requests == [], "nobody was asked"
    done = page.run([run.id if word.endswith("-orders") else word for word in pushing[1:]])
    assert done.returncode == 0, done.stderr
    assert set(hub.files("anna/orders")) == set(files[1:])
    assert re.fullmatch(r"http://127.0.0.1:\d+/anna/orders/commit/[0-9a-f]{40}", done.stdout.strip())
    assert re.fullmatch(r"http://127.0.0.1:\d+/anna/orders/commit/[0-9a-f]{40}", told[-1])


@pytest.fixture
def server(
    ft_home_with_starter: Path, starter_model: Path, folder: Path
) -> "Iterator[subprocess.Popen[str]]":
    """The server of the page, on a free port, with two adapters that change every answer."""
    for seed, name in enumerate(("orders", "german")):
        make_adapter(starter_model, folder / name, seed)
    (words, _), *_ = Page("serve.md", folder).shown()
    words[words.index("--port") + 1] = "0"
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "ft.cli", *words[1:]],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_server_of_the_page_answers_as_shown_and_stops(server: "subprocess.Popen[str]", folder: Path) -> None:
    """Its lines, the starter's answer, both refusals word for word; adapters answer under their names."""
    page = Page("serve.md", folder)
    (_, lines), (asking, answered) = page.shown()
    assert server.stdout is not None
    told = []
    for line in server.stdout:
        told.append(line.rstrip())
        if line.startswith("serving: "):
            break
    varying = re.compile(r"\d{8}-\d{6}|pid \d+|:\d{4,5}")
    assert {varying.sub("N", line) for line in lines} <= {varying.sub("N", line) for line in told}, told
    address = told[-1].partition(" at ")[2].removesuffix("/v1")
    body = json.loads(asking[asking.index("-d") + 1])
    expected = json.loads(answered[0])
    url = f"{address}{asking[2].partition(':8771')[2]}"

    def ask(**changes: object) -> dict[str, object]:
        found: dict[str, object] = httpx.post(url, json=body | changes, timeout=120).json()
        return found

    found = ask()
    for part in ("choices", "usage", "object", "model"):
        assert found[part] == expected[part]
    refusals = [json.loads(each) for each in blocks(page.path, "json")]
    assert [ask(model="gpt-4"), ask(reasoning_effort="low")] == refusals
    others = [ask(model=name, max_tokens=8) for name in ("orders", "german")]
    assert [each["model"] for each in others] == ["orders", "german"]
    assert found["choices"] not in [each["choices"] for each in others]
    server.send_signal(signal.SIGINT)
    assert server.wait(60) == 0
