"""Nothing heavy before it is needed: what a fresh process holds after a light command or import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "torch",
    "mlx",
    "transformers",
    "peft",
    "accelerate",
    "bitsandbytes",
    "datasets",
    "pyarrow",
    "textual",
}

REPORT = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"

LIGHT_MODULES = [
    "engine.errors",
    "engine.paths",
    "engine.config.schema",
    "engine.config.load",
    "engine.config.profiles",
    "engine.hardware.probe",
    "engine.models.sizing",
    "engine.runs.directory.events",
    "engine.runs.directory.run",
    "engine.planning.planner",
    "engine.backend_spec",
    "engine.backends.mlx.spec",
    "engine.backends.torch.spec",
    "engine.backends.unsloth.spec",
    "engine.backends.base",
    "engine.runs.directory.control",
    "engine.process.launcher",
    "ft.cli",
    "ft",
]

RECIPE = "model: {base: starter}\ndata: {train: starter}\n"


def modules_after(code: str, home: Path) -> set[str]:
    """Top-level packages that a fresh interpreter holds after running `code`."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{code}\n{REPORT}"],
        capture_output=True,
        text=True,
        env=os.environ | {"FT_HOME": str(home)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def command(*arguments: str) -> str:
    """Python that runs `ft ARGUMENTS` in its own process and goes on after it, to be looked at."""
    return f"from ft.cli import main; code = main({list(arguments)!r}); assert code == 0, code"


@pytest.mark.parametrize("name", LIGHT_MODULES)
def test_light_module_imports_nothing_heavy(name: str, tmp_path: Path) -> None:
    assert not modules_after(f"import {name}", tmp_path) & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["runs", "--help"], ["train", "--help"]])
def test_help_command_imports_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    assert not modules_after(command(*arguments), tmp_path) & HEAVY


def test_first_help_command_imports_no_pydantic(tmp_path: Path) -> None:
    held = modules_after(command("--help"), tmp_path)
    assert not held & {"pydantic", "numpy", "tokenizers", "huggingface_hub", "psutil", "yaml"}


def test_recipe_commands_import_nothing_heavy(tmp_path: Path) -> None:
    """`validate`, `schema` and `init`."""
    recipe = tmp_path / "train.yml"
    recipe.write_text(RECIPE)
    for arguments in (["validate", str(recipe)], ["schema"], ["init", str(tmp_path / "new" / "train.yml")]):
        held = modules_after(command(*arguments), tmp_path)
        assert not held & (HEAVY | {"tokenizers", "huggingface_hub"}), arguments


def test_plain_file_rows_need_no_datasets_library(tmp_path: Path, tiny_model: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    pyarrow.parquet.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "rows.parquet")
    recipe = tmp_path / "train.yml"
    recipe.write_text(f"model: {{base: {tiny_model}}}\ndata: {{train: rows.jsonl, validation: 0}}\n")
    for arguments in (["plan", str(recipe)], ["data", "sample", str(tmp_path / "rows.parquet")]):
        assert not modules_after(command(*arguments), tmp_path) & {"datasets", "pandas", "aiohttp"}, arguments


@pytest.mark.parametrize("words", [("runs", "list"), ("storage",), ("storage", "clean")], ids=" ".join)
def test_listing_what_is_there_imports_nothing_heavy(words: tuple[str, ...], tmp_path: Path) -> None:
    assert not modules_after(command(*words), tmp_path) & HEAVY


def test_engine_imports_no_layer_above(tmp_path: Path) -> None:
    code = "import engine.process.worker, engine.service.server, engine.process.launcher, engine.planning.planner"
    assert not modules_after(code, tmp_path) & {"ft", "screens", "textual", "typer"}
