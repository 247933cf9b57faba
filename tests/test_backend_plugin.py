"""Another package adds a backend: pip installs it, a recipe names it, runs train with it, and a broken one is told."""

import json
import os
import re
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
bare = "ft_echo:bare"
broken = "ft_echo:nothing"
misnamed = "ft_echo:backend"
old = "ft_old:backend"
raises = "ft_raises:backend"
wrong = "ft_echo:load"

[tool.setuptools]
py-modules = ["ft_echo", "ft_old", "ft_raises"]
"""
MODULE = """
from engine.backend_spec import BackendSpec, Capability, KeySupport, MemoryPlan


def load(plan, config, folder, objective, *, adapter=None):
    from engine.backends.torch.causal_lm import TorchModel
    from engine.backends.torch.trainer import TorchTrainer

    class Echo(TorchTrainer):
        def step(self, *arguments):
            print("echo", flush=True)
            return super().step(*arguments)

    return Echo(TorchModel.load(plan, config, folder, adapter), config, objective)


def predict(shape, load):
    return MemoryPlan(weights=4 * shape.parameters, adapter=1, gradients=2, optimizer=3, activations=load.tokens,
                      logits=5, overhead=6)


backend = BackendSpec(
    name="echo",
    devices={
        "cpu": Capability(
            ("fp32", "bf16"),
            ("none", "4bit"),
            ("lora",),
            exact_resume=True,
            note="torch that says what it does",
            support={"data.packing": {"true": KeySupport("emulated", "row by row")}},
            auto_precision=("fp32", "an echo is exact"),
            free_packing="an echo has no padding",
            core_flops={"fp32": 1e9},
        )
    },
    load=load,
    predict=predict,
    packages=("torch",),
    optional_packages=("pluggy",),
    support={
        "model.quantization": {"4bit": KeySupport("direct", "echoes", "Use quantization: none.", "no_such_package")}
    },
    attention=lambda machine, compute: ("sdpa", "it listens to each example"),
    before_import=lambda: print("before imports", flush=True),
    before_load=lambda: print("before loading", flush=True),
    speed_prefix="echo-",
)
bare = BackendSpec("bare", backend.devices, load, predict, packages=("ft_absent",), install="make ft_absent")
"""
OLD = """
from engine.capabilities import Capability, Plugin

backend = Plugin(print, Capability(("fp32",), ("none",), ("lora",)), "of ft 0.1.0")
"""
ROOT = Path(__file__).parents[1]
# Of ft there is what lies here: an editable install would also find modules of another checkout.
HERE = "import sys; sys.meta_path = [one for one in sys.meta_path if 'editable' not in getattr(one, '__module__', '')]"
RUN = f"{HERE}; from ft.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with ft-echo in it, as pip installs it."""
    source = tmp_path_factory.mktemp("ft-echo")
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "ft_echo.py").write_text(MODULE)
    (source / "ft_old.py").write_text(OLD)
    (source / "ft_raises.py").write_text("raise RuntimeError('no licence')\n")
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
            "PYTHONPATH": f"{ROOT}{os.pathsep}{packages}",
            "FT_HOME": str(folder / "home"),
        }

    def ft(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.python(RUN, *arguments)

    def python(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-c", code, *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)


@pytest.fixture
def shell(packages: Path, tiny_model: Path, tmp_path: Path) -> Shell:
    return Shell(packages, tiny_model, tmp_path)


def test_recipe_trains_with_plugin_backend(shell: Shell, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = ["--set", "backend=echo", "--set", "training.max_steps=2", "--set", "evaluation.samples=[]"]
    done = shell.ft("train", str(shell.recipe), *settings, "--run-dir", str(run))
    assert done.returncode == 0, done.stderr
    plan = json.loads((run / "plan.json").read_text())
    made = plan["decisions"]
    assert (made["backend"], made["device"], made["compute_dtype"], made["packing"]) == (
        "echo",
        "cpu",
        "fp32",
        True,
    )
    assert plan["memory"]["weights"] % 4 == 0
    assert (plan["memory"]["logits"], plan["memory"]["overhead"]) == (5, 6)
    why = plan["reasons"]
    assert why["backend"].endswith("): torch that says what it does, as set in train.yml")
    assert why["precision"] == "fp32 arithmetic: an echo is exact"
    assert why["packing"] == "an echo has no padding"
    assert why["attention"] == "it listens to each example"
    log = (run / "worker.log").read_text()
    assert re.findall("before .*|echo", log) == ["before imports", "before loading", "echo", "echo"]
    assert (run / "adapter" / "adapter_model.safetensors").is_file()


def test_plugin_backend_refuses_settings_before_loading(shell: Shell) -> None:
    done = shell.ft("plan", str(shell.recipe), "--set", "backend=echo", "--set", "adapter.type=dora")
    assert done.returncode == 2
    assert "adapter.type: dora is not for echo" in done.stderr


def test_backend_value_names_missing_package(shell: Shell) -> None:
    """The message says how to install it."""
    done = shell.ft("plan", str(shell.recipe), "--set", "backend=echo", "--set", "model.quantization=4bit")
    assert done.returncode == 2
    assert "model.quantization: 4bit needs the package no_such_package" in done.stderr
    assert "pip install no_such_package. Use quantization: none." in " ".join(done.stderr.split())


def test_plugin_backend_names_missing_packages(shell: Shell) -> None:
    """The message says how to install them."""
    done = shell.ft("plan", str(shell.recipe), "--set", "backend=bare")
    assert done.returncode == 7
    assert "The bare backend needs ft_absent, not installed here." in done.stderr
    assert "make ft_absent" in done.stderr


def test_plan_comparison_includes_plugin_backend(shell: Shell) -> None:
    done = shell.ft("plan", str(shell.recipe), "--backend", "all", "--json")
    found = json.loads(done.stdout)["backends"]
    echo = found["echo"]
    assert echo["runs_here"]
    assert echo["left_by_auto"]
    assert echo["exact_resume"]
    assert (echo["methods"], echo["tasks"], echo["distributed"]) == (["any"], ["causal-lm"], [])
    assert echo["keys"]["data.packing"]["note"] == "row by row"
    assert echo["seconds"] > 0
    assert "does not load" in found["broken"]["problem"]
    assert found["peft"]["picked"], "packages that do not load keep nobody from training"
    assert shell.ft("plan", str(shell.recipe), "--backend", "all").returncode == 0


def test_settings_show_versions_of_plugin_backend(shell: Shell) -> None:
    done = shell.python("from screens.settings.storage import versions; print(dict(versions()))")
    assert "'pluggy': '" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "backend: broken does not load"),
        ("misnamed", "backend: misnamed names the BackendSpec of a backend that calls itself echo"),
        ("old", "backend: old was made for an earlier version of ft"),
        ("raises", "backend: raises does not load: no licence"),
        ("wrong", "backend: wrong names function, not an engine.backend_spec.BackendSpec"),
    ],
)
def test_broken_plugin_backend_names_its_package(shell: Shell, name: str, message: str) -> None:
    done = shell.ft("plan", str(shell.recipe), "--set", f"backend={name}")
    assert done.returncode == 7
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_recipe_accepts_plugin_backend_name(shell: Shell) -> None:
    done = shell.ft("validate", str(shell.recipe), "--set", "backend=ecko")
    assert done.returncode == 2
    assert (
        "it has to be auto, mlx, unsloth, peft, bare, broken, echo, misnamed, old, raises or wrong: did you mean echo?"
        in done.stderr
    )
    assert shell.ft("validate", str(shell.recipe), "--set", "backend=echo").returncode == 0
