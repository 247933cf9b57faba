"""Another package adds a backend: pip installs it, a recipe names it, runs train with it, and a broken one is told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training import recipe_text, write_rows

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "ft-echo"
version = "1.0"

[project.entry-points."ft.backends"]
echo = "ft_echo:backend"
broken = "ft_echo:nothing"
wrong = "ft_echo:load"

[tool.setuptools]
py-modules = ["ft_echo"]
"""
MODULE = """
from engine.capabilities import Capability, Plugin


def load(plan, config, folder, objective, *, adapter=None):
    from engine.backends.torch.causal_lm import TorchModel
    from engine.backends.torch.trainer import TorchTrainer

    class Echo(TorchTrainer):
        def step(self, *arguments):
            print("echo", flush=True)
            return super().step(*arguments)

    return Echo(TorchModel.load(plan, config, folder, adapter), config, objective)


backend = Plugin(load, Capability(("fp32",), ("none",), ("lora",)), "torch that says what it does")
"""
RUN = "import sys; from ft.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with ft-echo in it, as pip installs it."""
    source = tmp_path_factory.mktemp("ft-echo")
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "ft_echo.py").write_text(MODULE)
    target = tmp_path_factory.mktemp("packages")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", str(target), str(source)], check=True)
    return target


class Shell:
    """`ft` where that folder of packages is on Python's path, and a recipe for the tiny model."""

    def __init__(self, packages: Path, base: Path, folder: Path) -> None:
        self.recipe = folder / "train.yml"
        self.recipe.write_text(recipe_text(base, write_rows(folder), adapter={"dropout": 0.0}))
        self.environment = os.environ | {
            "PYTHONPATH": f"{packages}{os.pathsep}{Path(__file__).parent.parent}",
            "FT_HOME": str(folder / "home"),
        }

    def ft(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-c", RUN, *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)


@pytest.fixture
def shell(packages: Path, tiny_model: Path, tmp_path: Path) -> Shell:
    return Shell(packages, tiny_model, tmp_path)


def test_a_recipe_trains_with_another_packages_backend(shell: Shell, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = ["--set", "backend=echo", "--set", "training.max_steps=2", "--set", "evaluation.samples=[]"]
    done = shell.ft("train", str(shell.recipe), *settings, "--run-dir", str(run))
    assert done.returncode == 0, done.stderr
    plan = json.loads((run / "plan.json").read_text())
    assert (plan["backend"], plan["device"], plan["compute_dtype"]) == ("echo", "cpu", "fp32")
    assert plan["reasons"]["backend"] == "echo: torch that says what it does, as train.yml asks"
    assert (run / "worker.log").read_text().count("echo\n") == 2
    assert (run / "adapter" / "adapter_model.safetensors").is_file()


def test_what_it_cannot_do_is_refused_before_it_loads(shell: Shell) -> None:
    done = shell.ft("plan", str(shell.recipe), "--set", "backend=echo", "--set", "adapter.type=dora")
    assert done.returncode == 2
    assert "adapter.type: dora is not for echo" in done.stderr


def test_the_comparison_has_a_column_for_it(shell: Shell) -> None:
    done = shell.ft("plan", str(shell.recipe), "--backend", "all", "--json")
    found = json.loads(done.stdout)["backends"]
    assert found["echo"]["runs_here"]
    assert found["echo"]["left_by_auto"]
    assert "does not load" in found["broken"]["problem"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "backend: broken does not load"),
        ("wrong", "backend: wrong names function, which is no engine.capabilities.Plugin"),
    ],
)
def test_a_broken_one_is_told_with_its_package(shell: Shell, name: str, message: str) -> None:
    done = shell.ft("plan", str(shell.recipe), "--set", f"backend={name}")
    assert done.returncode == 7
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_its_name_is_among_those_that_a_recipe_may_say(shell: Shell) -> None:
    done = shell.ft("validate", str(shell.recipe), "--set", "backend=ecko")
    assert done.returncode == 2
    assert "it has to be auto, mlx, unsloth, peft, broken, echo or wrong: did you mean echo?" in done.stderr
    assert shell.ft("validate", str(shell.recipe), "--set", "backend=echo").returncode == 0
