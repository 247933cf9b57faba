"""Display of a run: the live view, plain lines, the summary."""

import io
import math
from pathlib import Path

import pytest
from rich.console import Console

from engine.config.load import load_text
from engine.runs.directory import events as ev
from engine.runs.directory.create import create_run
from engine.runs.directory.run import Run
from engine.units import clock, sparkline
from ft import run_text
from ft.live import Live, Plain
from tests.test_runs_events import ALL, step


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return create_run(load_text("model: {base: starter}\ndata: {train: starter}\n", tmp_path / "train.yml"))


def screen(live: Live) -> str:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(live.render())
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_live_view_shows_where_training_stands(run: Run) -> None:
    live = Live(run, Console(file=io.StringIO()))
    assert "starting" in screen(live)
    for event in (
        ev.Started(run=run.id, pid=1),
        ev.Phase(name="loading", note="finding starter"),
        ev.Phase(name="training", done=0, total=10),
        ev.Eval(step=0, loss=3.0, perplexity=20.0, metrics={"exact_match": 0.125}),
        step(1, 2.5),
        step(2, math.nan),
        ev.Memory(process_peak_bytes=2_130_000_000),
        ev.Sample(step=2, prompt="Hi", text="line one\nline \x1b[31mtwo"),
        ev.Warned(message="It looks [bold]odd[/bold]."),
    ):
        live.show(event)
    shown = screen(live)
    for text in (run.id, "training", "2/10", "100 tokens/s", "2.13 GB", "exact_match 12.5%", "line one line"):
        assert text in shown, text
    assert "! It looks [bold]odd[/bold]." in shown  # a message is text, not markup
    assert "\x1b" not in shown
    live.show(ev.Finished(reason="early_stopping", step=2))
    assert "early stopping" in screen(live)
    assert max(map(len, screen(live).splitlines()[1:2])) < 80


def test_restart_drops_steps_and_keeps_reason(run: Run) -> None:
    live = Live(run, Console(file=io.StringIO()))
    live.show(step(9))
    live.show(ev.Eval(step=9, loss=1.0, perplexity=2.0))
    live.show(ev.Warned(message="It starts again."))
    live.show(ev.Started(run=run.id, pid=2, resumed_from=5))
    shown = screen(live)
    assert "9/10" not in shown
    assert "validation loss" not in shown
    assert "It starts again." in shown


def test_a_paused_run_says_so(run: Run) -> None:
    live = Live(run, Console(file=io.StringIO()))
    live.show(ev.Acknowledged(id="1", command="pause"))
    assert "paused" in screen(live)
    live.show(ev.Acknowledged(id="2", command="resume"))
    assert "paused" not in screen(live)


IN_THE_APP = (ev.Serving, ev.Load)
"""A server's phase has its line; how busy it is, every two seconds, would bury all others."""


@pytest.mark.parametrize(
    "event", [each for each in ALL if not isinstance(each, IN_THE_APP)], ids=lambda event: event.type
)
def test_every_event_has_a_plain_line(event: ev.Event, capsys: pytest.CaptureFixture[str]) -> None:
    Plain().show(event)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert len(printed.err) > 5


def test_json_goes_to_stdout_byte_for_byte(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for event in ALL:
        Plain(json=True).show(event)
    printed = capfdbinary.readouterr()
    assert printed.out == b"".join(ev.encode(event) for event in ALL)
    assert printed.err == b""


def test_the_summary_says_before_and_after(run: Run) -> None:
    run.emit(ev.Started(run=run.id, pid=1))
    run.emit(ev.Eval(step=0, loss=3.0, perplexity=20.0, metrics={"exact_match": 0.0, "perplexity": 20.0}))
    run.emit(ev.Eval(step=10, loss=1.5, perplexity=4.5, metrics={"exact_match": 0.875, "perplexity": 4.5}))
    run.adapter.mkdir()
    lines = run_text.summary(run, ev.Finished(reason="completed", step=10))
    assert lines[0] == "validation loss: 3.0000 → 1.5000  (step 0 → step 10)"
    assert lines[1] == "validation exact_match: 0.0% → 87.5%  (step 0 → step 10)"
    assert str(run.adapter) in lines[2]
    assert f"ft chat {run.id}" in lines[3]
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("values", "drawn"),
    [([], ""), ([math.nan], ""), ([1.0], "▁"), ([2.0, 1.0], "█▁"), ([0.0, math.inf, 7.0], "▁█")],
)
def test_sparkline_leaves_out_nan(values: list[float], drawn: str) -> None:
    assert sparkline(values) == drawn


def test_a_long_sparkline_keeps_its_width() -> None:
    assert len(sparkline([float(i) for i in range(1000)], width=32)) <= 32


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0:00"), (59.6, "1:00"), (125, "2:05"), (3725, "1:02:05")]
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_plain_view_tells_phase_in_tenths(capsys: pytest.CaptureFixture[str]) -> None:
    view = Plain()
    for done in range(201):
        view.show(ev.Phase(name="tokenising", done=done, total=200))
    view.show(ev.Phase(name="training"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 12
    assert lines[-2:] == ["tokenising 200/200", "training"]
