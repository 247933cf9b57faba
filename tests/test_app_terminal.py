"""The app from end to end, on a real terminal with a real engine: train, leave, come back, stop, resume, quit."""

import base64
import fcntl
import os
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path

import pyte
import pytest

from engine.runs.directory import control
from engine.runs.directory.lock import holding, take
from engine.runs.directory.run import Run
from tests.run_fixtures import make_run
from tests.terminal import FT, Terminal, until, write_recipe

ENTER, CTRL_C, CTRL_Q, F5 = b"\r", b"\x03", b"\x11", b"\x1b[15~"
LEFT_BEHIND = {"alternate screen": b"\x1b[?1049l", "cursor": b"\x1b[?25h", "mouse": b"\x1b[?1000l"}
"""Terminal state that the last bytes must restore, each with the sequence that does it."""


class AppTerminal(Terminal):
    """`ft` on a terminal whose screen can be read as a person reads it."""

    def __init__(self, *arguments: str | Path, columns: int = 80, rows: int = 24) -> None:
        super().__init__(*arguments)
        self.before = termios.tcgetattr(self.master)
        self.picture = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.picture)
        self.fed = 0
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        """Resize as a terminal does when its corner is dragged."""
        self.text()  # what was drawn for the old size goes onto the old size
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.picture.resize(rows, columns)
        os.killpg(self.process.pid, signal.SIGWINCH)

    def text(self) -> str:
        """The screen as it is now."""
        output = self.output
        self.stream.feed(output[self.fed :])
        self.fed = len(output)
        return "\n".join(self.picture.display)

    def wait_to_see(self, *texts: str) -> None:
        """Wait until all of these are on the screen at the same time."""
        until(
            lambda: all(text in self.text() for text in texts),
            f"{texts} on the screen",
            lambda: "; it shows:\n" + self.text(),
        )

    def wait_for_bars(self) -> None:
        """Wait until the app fills the screen: its bar on the first line, its keys on the last."""

        def filled() -> bool:
            first, *_, last = self.text().splitlines()
            return "Home" in first and "quit" in last

        until(filled, "the app from the first line to the last", lambda: "; it shows:\n" + self.text())

    def leave(self) -> int:
        """Wait for the end, and see that the terminal is as it was; returns the exit code."""
        code = self.process.wait(timeout=60)
        until(lambda: all(mark in self.output for mark in LEFT_BEHIND.values()), "the terminal put right")
        mode = termios.tcgetattr(self.master)[3]
        assert mode & termios.ECHO, "typing must be seen again"
        assert mode & termios.ICANON, "lines must be edited again"
        last = {name: self.output.rfind(mark) for name, mark in LEFT_BEHIND.items()}
        assert last["alternate screen"] > self.output.rfind(b"\x1b[?1049h")
        assert last["cursor"] > self.output.rfind(b"\x1b[?25l")
        assert last["mouse"] > self.output.rfind(b"\x1b[?1000h")
        self.reader.join(timeout=10)
        os.close(self.master)
        return code


@pytest.fixture
def no_engine_left() -> Iterator[None]:
    """Ends what a failed test left training."""
    yield
    for run in Run.all():
        if run.alive():
            control.send(run, "stop")
            until(lambda run=run: not run.alive(), "the engine has ended")


def test_plain_ft_app_restores_terminal_on_q(folder: Path) -> None:
    app = AppTerminal()
    app.wait_to_see("Home", "Train your first model", "quit")
    app.press(b"q")
    assert app.leave() == 0


