"""Page of a job that is no training: what it was asked for, how far it is, and what came of it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from engine.jobs.push import FILES, LEFT_OUT, PUSHED
from engine.runs.directory.registry import model_name
from screens import format as show
from screens.monitor import proof, server
from screens.monitor.facts import Fact, facts, heading
from screens.monitor.job_files import JobFiles
from screens.monitor.news import TextPane
from screens.monitor.run_view import RunView
from screens.use.scores import scores_of

BASE = "base"
"""Name of the untrained model among those that an evaluation may compare with."""
WAITING = "The result comes here; Events and Log show how far it is."


class JobPage(TextPane):
    """Options and results of the job that is shown."""

    def show(self, view: RunView) -> None:
        """Draw the page of a run that is a job."""
        job = view.job
        if job is None:
            return
        key = (view.run_id, job, view.state.status, view.serving, len(view.loads), *list(view.loads)[-1:])
        if self.is_new(key):
            self.put(key, Group(*PAGES.get(job.kind, _other)(view, job)))


def copyable(view: RunView) -> tuple[str, str] | None:
    """What of a job's page one may want elsewhere, and its name; None where there is nothing yet."""
    job = view.job
    if job is None:
        return None
    if job.kind == "serve" and view.serving is not None:
        return server.command(view.serving), "the command that asks the model"
    if job.kind == "push" and (url := _mapping(job.recorded.get(PUSHED)).get("url")):
        return str(url), "the commit's address"
    if job.kind == "evaluate" and job.scores:
        return str(job.folder / "report.html"), "the path of the page for a browser"
    if job.kind == "export" and view.state.status == "completed":
        return str(job.options.get("out")), "the folder's path"
    return None


def _evaluation(view: RunView, job: JobFiles) -> Iterator[RenderableType]:
    options = job.options
    against = options.get("against")
    yield facts(
        Fact("evaluates", job.model),
        Fact("rows", str(options.get("data") or "its own validation rows")),
        Fact("against", "the untrained base model" if against == BASE else model_name(str(against)))
        if against
        else None,
    )
    if not job.scores:
        yield from _not_yet(view)
        return
    yield heading("scores, with 95 % intervals")
    yield from scores_of(job.scores)
    if lost := _mapping(job.scores.get("forgetting")):
        yield Text(f"general rows, not the task: {lost.get('lost')} lost, {lost.get('gained')} gained")
    yield heading("row by row")
    yield Text(
        "6 Runs, then E on this run, pages through prompts and answers. y copies the path of the page:"
    )
    yield Text(show.place(job.folder / "report.html"), "dim")


def _export(view: RunView, job: JobFiles) -> Iterator[RenderableType]:
    options, chosen = job.options, _mapping(job.options.get("options"))
    merged = options.get("exporter") == "merged"
    folder = Path(str(options.get("out")))
    done = view.state.status == "completed"
    others = [model_name(str(one)) for one in chosen.get("models") or ()]
    yield facts(
        Fact("merges" if merged else "exports", " + ".join([job.model, *others])),
        None if merged else Fact("format", _format(job)),
        Fact("method", str(chosen["method"])) if others and chosen.get("method") else None,
        Fact("folder", f"{show.place(folder)}{f'  ({show.size(job.made_bytes)})' if done else ''}"),
    )
    made = _mapping(job.made.get("facts")) if done else {}
    if merged and made:
        yield from _merge(made)
    if job.proof:
        yield from proof.page(job.proof)
    elif done:
        yield heading("not proved")
        yield Text(f"It may answer otherwise: {job.made.get('not_proved') or 'nothing was compared'}.")
    else:
        yield from _not_yet(view)


def _merge(made: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What a merge changed beyond the sum: rounding by number format, and distance from the weighted sum."""
    if "lost" in made:
        yield heading("update lost by rounding to the number format")
        dtypes = [str(dtype) for dtype in made.get("dtypes") or ()]
        written = ", ".join(dtypes)
        worst = _mapping(made.get("worst"))
        most = f", most in {worst['tensor']}: {worst.get('lost', 0):.1%}" if worst.get("tensor") else ""
        yield facts(
            Fact("written", f"{made['lost']:.1%} in {written}{most}"),
            *(
                Fact(f"as {name}", f"{share:.1%}")
                for name, share in _mapping(made.get("lost_in")).items()
                if isinstance(share, int | float) and [name.replace("fp", "f").upper()] != dtypes
            ),
        )
    if made.get("method") not in (None, "cat") and isinstance(made.get("distance"), int | float):
        yield heading("distance from the exact weighted sum of the updates")
        yield facts(Fact(str(made["method"]), f"{made['distance']:.1%}; --method cat is exact"))


def _push(view: RunView, job: JobFiles) -> Iterator[RenderableType]:
    options, files = job.options, _mapping(job.recorded.get(FILES))
    pushed, tried = _mapping(job.recorded.get(PUSHED)), options.get("dry_run") is True
    seen = "public: everybody may see it" if options.get("public") else "private, unless it was public before"
    yield facts(
        Fact("pushes", job.model),
        Fact("to", f"{options.get('to')}, branch {options.get('revision')}  ({seen})"),
        Fact("address", str(pushed["url"])) if pushed.get("url") else None,
    )
    if files:
        total = f"{len(files)} files, {show.size(sum(files.values()))}"
        yield heading(f"{total}; a dry run: nothing was sent" if tried else total)
        yield facts(*(Fact(name, show.size(files[name])) for name in sorted(files)), dim=False)
    if left := job.recorded.get(LEFT_OUT):
        yield Text(f"stay here: {', '.join(map(str, left))}", "dim")
    if not pushed and not tried:
        yield from _not_yet(view)


def _other(view: RunView, job: JobFiles) -> Iterator[RenderableType]:
    """Options of any other job, a download or another package's."""
    shown = {name: value for name, value in job.options.items() if name not in ("again",) and value}
    yield facts(*(Fact(name, str(value)) for name, value in shown.items()))


def _not_yet(view: RunView) -> Iterator[RenderableType]:
    status = view.state.status
    if status in ("new", "running", "paused"):
        yield Text(f"\n{WAITING}", "dim")
    elif status in ("stopped", "failed", "crashed"):
        yield Text("\nIt ended without a result. r starts it again.", "dim")


def _format(job: JobFiles) -> str:
    quantization = _mapping(job.options.get("options")).get("quantization")
    return f"{job.options.get('exporter')}{f', {quantization}' if quantization else ''}"


def _mapping(value: Any) -> dict[str, Any]:
    return {str(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


PAGES: Mapping[str, Callable[[RunView, JobFiles], Iterator[RenderableType]]] = {
    "evaluate": _evaluation,
    "export": _export,
    "push": _push,
    "serve": server.page,
}
"""By the kind of job."""
