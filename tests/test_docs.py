"""README and docs say what is true: commands run, links lead somewhere, the help is the real one."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

import ft as api
from engine.config.load import load_text
from engine.errors import ConfigError
from ft.command_table import app

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "packaging").glob("*.md")])
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
LIGHT = {"validate", "schema", "init", "--version", "--help", "models list", "runs list"}
"""Commands that run as they stand in any folder that has a recipe."""


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a page that are in one of the languages."""
    return [body for name, body in FENCE.findall(page.read_text(encoding="utf-8")) if name in languages]


def commands(page: Path) -> Iterator[list[str]]:
    """The `ft` commands of a page's shell blocks, without what they are piped into."""
    for body in blocks(page, "sh", "bash", "console"):
        for line in body.replace("\\\n", " ").splitlines():
            words = (
                shlex.split(line.removeprefix("$ "), comments=True) if re.match(r"(\$ )?ft\b", line) else []
            )
            end = next((i for i, word in enumerate(words) if word[0] in "|>&;"), len(words))
            if words[:1] == ["ft"]:
                yield words[1:end]


ALL_COMMANDS = [(page, words) for page in PAGES for words in commands(page)]


def parse(words: list[str]) -> None:
    """Parse words as `ft` would, without running anything. Raises the usage error of a wrong one."""
    command: Any = typer.main.get_command(app)
    while True:
        context = command.make_context("ft", list(words))
        if not hasattr(command, "resolve_command"):
            return
        rest = [*getattr(context, "_protected_args", []), *context.args]
        if not rest:
            return
        _, command, words = command.resolve_command(context, rest)


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `ft WORDS` as a person standing in `folder` would."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "ft.cli", *words],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def identity(value: Any) -> str:
    return value.name if isinstance(value, Path) else " ".join(value)


@pytest.mark.parametrize(("page", "words"), ALL_COMMANDS, ids=identity)
def test_command_in_docs_is_valid(page: Path, words: list[str]) -> None:
    if words[-1:] not in (["--help"], ["--version"]):
        parse(words)