@pytest.mark.parametrize("told", [True, False], ids=["with-a-signal", "without"])
def test_app_ends_with_closed_terminal(folder: Path, told: bool) -> None:
    """Only the terminal's own session gets the signal; read again and again, a closed one takes a whole core."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    own = (lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)) if told else None
    process = subprocess.Popen(
        FT, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=own,
        env=os.environ | {"TERM": "xterm-256color"},
    )  # fmt: skip
    os.close(slave)
    seen = b""
    while b"recent runs" not in seen:
        seen += os.read(master, 65536)
    os.close(master)
    assert process.wait(timeout=60) in (0, -signal.SIGHUP)


def test_resizing_terminal_keeps_app_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a shell exports the size that it once had."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    app = AppTerminal("tui")
    app.wait_to_see("recent runs")
    for columns, rows in ((120, 36), (60, 20), (200, 50), (80, 24)):
        app.resize(columns, rows)
        app.wait_for_bars()
    app.press(CTRL_Q)
    assert app.leave() == 0


@pytest.mark.parametrize("code", [0, 1], ids=["saved", "given-up"])
def test_recipe_opens_in_own_editor(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    script = folder / "editor.sh"
    script.write_text('read -p "in the editor" line\necho "seed: $line" >> "$1"\nexit ' + str(code) + "\n")
    (folder / "train.yml").write_text("model: {base: starter}\ndata: {train: starter}\n")
    monkeypatch.setenv("EDITOR", f"bash {script}")
    monkeypatch.delenv("VISUAL", raising=False)
    app = AppTerminal()
    app.wait_to_see("recent runs")
    app.press(b"4")
    app.wait_to_see("train: starter")
    app.press(b"E")
    until(lambda: b"in the editor" in app.output, "the editor has the terminal")
    app.press(b"12\n")
    app.wait_to_see(*(["changed", "seed: 12"] if code == 0 else ["ended with code 1"]))
    assert "seed" not in (folder / "train.yml").read_text()  # saving stays with the app
    app.press(CTRL_Q)
    if code == 0:
        app.wait_to_see("Leave ft?")
        app.press(b"y")
    assert app.leave() == 0


def test_app_copies_through_terminal_over_ssh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22")
    app = AppTerminal()
    app.wait_to_see("recent runs")
    app.press(b"!")
    app.wait_to_see("Nothing has gone wrong.")
    app.press(b"c")
    text = base64.b64encode(b"Nothing has gone wrong.")
    until(lambda: b"\x1b]52;c;" + text in app.output, "the text in the terminal's clipboard")
    app.press(CTRL_Q)
    assert app.leave() == 0


def test_terminated_app_restores_terminal(folder: Path) -> None:
    app = AppTerminal()
    app.wait_to_see("recent runs")
    app.process.send_signal(signal.SIGTERM)
    app.leave()


def test_crashed_app_restores_terminal_and_names_log(
    folder: Path, ft_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder in the place of the file of preferences is no mistake; a broken installation is one."""
    broken = folder / "sitecustomize.py"
    broken.write_text(
        "import importlib.abc, sys\n"
        "class Broken(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'screens.chat.screen':\n"
        "            raise RuntimeError('a part is missing')\n"
        "sys.meta_path.insert(0, Broken())\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    app = AppTerminal()
    app.wait_to_see("recent runs")
    app.press(b"7")
    assert app.leave() == 70
    assert "a part is missing" in app.shown
    log = ft_home / "cache" / "last-error.txt"
    assert "RuntimeError: a part is missing" in log.read_text()


def test_plain_ft_without_terminal_prints_help() -> None:
    from tests.terminal import ft

    done = ft()
    assert done.returncode == 0
    assert "Usage: ft" in done.stdout


def test_app_without_terminal_names_alternative() -> None:
    from tests.terminal import ft

    done = ft("tui")
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr


def test_monitor_opens_on_one_run_alone(folder: Path) -> None:
    run = make_run("20260528-123456-orders", end=None)
    handle = take(run.lock_file)
    assert handle is not None
    with holding(handle):
        app = AppTerminal("monitor", run.id[:15], columns=120, rows=36)
        app.wait_to_see("Monitor", "orders")
        assert "Datasets" not in app.text()
        app.press(b"q")
        assert app.leave() == 0
        assert run.alive()


def test_monitor_of_missing_run_says_so(folder: Path) -> None:
    app = Terminal("monitor", "nothing")
    app.wait_for("no run 'nothing'")
    assert app.end() == 2


@pytest.mark.slow
def test_app_trains_attaches_stops_and_resumes_run(
    folder: Path, ft_home_with_starter: Path, no_engine_left: None
) -> None:
    """The starter itself, on short rows, by keys alone."""
    two = {"effective_batch_size": 2, "batch_size": 2}
    write_recipe(folder, "starter", 5000, "orders", training=two, evaluation={"samples": []})
    run = _train_and_leave()
    _attach_and_leave(run)

    app = AppTerminal(columns=120, rows=36)
    app.wait_to_see("Watch orders train")
    app.press(ENTER)
    app.wait_to_see("▸5 Monitor", "orders", "tok/s")
    app.press(b"x")
    app.wait_to_see("No (n)")
    app.press(b"y")
    until(lambda: not run.alive(), "the engine has ended")
    stopped = run.state()
    assert stopped.status == "stopped"

    app.resize(80, 24)
    app.press(b"1")
    app.wait_to_see("Resume orders")
    app.press(ENTER)
    until(lambda: run.state().step > stopped.step, "it goes on")
    app.wait_to_see("▸5 Monitor", "training")

    app.press(CTRL_Q)
    app.wait_to_see("Leave ft?")
    app.press(b"x")
    assert app.leave() == 0
    until(lambda: not run.alive(), "the engine has ended")
    assert run.state().status == "stopped"
    assert run.state().step > stopped.step


def _train_and_leave() -> Run:
    """Start at 80x24, see a few steps on a terminal that is resized, and leave the run training."""
    app = AppTerminal()
    app.wait_to_see("Train train.yml")
    app.press(ENTER)
    app.wait_to_see("Recipe", "no problems")
    app.press(F5)
    app.wait_to_see("▸5 Monitor", "orders")
    run: Run = until(lambda: next(iter(Run.all()), None), "a run")
    app.resize(60, 20)
    until(lambda: run.state().step >= 3, "the first steps")
    app.resize(120, 36)
    app.wait_to_see("training", "tok/s")
    app.press(CTRL_Q)
    app.wait_to_see("Leave ft?")
    app.press(ENTER)
    assert app.leave() == 0
    assert f"ft attach {run.id}" in app.shown
    assert run.alive()
    return run


def _attach_and_leave(run: Run) -> None:
    """Watch it for a while, as the app's last word says; ctrl-c leaves it training."""
    seen = run.state().step
    terminal = Terminal("attach", run.id)
    terminal.wait_for("tokens/s")
    until(lambda: run.state().step > seen, "a step while one watches")
    terminal.press(CTRL_C)
    assert terminal.end() == 130
    assert "the run continues" in terminal.shown
    assert run.alive()
