"""`ft runs list | show | compare | rm`."""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from engine.errors import ConfigError, FtError
from engine.metrics.registry import EVAL_LOSS, describe, written
from engine.redaction import redacted
from engine.runs.directory.run import Run
from engine.runs.directory.state import RunState
from engine.runs.index.filter import FilterError, Predicate, compile_filter
from engine.runs.index.index import Index, RunSummary, summary_of
from ft import columns, run_text
from ft.console import out, print_json, say

app = typer.Typer(help="List, show, compare and remove runs.", no_args_is_help=True, add_completion=False)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunArgument = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="An id, a prefix of one, or a path; the latest if left out."),
]
COLOURS = {"running": "green", "paused": "yellow", "failed": "red", "crashed": "red", "stopped": "yellow"}


@app.command("list")
def list_(
    wanted: Annotated[
        str,
        typer.Option("--filter", help="Only some, as 'loss<1 lr>1e-4 status:completed name:sql'."),
    ] = "",
    json: Json = False,
) -> None:
    """List the runs, newest first."""
    meant = _compiled(wanted)
    there = Index().refresh()
    runs = [run for run in there if meant(run)]
    if json:
        own = [{"tags": run.tags} | ({"damaged": run.damaged} if run.damaged else {}) for run in runs]
        listed = [facts(Run(run.folder, run.id), run.state) for run in runs]
        print_json([body | more for body, more in zip(listed, own, strict=True)])
        return
    if not runs:
        none = "There are no runs yet. Start one with: ft train"
        say(f"No run matches {wanted} ({len(there)} runs)" if there else none)
        return
    more = {"kind": any(run.kind != "train" for run in runs), "tags": any(run.tags for run in runs)}
    shown = [title for title, there in more.items() if there]
    metrics = {run.state.best_metric for run in runs if run.state.best is not None}
    best = f"best {describe(EVAL_LOSS).title}" if metrics <= {EVAL_LOSS} else "best"
    titles = ("run", "status", "step", "loss", best, "age", *shown)
    columns.show(titles, [_row(run, shown, named=best == "best") for run in runs])


@app.command()
def compare(
    left: Annotated[str, typer.Argument(metavar="RUN", help="An id, a prefix of one, or a path.")],
    right: Annotated[str, typer.Argument(metavar="OTHER", help="The run to set beside it.")],
    everything: Annotated[bool, typer.Option("--all", help="Also what is the same in both.")] = False,
    json: Json = False,
) -> None:
    """Set two runs side by side: results, scores, answers, exports, recipe, data, plan, versions."""
    from engine.runs.index import compare as comparing
    from engine.runs.index.compare_row import NOT_TOLD_APART

    found = comparing.compare(summary_of(Run.open(left)), summary_of(Run.open(right)))
    if json:
        print_json(found.to_json())
        return
    from rich.table import Table
    from rich.text import Text

    for caution in found.cautions:
        say(f"note: {caution}")
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for title in ("", found.left, found.right):
        table.add_column(title, overflow="fold")
    sections = found.sections if everything else found.different()
    for section, rows in sections.items():
        if rows:
            table.add_row(Text(section, "bold"))
        for row in rows:
            sides = [
                f"{comparing.side_text(row, 'left')}{' (better)' if row.better == 'left' else ''}",
                f"{comparing.side_text(row, 'right')}{' (better)' if row.better == 'right' else ''}",
            ]
            about = f" ({NOT_TOLD_APART})" if row.overlap else ""
            table.add_row(f"  {row.key}{about}", *map(Text, sides))
    out().print(table)
    hidden = sum(map(len, found.sections.values())) - sum(map(len, sections.values()))
    if hidden:
        say(f"{hidden} rows are the same in both; --all shows them.")


@app.command()
def show(run: RunArgument = None, json: Json = False) -> None:
    """Show a run's status, its scores and where its files are."""
    found = Run.open(run)
    summary = summary_of(found)
    if json:
        body = facts(found, summary.state) | {"tags": summary.tags}
        body |= {"evaluations": [asdict(event) for event in found.evaluations()]}
        print_json(body | {"provenance": found.provenance})
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _described(found, summary):
        table.add_row(name, Text(text))
    out().print(table)


