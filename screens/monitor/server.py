"""Page of a server: its address and models, how busy it is, and the command that asks it."""

import json
import shlex
from collections.abc import Iterator

from rich.console import RenderableType
from rich.text import Text

from engine.runs.directory.events import Serving
from engine.units import sparkline
from screens import format as show
from screens.monitor.facts import Fact, facts, heading
from screens.monitor.job_files import JobFiles
from screens.monitor.run_view import RunView

QUESTION = "What can you do?"
NO_TOKENS = "not told by this engine; what it prints is under Log"


def page(view: RunView, job: JobFiles) -> Iterator[RenderableType]:
    """The page of the job `serve`."""
    serving = view.serving
    if serving is None or not view.alive:
        yield facts(Fact("serves", job.model), Fact("port", str(job.options.get("port"))))
        waits = view.state.status in ("new", "running")
        yield Text(
            "\nThe model is being loaded; its address comes here."
            if waits
            else "\nIt answers no more. r starts it again.",
            "dim",
        )
        return
    yield facts(
        Fact("address", Text(serving.url, "bold")),
        Fact("models", ", ".join(serving.models)),
        Fact("API key", "needed: the value of SERVE_API_KEY") if serving.needs_key else None,
        Fact("engine", serving.engine),
    )
    yield heading("load")
    yield _load(view, serving)
    yield heading("ask it (y copies this)")
    yield Text(command(serving, " \\\n  "), no_wrap=False)
    yield Text("\nAny client of OpenAI's API takes the address as its base URL. x stops the server.", "dim")


def command(serving: Serving, between: str = " ") -> str:
    """A command for a shell that asks the first model a question; its parts are joined by `between`."""
    body = {"model": serving.models[0], "messages": [{"role": "user", "content": QUESTION}]}
    parts = [f"curl {serving.url}/chat/completions", "-H 'Content-Type: application/json'"]
    parts += ['-H "Authorization: Bearer $SERVE_API_KEY"'] if serving.needs_key else []
    return between.join([*parts, f"-d {shlex.quote(json.dumps(body))}"])


def _load(view: RunView, serving: Serving) -> RenderableType:
    if not view.loads:
        return Text("Nobody has asked yet.", "dim")
    now = view.loads[-1]
    answers = f"{show.count(now.answers)} answer{'' if now.answers == 1 else 's'}"
    speeds = [load.tokens_per_s for load in view.loads if load.tokens_per_s is not None]
    speed = NO_TOKENS
    if speeds:
        speed = f"{'' if now.running else 'last '}{show.count(speeds[-1])} tokens/s   {sparkline(speeds, 24)}"
    return facts(
        Fact("now", f"{now.running} of {serving.slots} answers at work, {show.count(now.waiting)} waiting"),
        Fact("speed", speed),
        Fact("so far", f"{answers}, {show.count(now.tokens)} tokens" if now.tokens is not None else answers),
    )
