"""Monitor on a job that is no training: what it is asked for, how far it is, and what came of it."""

import json
import shlex
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console
from textual.widgets import Static, TabbedContent

from engine.export.output import Output
from engine.jobs import push
from engine.jobs.base import JobContext
from engine.jobs.export import Export
from engine.jobs.push import Push
from engine.jobs.serve import Serving
from engine.parity.divergence import Agreement
from engine.parity.limits import limits_of
from engine.parity.proof import Compared, Proof
from engine.parity.tokens import TokenCheck
from engine.process.launcher import start
from engine.runs.directory import control
from engine.runs.directory.control import Control
from engine.runs.directory.create_job import create_job
from engine.runs.directory.events import Failed, Finished, Load, Phase, Started, Warned
from engine.runs.directory.events import Serving as Served
from engine.runs.directory.run import Run
from screens.charts.widget import Chart
from screens.monitor.job_page import JobPage
from tests.monitor_app import StillApp, engine, until
from tests.run_fixtures import STARTED, make_run
from tests.test_push import result_run
from tests.test_runs_use import stored_evaluation

MODEL = "20260101-000000-orders"
SIZE = (120, 36)


def ended(run: Run, how: str = "completed", error: str = "") -> Run:
    """The run with the events of an engine that has ended."""
    run.emit(Started(t=STARTED, run=run.id, pid=1))
    if error:
        run.emit(Failed(t=STARTED + 12, kind="check", message=error))
    else:
        run.emit(Finished(t=STARTED + 12, reason=how, step=0))
    return run


def proof(kl: float, layers: tuple[tuple[str, float], ...] = ()) -> str:
    """The report of a gate at q8_0, whose limit of the divergence is 0.02."""
    found = Proof(
        Agreement(512, 0.951, 400, 0.99, kl, 4 * kl, 1000),
        limits_of("q8_0"),
        TokenCheck(18, 4, (), ()),
        Compared("validation rows of orders", 16),
        "adapter unmerged, fp32",
        "llama.cpp, by xllamacpp 1.2",
        layers,
    )
    return json.dumps(found.as_json())


def export(out: Path, exporter: str = "gguf", **options: Any) -> Run:
    return Export(MODEL, exporter, out, options).create()


def kept(out: Path, run: Run, facts: dict[str, Any]) -> None:
    """What an export leaves in its folder."""
    output = Output(out, run.id)
    output.making.mkdir(parents=True)
    (output.making / "model.gguf").write_bytes(b"x" * 2_500_000)
    output.place({"format": "gguf", "facts": facts}, force=False)


async def page(run: Run, wanted: str, size: tuple[int, int] = SIZE) -> str:
    """Text of the page that Monitor shows of a job, once it has the wanted words."""
    app = StillApp(run=run.id)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: wanted in shown(app))
        assert not [chart for chart in app.monitor.query("#panes > Chart").results(Chart) if chart.display]
        return shown(app)


def shown(app: StillApp) -> str:
    console = Console(file=StringIO(), width=100, legacy_windows=False)
    found = app.monitor.query_one(JobPage).query_one(Static).content
    with console.capture() as captured:
        console.print(found)  # type: ignore[arg-type]
    return captured.get()


def words(text: str) -> str:
    """The text with single spaces, however its columns are set."""
    return " ".join(text.split())


async def test_export_shows_its_proof(ft_home: Path, tmp_path: Path) -> None:
    run = export(tmp_path / "out", quantization="q8_0")
    (run.folder / "proof.json").write_text(proof(0.0123))
    kept(tmp_path / "out", run, {"quantization": "q8_0"})
    found = words(await page(ended(run), "(2.50 MB)"))
    assert "gguf, q8_0" in found
    assert "same tokens 22 of 22 texts all ✓" in found
    assert "same likeliest token 99.0% at least 93% ✓" in found
    assert "KL divergence, mean 0.012 nats at most 0.02 ✓" in found
    assert "512 places in validation rows of orders" in found
    assert "llama.cpp, by xllamacpp 1.2" in found


