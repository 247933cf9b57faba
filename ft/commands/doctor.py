"""`ft doctor`: what is right and wrong with this machine's setup, with what mends it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.errors import CheckFailed
from ft.console import out, print_json, say

if TYPE_CHECKING:
    from engine.doctor.examine import Report
    from engine.doctor.finding import State

MARKS: "dict[State, tuple[str, str]]" = {
    "ok": ("✓", "green"),
    "note": ("·", "dim"),
    "warning": ("!", "yellow"),
    "fault": ("✗", "bold red"),
}


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", metavar="FILE", help="Write a zip file for a bug report, without secrets or rows."
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="RUN", help="With --bundle: the run to put in (the last that failed)."),
    ] = None,
) -> None:
    """Look at machine, packages, folders, tokens and network; exits with 1 where something does not work."""
    from engine.doctor.examine import examine

    report = examine()
    if bundle is not None:
        _bundle(report, bundle, run)
    elif json:
        print_json(report.to_json())
    else:
        _show(report)
    if faults := report.count("fault"):
        what = "1 thing does" if faults == 1 else f"{faults} things do"
        raise CheckFailed(f"{what} not work.", "Each line with ✗ says what mends it.")


def _bundle(report: "Report", file: Path, reference: str | None) -> None:
    from engine.doctor import bundle
    from engine.runs.directory.run import Run

    run = Run.open(reference) if reference is not None else bundle.failed_run()
    names = bundle.write(report, None, run, file)
    say(f"{file} has {', '.join(names)}.")
    say(
        "Tokens, passwords, answers, your name and this machine's are taken out. Look into it before you share it."
    )


def _show(report: "Report") -> None:
    from rich.text import Text

    console = out()
    for area, found in report.areas.items():
        console.print(Text(area, "bold"))
        for one in found:
            mark, style = MARKS[one.state]
            console.print(
                Text.assemble("  ", (mark, style), " ", one.text), soft_wrap=not sys.stdout.isatty()
            )
            if one.fix and one.state != "ok":
                console.print(
                    Text(f"      {one.fix}", "cyan" if one.state != "note" else "dim"), soft_wrap=True
                )
    warnings, faults = report.count("warning"), report.count("fault")
    if not warnings and not faults:
        console.print(Text("Everything is in order.", "green"))
    elif not faults:
        console.print(Text("Everything works; lines with ! could be better.", "green"))
