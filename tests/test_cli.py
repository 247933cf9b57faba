"""The command line as a person meets it: a real `ft`, its output, its exit codes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ft import cli, command_table

GOOD = "model: {base: starter}\ndata: {train: starter}\n"


def ft(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ft.cli", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parent.parent)} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_every_command_on_stdout(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """So does `ft` alone."""
    done = ft(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for name, (_, line) in command_table.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", done.stdout, re.MULTILINE)


def test_help_and_validate_import_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "train.yml").write_text(GOOD)
    heavy = [
        "torch",
        "transformers",
        "datasets",
        "pyarrow",
        "numpy",
        "rich",
        "textual",
        "huggingface_hub",
        "jinja2",
    ]
    code = (
        "import sys; from ft.cli import main\n"
        "code = main(sys.argv[1:])\n"
        f"print([name for name in {heavy} if name in sys.modules], code, file=sys.stderr)\n"
    )
    (tmp_path / "lora.yaml").write_text("model: a/b\niters: 3\n")
    migrating = ["init", "new.yml", "--from", "lora.yaml", "--json"]
    for arguments in (["--help"], ["validate"], ["schema"], ["init", "--list"], migrating):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.stderr == "[] 0\n", arguments


def test_version_is_that_of_distribution(tmp_path: Path) -> None:
    assert re.fullmatch(r"ft \d+\.\d+\.\d+\S*\n", ft("--version", cwd=tmp_path).stdout)


@pytest.mark.parametrize("name", command_table.COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"Usage: ft {name} ")
    assert shown.err == ""


MISTAKES = {
    "a typo in a command": (["trian"], 2, "There is no command 'trian'. Did you mean 'train'?"),
    "no such command": (["xyzzy"], 2, "There is no command 'xyzzy'."),
    "a typo in an option": (["validate", "--jsn"], 2, "--json"),
    "no such recipe": (["validate", "nope.yml"], 2, "nope.yml does not exist"),
    "a folder for a recipe": (["validate", "."], 2, "is a folder"),
    "a mistake in a recipe": (
        ["validate", "bad.yml"],
        2,
        "bad.yml:3:1: sed: there is no such key; did you mean seed?",
    ),
    "a mistake in an override": (
        ["validate", "--set", "sed=1"],
        2,
        "--set sed: there is no such key; did you mean seed?",
    ),
    "no such data file": (["validate", "--set", "data.train=x.jsonl"], 3, "x.jsonl does not exist"),
    "no such model folder": (["validate", "--set", "model.base=./x"], 4, "x does not exist"),
    "no such profile": (["init", "new.yml", "--profile", "cht"], 2, "did you mean chat?"),
    "a recipe that is there": (["init"], 2, "train.yml already exists"),
    "a file in the way of a folder": (["init", "train.yml/new.yml"], 7, "train.yml"),
}


@pytest.mark.parametrize(("arguments", "code", "fragment"), MISTAKES.values(), ids=MISTAKES.keys())
def test_command_mistake_gives_message_and_exit_code(
    arguments: list[str], code: int, fragment: str, tmp_path: Path
) -> None:
    (tmp_path / "train.yml").write_text(GOOD)
    (tmp_path / "bad.yml").write_text(GOOD + "sed: 1\n")
    done = ft(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert fragment in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert (tmp_path / "train.yml").read_text() == GOOD


def test_init_writes_valid_recipe(tmp_path: Path) -> None:
    """The command says what to do next."""
    done = ft("init", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "ft train" in done.stderr
    done = ft("validate", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "train.yml is valid.\n", "")


def test_init_overwrites_recipe_only_when_told(tmp_path: Path) -> None:
    """Missing folders are made."""
    target = tmp_path / "a" / "b.yml"
    assert ft("init", "a/b.yml", "--profile", "quick", cwd=tmp_path).returncode == 0
    assert "name: quick" in target.read_text()
    assert ft("init", "a/b.yml", cwd=tmp_path).returncode == 2
    assert "name: quick" in target.read_text()
    assert ft("init", "a/b.yml", "--force", cwd=tmp_path).returncode == 0
    assert "name: starter" in target.read_text()


def test_init_lists_own_profiles(tmp_path: Path, ft_home: Path) -> None:
    (ft_home / "profiles").mkdir(parents=True)
    (ft_home / "profiles" / "mine.yml").write_text("# For my team\n" + GOOD)
    assert re.search(r"^mine +For my team$", ft("init", "--list", cwd=tmp_path).stdout, re.MULTILINE)
    assert ft("init", "--profile", "mine", cwd=tmp_path).returncode == 0
    assert (tmp_path / "train.yml").read_text() == "# For my team\n" + GOOD


def test_validate_json_places_every_recipe_problem(tmp_path: Path) -> None:
    (tmp_path / "train.yml").write_text(GOOD + "sed: 1\ntraining: {epochs: 0}\n")
    done = ft("validate", "--json", cwd=tmp_path)
    body = json.loads(done.stdout)
    assert (done.returncode, body["valid"]) == (2, False)
    assert [(p["line"], p["column"], p["key"], p["suggestion"]) for p in body["problems"]] == [
        (3, 1, "sed", "seed"),
        (4, 20, "training.epochs", ""),
    ]


def test_validate_json_has_whole_config(tmp_path: Path) -> None:
    (tmp_path / "train.yml").write_text(GOOD)
    body = json.loads(ft("validate", "--json", "--set", "training.max_steps=010", cwd=tmp_path).stdout)
    assert body["valid"] is True
    assert body["config"]["training"]["max_steps"] == 10


def test_recipe_schema_is_json_on_stdout(tmp_path: Path) -> None:
    body = json.loads(ft("schema", cwd=tmp_path).stdout)
    assert body["properties"]["seed"]["description"]


def test_ctrl_c_ends_command_with_130(tmp_path: Path) -> None:
    """No traceback is shown."""
    code = "from ft.cli import main; print('up', flush=True); raise SystemExit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "secrets", "set", "HF_TOKEN"],  # reads stdin, where nothing comes
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_closed_output_pipe_is_no_error(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "ft.cli", "schema"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.wait(timeout=30)
    assert process.returncode in (0, 1)


def _broken() -> None:
    raise RuntimeError("a wheel came off")


def test_crashed_command_keeps_traceback_in_log(
    ft_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The terminal shows one message."""
    monkeypatch.setitem(command_table.COMMANDS, "schema", (f"{__name__}:_broken", "Breaks."))
    monkeypatch.delenv("FT_DEBUG", raising=False)
    assert cli.main(["schema"]) == cli.BUG
    shown = capsys.readouterr().err
    assert "RuntimeError: a wheel came off" in shown
    assert "Traceback" not in shown
    log = ft_home / "cache" / "last-error.txt"
    assert str(log) in shown
    assert "a wheel came off" in log.read_text()
    monkeypatch.setenv("FT_DEBUG", "1")
    cli.main(["schema"])
    assert "Traceback" in capsys.readouterr().err