async def test_refused_export_names_the_layers_that_differ_most(ft_home: Path, tmp_path: Path) -> None:
    run = export(tmp_path / "out", quantization="q8_0")
    (run.folder / "proof.json").write_text(proof(0.5, (("model.layers.3.mlp.up_proj.weight", 0.21),)))
    found = words(await page(ended(run, error="It answers otherwise."), "over its limits"))
    assert "KL divergence, mean 0.5 nats at most 0.02 ✗" in found
    assert "model.layers.3.mlp.up_proj.weight 21.0%" in found


async def test_export_without_proof_says_so(ft_home: Path, tmp_path: Path) -> None:
    run = export(tmp_path / "out")
    kept(tmp_path / "out", run, {})
    assert "may answer otherwise" in await page(ended(run), "not proved")


async def test_merge_shows_what_rounding_lost_and_its_distance(ft_home: Path, tmp_path: Path) -> None:
    run = export(tmp_path / "out", "merged", models=[f"{MODEL}-2"], method="ties")
    facts = {
        "method": "ties",
        "distance": 0.25,
        "dtypes": ["BF16"],
        "lost": 0.31,
        "worst": {"tensor": "model.norm.weight", "lost": 0.6},
        "lost_in": {"bf16": 0.31, "fp16": 0.02, "fp32": 0.0},
    }
    kept(tmp_path / "out", run, facts)
    found = words(await page(ended(run), "rounding"))
    assert "orders + orders-2" in found
    assert "31.0% in BF16, most in model.norm.weight: 60.0%" in found
    assert "as fp16 2.0%" in found
    assert "ties 25.0%" in found


async def test_evaluation_shows_scores_beside_the_base(ft_home: Path) -> None:
    run = ended(stored_evaluation(make_run(MODEL, steps=3)))
    found = words(await page(run, "scores"))
    assert "exact match 66.7% (33.0% to 100.0%) 0.0% ✓ +66.7%" in found
    assert "bleu: no answer has four words" in found
    assert "E on this run" in found


async def test_push_that_is_a_dry_run_lists_the_files_and_sends_none(ft_home: Path) -> None:
    """The job is done for real: it needs no token and no hub."""
    run = Push(result_run().id, "anna/orders", dry_run=True).create()
    assert push.needed_secrets(run) == ()
    assert push.run(JobContext(run, Control(run))) == "completed"
    found = words(await page(ended(run), "dry run"))
    assert "anna/orders, branch main (private" in found
    assert "adapter_model.safetensors 1.00 MB" in found
    assert "README.md" in found
    assert "nothing was sent" in found
    assert "stay here: .env" in found or ".env" not in found


async def test_commit_is_named_once_it_is_there(ft_home: Path) -> None:
    run = Push(MODEL, "anna/orders").create()
    url = "https://huggingface.co/anna/orders/commit/abc"
    run.record({push.FILES: {"README.md": 1200}, push.PUSHED: {"url": url}})
    assert url in await page(ended(run), "address")


def server(**more: Any) -> Run:
    """A server that answers, as far as its events say."""
    run = Serving(MODEL).create()
    run.emit(Started(t=STARTED, run=run.id, pid=1))
    run.emit(Phase(t=STARTED, name="serving", note="orders at http://127.0.0.1:8000/v1"))
    given: dict[str, Any] = {"models": ("orders", "german"), "engine": "ft", "slots": 16} | more
    run.emit(Served(t=STARTED, url="http://127.0.0.1:8000/v1", **given))
    return run


async def test_server_shows_how_to_ask_it_and_how_busy_it_is(ft_home: Path) -> None:
    run = server(needs_key=True)
    with engine(run):
        assert "Nobody has asked yet" in await page(run, "ask it")
        run.emit(Load(running=3, waiting=2, answers=17, tokens=1234, tokens_per_s=312.4))
        found = words(await page(run, "waiting"))
    assert "http://127.0.0.1:8000/v1" in found
    assert "orders, german" in found
    assert "SERVE_API_KEY" in found
    assert "3 of 16 answers at work, 2 waiting" in found
    assert "312 tokens/s" in found
    assert "17 answers" in found


