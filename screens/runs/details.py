"""A run in a few lines: its status, what to do next, and its settings."""

from collections.abc import Iterator, Mapping

from rich.text import Text

from engine import paths
from engine.metrics.registry import EVAL_LOSS, describe
from engine.runs.directory.result import Result
from engine.runs.index.filter import sources
from engine.runs.index.summary import RunSummary
from screens import format as show
from screens.run_row import SIGNS, status_of
from screens.runs.table import KINDS

HINTS = {
    "running": "enter watches it.",
    "paused": "enter opens it; p resumes it.",
    "new": "Its engine has not started.",
    "completed": "t chats with it, u puts it to use, f copies its recipe.",
    "stopped": "r resumes from the last checkpoint.",
    "failed": "r retries from the last checkpoint.",
    "crashed": "Its engine crashed (no exit message). r resumes from the last checkpoint.",
}
HINTS_OF_JOBS = {
    "completed": "enter shows what came of it.",
    "running": "enter watches it.",
    "stopped": "r starts it again.",
    "failed": "r starts it again.",
    "crashed": "Its engine crashed (no exit message). r starts it again.",
}
"""Those of runs that are no training, which have no checkpoints."""
SHORT = ("step", "loss", "best", "speed", "lr", "tags", "model")


def described(run: RunSummary, colours: Mapping[str, str], short: bool = False) -> Text:
    """The run's lines; `colours` are styles by kind: good, warn, bad. `short` has its figures in one line."""
    status = status_of(run)
    text = Text()
    text.append(run.name, "bold")
    text.append("   " if short else "\n")
    text.append(f"{SIGNS[status]} {_words(run)}", colours.get(KINDS[status], ""))
    if run.damaged:
        text.append(f"\n! {run.damaged}", colours.get("warn", ""))
    for line in _hints(run):
        text.append(f"\n{line}", "dim")
    if short:
        figures = [f"{name} {value}" for name, value in _facts(run) if name in SHORT]
        text.append("\n" + " · ".join(figures))
        return text
    text.append("\n")
    for name, value in _facts(run):
        text.append(f"\n{name:<8}", "dim")
        text.append(show.one_line(value, 400))
    return text


def _words(run: RunSummary) -> str:
    state, status = run.state, status_of(run)
    if state.reason == "early_stopping":
        return f"{status} early: the {describe(state.best_metric).title} stopped improving"
    if run.alive and state.phase and state.phase != "training":
        return f"{status}: {state.phase}"
    return status


def _hints(run: RunSummary) -> Iterator[str]:
    if run.damaged:
        yield "Undamaged files in its folder stay usable; d deletes the run."
    if run.state.error is not None:
        yield run.state.error.message
        if run.state.error.hint:
            yield run.state.error.hint.strip()
    hints = HINTS if run.kind == "train" else HINTS_OF_JOBS
    if not run.damaged and run.state.status in hints:
        yield hints[run.state.status]


def _facts(run: RunSummary) -> Iterator[tuple[str, str]]:
    state, config = run.state, run.config
    if run.kind != "train":
        yield "kind", run.kind
    if state.total:
        yield "step", f"{state.step} of {state.total}"
    if state.loss is not None:
        yield "loss", show.loss(state.loss)
    if state.best is not None:
        yield "best", f"{_score(state.best_metric, state.best)}, step {state.best_step}"
    if (result := Result.of(run.folder, state)) and result.which:
        scores = {state.best_metric: state.published_score, EVAL_LOSS: result.loss}
        told = ", ".join(_score(name, value) for name, value in scores.items() if value is not None)
        yield "result", f"{result.folder.name} of {result.which}{told and f': {told}'}"
        if result.better and result.better.folder:
            score = _score(result.better.metric, result.better.loss)
            yield "better", f"{score}, {result.better.folder.parent.name}"
    if run.tokens_per_s is not None:
        yield "speed", f"{run.tokens_per_s:.0f} tokens/s"
    if state.started and state.updated:
        yield "took", show.duration(state.updated - state.started)
    if run.tags:
        yield "tags", " ".join(run.tags)
    if config:
        yield "model", str(config.get("model.base", show.MISSING))
        yield "data", ", ".join(sources(config.get("data.train"))) or show.MISSING
        yield "adapter", _adapter(run)
        yield "lr", _rate(run)
    yield "id", run.id
    if run.folder != paths.runs() / run.id:
        yield "folder", str(run.folder)


def _score(metric: str, value: float) -> str:
    """`1.842 validation loss`, `80.0% exact_match`."""
    found = describe(metric)
    return f"{show.score(found, value)} {found.title}"


def _adapter(run: RunSummary) -> str:
    kind = str(run.config.get("adapter.type", show.MISSING))
    if kind == "none":
        return "none: every weight is trained"
    from engine.config.adapters import KEYS

    has_rank = kind in (*KEYS["rank"], show.MISSING)
    return f"{kind}, rank {run.config.get('adapter.rank', show.MISSING)}" if has_rank else kind


def _rate(run: RunSummary) -> str:
    rate = run.config.get("training.learning_rate")
    number = f"{rate:g}" if isinstance(rate, int | float) else show.MISSING
    return f"{number}, {run.config.get('training.scheduler', show.MISSING)}"
