"""Names, rows and messages of strangers reach the terminal as signs: nothing in them moves a cursor or sets a title."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from engine.config.problems import Place, Problem, RecipeError
from engine.errors import DataError
from engine.runs.directory.events import Failed, Sample, Started, Warned
from engine.text import listed, printable, shortened, without_controls
from ft.cli import main
from ft.console import out
from ft.rich_console import SafeConsole
from tests.run_fixtures import make_run
from tests.terminal import FT, Terminal
from tests.test_app_terminal import CTRL_Q, AppTerminal
from tests.training import write_rows

TITLE = "\x1b]0;taken over\x07"
RAW = b"\x1b]0;taken over"
SEEN = "␛]0;taken over␇"


@pytest.mark.slow
def test_terminal_shows_signs_for_control_codes(tiny_model: Path, tmp_path: Path) -> None:
    """In the text of a row, the key of a recipe, the name of a file, and the message of another one's run."""
    rows, recipe = tmp_path / f"{TITLE}rows.jsonl", tmp_path / "train.yml"
    rows.write_text(json.dumps({"prompt": TITLE, "completion": f"{TITLE} \x9b2J"}) + "\n")
    recipe.write_text('"a\\e]0;taken over\\a": 1\n')
    run = make_run("20261101-000000-x", end=Failed(kind="model", message=TITLE, hint=TITLE))
    commands = [["data", "preview", rows, "--model", tiny_model], ["validate", recipe], ["attach", run.id]]
    for argv in (*commands, ["runs", "show", run.id], ["runs", "list"]):
        terminal = Terminal(*argv)
        terminal.end()
        assert RAW not in terminal.output, argv
        assert "\x9b" not in terminal.shown, argv
        assert SEEN.strip("␛␇") in terminal.shown or argv == ["runs", "list"], (argv, terminal.shown)


@pytest.mark.slow
def test_app_shows_no_control_codes(ft_home: Path, tiny_model: Path) -> None:
    """Nor does it take brackets in a name for markup."""
    events = [
        Warned(message=TITLE, hint=TITLE),
        Sample(step=1, prompt=TITLE, text=f"[bold]{TITLE}[/nothing]"),
    ]
    run = make_run("20261101-000000-x", end=Failed(kind="model", message=f"gone {TITLE}", hint=TITLE))
    for event in (Started(run=run.id, pid=1), *events):
        run.emit(event)
    run.emit(Failed(kind="model", message=f"gone {TITLE}", hint=TITLE))
    (ft_home / "models").mkdir(parents=True)
    (ft_home / "models" / f"[red]{TITLE}[nothing").symlink_to(tiny_model)
    terminal = AppTerminal(columns=140, rows=40)
    terminal.wait_for_bars()
    for key, seen in ((b"2", "[red]"), (b"6", "20261101"), (b"5", "gone")):
        terminal.press(key)
        terminal.wait_to_see(seen)
    terminal.press(CTRL_Q)
    assert terminal.leave() == 0
    assert RAW not in terminal.output
    assert b"taken over" in terminal.output


def test_pipe_gets_rows_unchanged(tmp_path: Path, tiny_model: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": f"a{TITLE}\x9b", "completion": "b"}) + "\n")
    done = subprocess.run([*FT, "data", "sample", str(rows)], capture_output=True, text=True)
    assert f"a{TITLE}\x9b" in str(json.loads(done.stdout)).encode().decode("unicode_escape")


def test_answer_loses_control_codes_on_terminal_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ft.console import safe_output

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen, pipe = Screen(), io.StringIO()
    for stream in (screen, pipe):
        monkeypatch.setattr(sys, "stdout", stream)
        with safe_output():
            sys.stdout.write(f"a\tb\n{TITLE}")
    assert screen.getvalue() == f"a\tb\n{SEEN}"
    assert pipe.getvalue() == f"a\tb\n{TITLE}"


def test_brackets_in_table_cell_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("run")
    table.add_row("[red]x[/nothing]")
    out().print(table, "[bold]y[/nothing]")
    assert "[red]x[/nothing]" in (shown := capsys.readouterr().out)
    assert "[bold]y[/nothing]" in shown


def test_rich_tables_keep_only_own_colours() -> None:
    screen = io.StringIO()
    table = Table("name")
    table.add_row(Text(TITLE, "bold red"))
    SafeConsole(file=screen, force_terminal=True, color_system="standard").print(table)
    assert "]0;taken over" in screen.getvalue()
    assert TITLE not in screen.getvalue()
    assert "\x1b[1;31m" in screen.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, tabs\tand\nlines", "plain text, tabs\tand\nlines"),
        ("\x1b[31mred\x07", "␛[31mred␇"),
        ("a\rb\x7f", "a␍b␡"),
        ("\x9b2J \u202eabc \ud800", "\ufffd2J \ufffdabc \ufffd"),
        ("日本語 العربية 🙂", "日本語 العربية 🙂"),
    ],
)
def test_control_characters_become_signs(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert len(shown) == len(text)
    assert without_controls(text) == "".join(c for c, d in zip(text, shown, strict=True) if c == d)


def test_error_messages_stay_short() -> None:
    columns = [f"column{n}" for n in range(10_000)]
    assert listed(columns, 3) == "column0, column1, column2 and 9,997 more"
    for error in (
        DataError(f"columns {', '.join(columns)} fit no format", "x" * 10_000),
        DataError("é" * 10_000, "\n".join(columns)),
        DataError("\n".join(columns), ""),
        RecipeError([Problem(Place("train.yml", n), "is wrong " * 90) for n in range(1, 500)]),
    ):
        assert len(f"error: {error.message}\nhint: {error.hint}\n".encode()) <= 2048
        # No shorter again.
        assert error.message == type(error).__mro__[1](error.message).message or error.hint
    assert RecipeError([Problem(Place("a.yml", n), "is wrong") for n in range(1, 500)]).message.endswith(
        "more"
    )
    assert shortened("a\nb\nc", 100) == "a\nb\nc"
    assert shortened("a" * 50 + "z" * 50, 60).startswith("aaa")
    assert shortened("a" * 50 + "z" * 50, 60).endswith("zzz")


@pytest.mark.parametrize("closed", ["0", "1", "2"])
def test_closed_output_stream_is_no_error(closed: str, ft_home: Path) -> None:
    """`ft runs list >&-`: Python has no such stream then."""
    make_run("20261101-000000-x")
    command = f'exec "$@" {closed}>&-' if closed != "0" else 'exec "$@" 0<&-'
    done = subprocess.run(["sh", "-c", command, "sh", *FT, "runs", "list"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert ("20261101" in done.stdout) == (closed != "1")


def test_terminal_of_other_encoding_gets_escapes(tiny_model: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "train.yml"
    recipe.write_text(
        json.dumps({"model": {"base": str(tiny_model)}, "data": {"train": str(write_rows(tmp_path))}})
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    for argv in (["plan", str(recipe)], ["validate", str(recipe), "--json"]):
        done = subprocess.run([*FT, *argv], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_half_a_surrogate_prints_as_json_escape(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a \\ud800 b", "completion": "c"}\n')
    assert main(["data", "sample", str(rows)]) == 0
    assert b"\\ud800" in capfdbinary.readouterr().out