async def test_server_of_another_engine_shows_what_it_tells(ft_home: Path) -> None:
    """How many requests there are, and that nothing is known of their tokens: no zeros."""
    run = server(engine="mlx")
    with engine(run):
        assert "Nobody has asked yet" in await page(run, "ask it")
        run.emit(Load(running=3, waiting=2, answers=17))
        found = words(await page(run, "waiting"))
    assert "3 of 16 answers at work, 2 waiting" in found
    assert "not told by this engine" in found
    assert "17 answers" in found
    assert "tokens/s" not in found
    assert "17 answers," not in found


async def test_progress_takes_one_line_of_the_events(ft_home: Path, tmp_path: Path) -> None:
    run = export(tmp_path / "out")
    run.emit(Started(t=STARTED, run=run.id, pid=1))
    for done in range(5):
        run.emit(Phase(t=STARTED + done, name="proving", done=done, total=5, note="asking"))
        if done == 2:
            run.emit(Warned(t=STARTED + done, message="careful"))
    app = StillApp(run=run.id)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.monitor.view is not None and len(app.monitor.view.news) == 4)
        assert app.monitor.view is not None
        news = [item.text for item in app.monitor.view.news]
        assert [text for text in news if "proving" in text] == ["proving 2/5: asking", "proving 4/5: asking"]
        assert "warning: careful" in news


async def test_server_that_has_ended_has_no_address(ft_home: Path) -> None:
    run = server()
    run.emit(Finished(reason="stopped", step=0))
    found = await page(run, "answers no more")
    assert "127.0.0.1" not in found


async def test_actions_are_those_of_the_job(ft_home: Path) -> None:
    """A server is not paused, what has come to its end is not started again, and no job saves checkpoints."""
    run = server()
    with engine(run):
        app = StillApp(run=run.id)
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: "ask it" in shown(app))
            offered = {
                name
                for name in ("pause", "save", "stop", "zoom_in", "chat", "copy", "tab")
                if app.monitor.check_action(name, ())
            }
            assert offered == {"stop", "copy", "tab"}
            tabs = app.monitor.query_one("#tabs", TabbedContent)
            assert tabs.active == "news-tab"
            seen = {tabs.active}
            for _ in range(3):
                await pilot.press("g")
                seen.add(tabs.active)
            assert seen == {"news-tab", "log-tab"}
    done = ended(create_job("evaluate", "evaluate-orders", {"model": MODEL}))
    app = StillApp(run=done.id)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.monitor.view is not None and app.monitor.view.alive is False)
        await until(pilot, lambda: app.monitor.view is not None and app.monitor.view.job is not None)
        assert not app.monitor.check_action("resume", ())


async def test_training_after_a_job_has_its_charts_and_samples_again(ft_home: Path) -> None:
    make_run(MODEL, steps=20)
    run = ended(create_job("evaluate", "evaluate-orders", {"model": MODEL}))
    app = StillApp(run=run.id)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: "evaluates" in shown(app))
        app.monitor.show(MODEL)
        await until(pilot, lambda: app.monitor.query_one("#first", Chart).display)
        await until(pilot, lambda: bool(app.monitor.query_one("#first", Chart).lines))
        assert not app.monitor.query_one(JobPage).display


@pytest.mark.slow
async def test_copied_command_asks_the_server(ft_home: Path, tiny_model: Path) -> None:
    run = Serving(str(tiny_model), name="tiny", port=0).create()
    server = start(run)
    app = StillApp(run=run.id)
    try:
        async with app.run_test(size=SIZE) as pilot:
            await until(pilot, lambda: "ask it" in shown(app), seconds=120)
            copied: list[str] = []
            app.copy_to_clipboard = copied.append  # type: ignore[method-assign]
            await pilot.press("y")
            parts = shlex.split(copied[0])
            assert parts[0] == "curl"
            body = json.loads(parts[parts.index("-d") + 1]) | {"max_tokens": 8}
            answer = await httpx.AsyncClient(timeout=60).post(parts[1], json=body)
            assert answer.status_code == 200
            assert answer.json()["model"] == "tiny"
            await until(pilot, lambda: "1 answer," in words(shown(app)), seconds=30)
            assert "0 of 16 answers at work" in words(shown(app))
    finally:
        control.send(run, "stop")
        server.supervisor.wait(60)
