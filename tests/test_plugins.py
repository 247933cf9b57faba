"""Another package adds one of everything, touching no file of ft's, and one run uses all of it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from engine import plugins

ROOT = Path(__file__).parents[1]
TOY = Path(__file__).parent / "plugins"
PAGE = ROOT / "docs" / "extending.md"
GROUPS = {value for name, value in vars(plugins).items() if name.isupper() and str(value).startswith("ft.")}
# Of ft there is what lies here: an editable install would also find modules of another checkout.
HERE = "import sys; sys.meta_path = [one for one in sys.meta_path if 'editable' not in getattr(one, '__module__', '')]"
RUN = f"{HERE}; from ft.cli import main; sys.exit(main(sys.argv[1:]))"
RECIPE: Mapping[str, Any] = {
    "backend": "toy",
    "model": {"max_seq_length": 64, "chat_template": "plain"},
    "data": {"train": "toy:12", "validation": "toy:3", "format": "duel"},
    "adapter": {"rank": 4, "dropout": 0.0},
    "training": {
        "method": "margin", "max_steps": 4, "effective_batch_size": 4, "batch_size": 2, "learning_rate": 1e-2,
    },
    "margin": {"width": 5.0},
    "evaluation": {"every": 2, "metrics": ["worst_token"]},
}  # fmt: skip


class Shell:
    """`ft` where the toy package is installed."""

    def __init__(self, packages: Path, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{packages}",
            "FT_HOME": str(folder / "home"),
        }

    def ft(self, *arguments: str) -> str:
        command = [sys.executable, "-P", "-c", RUN, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy package, as pip installs it."""
    target = tmp_path_factory.mktemp("packages")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
    ]
    source = tmp_path_factory.mktemp("source") / "toy"
    subprocess.run(["cp", "-r", str(TOY), str(source)], check=True)  # pip builds beside the sources
    subprocess.run([*pip, "--target", str(target), str(source)], check=True)
    return target


@pytest.fixture(scope="module")
def trained(packages: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A finished run that uses the package's source, format, template, method, metric and backend."""
    folder = tmp_path_factory.mktemp("toy")
    recipe = dict(RECIPE) | {"name": "toy", "model": {**RECIPE["model"], "base": str(tiny_model)}}
    (folder / "train.yml").write_text(json.dumps(recipe))
    shell = Shell(packages, folder)
    shell.ft("train", "train.yml", "--run-dir", "run")
    return shell


def events(shell: Shell, kind: str) -> list[dict[str, Any]]:
    lines = (shell.folder / "run" / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["type"] == kind]


@pytest.mark.slow
def test_run_uses_every_kind_of_plugin(trained: Shell) -> None:
    """Method, metric, format, source, template and backend."""
    steps, evaluations = events(trained, "step"), events(trained, "eval")
    assert [step["step"] for step in steps] == [1, 2, 3, 4]
    assert steps[-1]["loss"] < steps[0]["loss"]
    leads = [step["metrics"]["lead"] for step in steps]
    assert leads[-1] > leads[0], "the better answer gains on the worse one"
    assert [set(one["metrics"]) for one in evaluations] == [{"worst_token", "lead"}] * 3
    assert all(one["metrics"]["worst_token"] < 0 for one in evaluations)
    assert (trained.folder / "run" / "worker.log").read_text().count("toy step") == 4


@pytest.mark.slow
def test_plugin_exporter_tracker_and_command_work(trained: Shell) -> None:
    assert trained.ft(
        "export", "run", "--format", "inventory", "--out", "listed", "--set", "case=upper"
    ).strip()
    assert "LORA_A" in (trained.folder / "listed" / "inventory.txt").read_text()
    trained.ft("track", "run", "--to", "csv", "--set", "file=loss.csv")
    assert len((trained.folder / "loss.csv").read_text().splitlines()) == 4
    assert trained.ft("toy", "world") == "Hello, world.\n"
    assert "toy " in trained.ft("--help")


@pytest.mark.slow
def test_lists_and_plans_name_plugin_parts(trained: Shell) -> None:
    assert "worst_token" in trained.ft("schema")
    assert "toy" in trained.ft("plan", "train.yml", "--backend", "all")
    assert "least likely token" in trained.ft("runs", "show", "run")
    assert "HeliumForCausalLM" in trained.ft("models", "architectures")


def test_package_has_every_kind_of_plugin() -> None:
    found = re.findall(
        r'^\[project\.entry-points\."([a-z.]+)"\]$', (TOY / "pyproject.toml").read_text(), re.M
    )
    assert set(found) == GROUPS


def test_every_documented_plugin_example_is_tested() -> None:
    page = PAGE.read_text()
    files = {path.name: path.read_text() for path in [*TOY.glob("*.toml"), *(TOY / "ft_toy").glob("*.py")]}
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", page, re.S)
    assert len(blocks) > len(GROUPS)
    for block in blocks:
        assert any(block in text for text in files.values()), block
    assert all(f"`{group}`" in page for group in GROUPS)
