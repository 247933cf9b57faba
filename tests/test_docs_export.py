"""Commands in the pages on exporting and merging run as they stand, in the order of the page."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from engine.runs.directory.run import Run
from ft.cli import main
from tests.test_docs import ROOT, blocks
from tests.test_merge_command import QUICK
from tests.training import Job

pytestmark = pytest.mark.slow
PAGES = ("export", "export-formats", "gguf", "merge", "ollama")
INLINE = re.compile(r"`(ft [^`\n]+)`")
ENDLESS = ("serve", "chat")
"""Commands that wait for somebody; their own pages are tested elsewhere."""


def commands(page: Path) -> list[list[str]]:
    """The `ft` commands of a page, in its blocks and in its sentences, each once."""
    text = page.read_text(encoding="utf-8")
    lines = [
        line.removeprefix("$ ")
        for body in blocks(page, "sh", "console", "text")
        for line in body.splitlines()
        if re.match(r"(\$ )?ft [a-z]", line)
    ]
    lines += [found for found in INLINE.findall(text) if re.search(r" (-|[A-Z])", found)]  # else a name alone
    found = [shlex.split(line, comments=True)[1:] for line in lines]
    return [list(words) for words in dict.fromkeys(map(tuple, found)) if words[0] not in ENDLESS]


def trained(base: Path, folder: Path, seed: int) -> Run:
    """A finished run."""
    job = Job.make(base, folder, **QUICK | {"seed": seed, "checkpoints": {"every": 1, "keep": 6}})
    assert job.train() == "completed"
    return job.run


@pytest.fixture
def names(tiny_model: Path, folder: Path) -> dict[str, str]:
    """What the pages' names stand for: two runs on the tiny model, which is in the starter's place."""
    shutil.copytree(tiny_model, folder / "starter")
    other, run = (trained(folder / "starter", folder, seed) for seed in (1, 2))
    named = {"RUN": run.id, "orders-3": run.id, "OTHER": other.id, "NAME": "adapter"}
    named |= dict.fromkeys(("MODEL", "BASE"), "starter") | {"MLX-ADAPTER-FOLDER": "mlx-adapter"}
    steps = {f"step-{step:06d}": str(run.checkpoints / f"step-{step:06d}") for step in (1, 2, 3, 4)}
    return named | steps


@pytest.mark.parametrize("name", PAGES)
def test_commands_of_page_run(
    name: str, names: dict[str, str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("xllamacpp")
    pytest.importorskip("mlx_lm")
    found = commands(ROOT / "docs" / f"{name}.md")
    assert found
    if any("MLX-ADAPTER-FOLDER" in words for words in found):
        assert main(["export", names["RUN"], "--format", "mlx-adapter", "-o", "mlx-adapter"]) == 0
    for number, words in enumerate(found):
        given = [names.get(word, word) for word in words]
        if "--create" in given:
            continue  # tests/test_ollama_create.py runs it, with a program in Ollama's place
        if not {"-o", "--out"} & set(given):
            given += ["--out", f"out-{number}"]
        assert main(given) == 0, f"ft {shlex.join(words)}\n{capsys.readouterr().err}"