@pytest.mark.parametrize(
    "words",
    [
        words
        for words in sorted({tuple(words) for _, words in ALL_COMMANDS})
        if LIGHT & {words[0], " ".join(words[:2])}
    ],
    ids=identity,
)
def test_light_command_in_docs_works(words: tuple[str, ...], tmp_path: Path) -> None:
    if "--from" in words:
        shutil.copytree(ROOT / "docs" / "examples", tmp_path, dirs_exist_ok=True)
    if words[0] != "init":
        (tmp_path / "train.yml").write_text(
            (ROOT / "train.yml").read_text(encoding="utf-8"), encoding="utf-8"
        )
    done = run(list(words), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_readme_commands_work_in_order(tiny_model: Path, tmp_path: Path) -> None:
    """On a tiny model in place of the starter, everything else as the README says it."""
    shutil.copytree(ROOT / "docs" / "examples", tmp_path, dirs_exist_ok=True)
    row = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello %d"}]}\n'
    rows = "".join(row % number for number in range(12))
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    (tmp_path / "train.yml").write_text(
        f"model: {{base: {tiny_model}, max_seq_length: 64}}\n"
        "data: {train: rows.jsonl, validation: 0.25}\n"
        "training: {max_steps: 2, effective_batch_size: 4}\n",
        encoding="utf-8",
    )
    for words in commands(ROOT / "README.md"):
        if words[0] in ("chat", "init"):
            continue  # a conversation, and a file that is here already
        done = run(words, tmp_path)
        assert done.returncode == 0, f"ft {shlex.join(words)}\n{done.stderr}"


def shown(page: Path) -> Iterator[tuple[list[str], list[str]]]:
    """The `ft data` commands of a page's console blocks, with the lines that they are said to print."""
    for body in blocks(page, "console"):
        for part in re.split(r"^\$ ", body, flags=re.MULTILINE):
            command, *lines = part.rstrip().splitlines() or [""]
            if command.startswith("ft data"):
                yield shlex.split(command)[1:], lines


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/data.md"])
def test_data_output_in_docs_is_real(ft_home_with_starter: Path, tmp_path: Path, name: str) -> None:
    """On the real starter, in a folder with the examples; what is told on stderr stands first."""
    shutil.copytree(ROOT / "docs" / "examples", tmp_path, dirs_exist_ok=True)
    page = list(shown(ROOT / name))
    assert {words[1] for words, _ in page} == {"preview", "check", "stats", "sample", "prepare"}
    for words, lines in page:
        done = run(words, tmp_path)
        assert done.returncode == 0, done.stderr
        assert [line.rstrip() for line in (done.stderr + done.stdout).rstrip().splitlines()] == lines


@pytest.mark.slow
def test_recipe_of_the_evaluation_page_is_what_the_page_says(
    tiny_model: Path, ft_home: Path, tmp_path: Path
) -> None:
    """Its rows are found from any folder, nothing of them is amiss, and it can be planned; on a tiny model."""
    recipe = ROOT / "docs" / "examples" / "mail.yml"
    assert "ft train docs/examples/mail.yml" in (ROOT / "docs" / "evaluate.md").read_text(encoding="utf-8")
    base = ["--set", f"model.base={tiny_model}"]
    done = run(["plan", str(recipe), "--json", *base], tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["work"]["steps"] == 12
    done = run(["data", "check", "--recipe", str(recipe), "--json", *base], tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [one for one in report["findings"] if "duplicate" in one["kind"] or "overlap" in one["kind"]] == []
    kinds = {}
    for name in ("mail", "mail-validation"):
        lines = recipe.with_name(f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        kinds[name] = Counter(json.loads(line)["messages"][-1]["content"] for line in lines)
    assert kinds == {
        name: dict.fromkeys(("praise", "complaint", "question"), count)
        for name, count in (("mail", 40), ("mail-validation", 10))
    }


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_links_in_docs_resolve(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_docs_name_no_machine_specific_folder(page: Path) -> None:
    found = re.search(
        r"(?<![\w.~>])/(work|root|tmp/pytest|home(?!/ada)|Users)/\S*", page.read_text(encoding="utf-8")
    )
    assert found is None, found


def problems(recipe: str, folder: Path) -> list[str]:
    """Problems that `ft validate` finds in a recipe, each as `:line:column: message`; none for a good one."""
    try:
        load_text(recipe, folder / "train.yml")
    except ConfigError as error:
        return re.findall(r"train\.yml(:\d+:\d+: .*)", error.message) or [error.message]
    return []


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_recipes_in_docs_behave_as_told(page: Path, tmp_path: Path) -> None:
    """Each loads or fails as the page says."""
    shown = page.read_text(encoding="utf-8")
    for body in blocks(page, "yaml", "yml"):
        if re.search(r"^model:", body, re.MULTILINE) and re.search(r"^data:", body, re.MULTILINE):
            assert [problem for problem in problems(body, tmp_path) if problem not in shown] == []


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_python_in_docs_uses_existing_names(page: Path) -> None:
    for body in blocks(page, "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ft":
                assert hasattr(api, node.attr), f"{page.name}: ft.{node.attr}"


def test_make_targets_in_docs_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        used = re.findall(r"`make ([a-z]+)", text) + re.findall(r"^make ([a-z]+)", text, re.MULTILINE)
        assert set(used) <= targets, page.name


def test_files_and_modules_in_docs_exist() -> None:
    named = re.compile(r"`((?:engine|ft|tests|benchmarks|packaging|docs)/[\w./-]*)`")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for path in (one for one in named.findall(text) if "NAME" not in one):  # a place to fill in
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_readme_links_every_docs_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [p.name for p in (ROOT / "docs").glob("*.md") if f"docs/{p.name}" not in text] == []


def test_help_text_in_docs_is_real() -> None:
    script = ROOT / "packaging" / "commands.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run python packaging/commands.py\n{done.stderr}"
