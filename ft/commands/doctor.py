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
    from engine.doctor.prove.claim import Claim

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
    prove: Annotated[
        bool,
        typer.Option("--prove", help="Train and export small models to try ft's own claims on this machine."),
    ] = False,
    minutes: Annotated[
        float,
        typer.Option("--minutes", min=0.1, metavar="N", help="With --prove: about how long it may take."),
    ] = 3.0,
) -> None:
    """Look at machine, packages, folders, tokens and network; exits with 1 where something does not work."""
    from engine.doctor.examine import examine

    report = examine()
    quiet = json or bundle is not None
    if not quiet:
        _show(report)
    claims = _prove(minutes, quiet) if prove else None
    if bundle is not None:
        _bundle(report, claims, bundle, run)
    elif json:
        proof = {} if claims is None else {"claims": [claim.to_json() for claim in claims]}
        print_json({"findings": report.to_json()} | proof)
    _judge(report, claims or [])


def _judge(report: "Report", claims: "list[Claim]") -> None:
    """Raise CheckFailed where something does not work, or a claim does not hold."""
    faults, broken = report.count("fault"), [claim for claim in claims if claim.verdict == "broken"]
    if faults:
        what = "1 thing does" if faults == 1 else f"{faults} things do"
        raise CheckFailed(f"{what} not work.", "Each line with ✗ says what mends it.")
    if broken:
        what = "1 claim of ft does" if len(broken) == 1 else f"{len(broken)} claims of ft do"
        raise CheckFailed(
            f"{what} not hold on this machine.", "Please report it: ft doctor --prove --bundle FILE"
        )


def _prove(minutes: float, quiet: bool) -> "list[Claim]":
    """Settle the claims, each shown as it comes."""
    from engine.doctor.prove.prove import prove

    if not quiet:
        print()
    claims = []
    for claim in prove(minutes):
        claims.append(claim)
        if quiet:
            say(f"{claim.text}: {claim.verdict}")
        else:
            _show_claim(claim)
    return claims


def _show_claim(claim: "Claim") -> None:
    from rich.text import Text

    mark, style = MARKS[claim.state]
    console = out()
    console.print(
        Text.assemble((mark, style), " ", (claim.text, "bold"), f"  {claim.verdict}"), soft_wrap=True
    )
    console.print(Text(f"    {claim.figure}", "dim"), soft_wrap=not sys.stdout.isatty())


def _bundle(report: "Report", claims: "list[Claim] | None", file: Path, reference: str | None) -> None:
    from engine.doctor import bundle
    from engine.runs.directory.run import Run

    run = Run.open(reference) if reference is not None else bundle.failed_run()
    names = bundle.write(report, claims, run, file)
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