@app.command()
def rm(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Ids, prefixes of them, or paths.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove runs with their checkpoints and adapters."""
    found = [Run.open(reference) for reference in runs]
    for run in found:
        if run.alive():
            raise ConfigError(f"Run {run.id} is running.", f"Stop it first: ft stop {run.id}")
    if not yes and not _agreed(found):
        say("Nothing was removed.")
        raise typer.Exit(130)
    for run in found:
        run.remove()
        if not json:
            say(f"removed {run.id}")
    if json:
        print_json({"removed": [run.id for run in found]})


def facts(run: Run, state: RunState) -> dict[str, Any]:
    """Facts of a run for `--json`."""
    result = run.result(state)
    better = asdict(result.better) if result and result.better else None
    body = asdict(state)
    error = state.error
    body["error"] = {"kind": error.kind, "message": error.message, "hint": error.hint} if error else None
    about = {"result": str(result.folder) if result else None, "better": better}
    return {"id": run.id, "folder": str(run.folder), "kind": run.kind} | about | body


def _compiled(wanted: str) -> Predicate:
    """The filter; where it is unclear, the error points at the place."""
    try:
        return compile_filter(wanted)
    except FilterError as error:
        raise ConfigError(f"--filter: {error.message}\n{error.pointed(wanted)}", error.hint) from error


def _row(run: RunSummary, more: Sequence[str], named: bool) -> list[columns.Cell]:
    """Cells of a run; `named` is True if its best value comes with the name of its metric."""
    state = run.state
    best = written(state.best_metric, state.best) if named and state.best is not None else _number(state.best)
    status = f"{state.status} (damaged)" if run.damaged else state.status
    age = run_text.age(time.time() - state.started) if state.started else ""
    cells = [
        (run.id, ""),
        (status, "red" if run.damaged else COLOURS.get(state.status, "")),
        *((text, "") for text in (_position(state), _number(state.loss), best, age)),
    ]
    found = {"kind": run.kind, "tags": " ".join(run.tags)}
    return [*cells, *((found[title], "") for title in more)]


def _described(run: Run, summary: RunSummary) -> list[tuple[str, str]]:
    state, first, last = summary.state, summary.totals.first_eval, summary.totals.last_eval
    rows = [("run", run.id), ("folder", str(run.folder)), ("status", _status(state))]
    if summary.kind != "train":
        rows += [(name, str(value)) for name, value in run.job.items() if value is not None]
        return [*rows, ("scores", run_text.scores(last))] if last else rows
    try:
        config = run.config
        rows += [("tags", " ".join(config.tags))] if config.tags else []
        rows += [("model", config.model.base), ("data", _data(config.data.train))]
    except FtError as error:
        rows.append(("recipe", f"unreadable: {error.message}"))
    if state.step:
        rows += [("step", _position(state)), ("loss", _number(state.loss))]
    if first is not None and last is not None:
        rows.append(("first validation", f"{run_text.scores(first)}  (step {first.step})"))
        rows.append(("last validation", f"{run_text.scores(last)}  (step {last.step})"))
    if result := run.result(state):
        scores = {state.best_metric: state.published_score, EVAL_LOSS: result.loss}
        known = [written(name, value) for name, value in scores.items() if value is not None]
        told = ", ".join(filter(None, (result.which, *known)))
        rows.append((result.folder.name, f"{result.folder}{told and f'  ({told})'}"))
        rows += [("better", line) for line in run_text.better(result)]
    checkpoints = sorted(path.name for path in run.checkpoints.glob("step-*"))
    if checkpoints:
        rows.append(("checkpoints", ", ".join(checkpoints)))
    return rows


def _status(state: RunState) -> str:
    if state.error is not None:
        return f"failed: {state.error.message}"
    return state.status + (f" ({state.reason.replace('_', ' ')})" if state.reason == "early_stopping" else "")


def _data(train: Any) -> str:
    sources = train if isinstance(train, list) else [train]
    return ", ".join(redacted(source if isinstance(source, str) else source.path) for source in sources)


def _position(state: RunState) -> str:
    return f"{state.step}/{state.total}" if state.total else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _agreed(runs: list[Run]) -> bool:
    names = ", ".join(run.id for run in runs)
    if not sys.stdin.isatty():
        raise ConfigError(f"Removing {names} has to be confirmed.", "Add --yes.")
    return typer.confirm(f"Remove {names} with all checkpoints?", err=True)
