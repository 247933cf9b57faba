"""`ft storage`, `ft storage clean` and `ft storage automatic`."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.errors import ConfigError, MachineError
from engine.units import duration, size
from ft import columns
from ft.console import print_json, say

if TYPE_CHECKING:
    from engine.housekeeping.clean import Outcome
    from engine.housekeeping.policy import Policy, Removal
    from engine.housekeeping.usage import Usage

SHOWN = 5
"""Items of a part that are listed; `--json` has all."""
UNITS = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
LONGEST_S = 3650 * 86400.0

app = typer.Typer(help="Show what takes room on the disk, and free it.", add_completion=False)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OlderThan = Annotated[
    str, typer.Option("--older-than", metavar="AGE", help="Age from which things are old: 12h, 30d, 8w.")
]


@app.callback(invoke_without_command=True)
def storage(context: typer.Context, json: Json = False) -> None:
    """Show what takes room on the disk, and free it: models, the hub's cache, caches, runs, exports."""
    if context.invoked_subcommand is not None:
        context.default_map = {context.invoked_subcommand: {"json": json}}
        return
    from engine.housekeeping.gather import Gatherer
    from engine.housekeeping.usage import measure

    usage = measure(Gatherer().facts(()).runs)
    if json:
        print_json(asdict(usage) | {"bytes": usage.bytes})
        return
    rows: list[list[columns.Cell]] = []
    for part in usage.parts:
        rows.append([(part.name, "bold"), (size(part.bytes), "bold"), (str(part.path or ""), "dim")])
        rows += [[(f"  {one.name}", ""), (size(one.bytes), ""), ("", "")] for one in part.items[:SHOWN]]
        if (more := part.items[SHOWN:]) and (rest := sum(one.bytes for one in more)):
            rows.append([(f"  {len(more)} more", "dim"), (size(rest), "dim"), ("", "")])
    rows.append([("all", "bold"), (size(usage.bytes), "bold"), ("", "")])
    for disk in usage.disks:
        rows.append(
            [("free", "bold"), (size(disk.free), "bold"), (f"of {size(disk.total)}, {disk.path}", "dim")]
        )
    columns.show(("", "size", "where"), rows)
    _say_problems(usage)


@app.command("clean")
def clean_(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove it; without, it is only listed.")] = False,
    only: Annotated[
        str,
        typer.Option(metavar="KINDS", help="Only these: checkpoints,cache,hub,datasets,leftovers,models."),
    ] = "",
    models: Annotated[
        bool, typer.Option("--models", help="Also folders in the models folder that no run names.")
    ] = False,
    older_than: OlderThan = "30d",
    json: Json = False,
) -> None:
    """List what can go, each with its reason, and with --yes remove it.

    Best and last checkpoints stay, and so does whatever an unfinished run needs.
    """
    from engine.housekeeping.clean import clean
    from engine.housekeeping.gather import Gatherer
    from engine.housekeeping.policy import Policy, removals

    policy = Policy(_kinds(only, models), age(older_than))
    gatherer = Gatherer()
    if not yes:
        facts = gatherer.facts(policy.kinds)
        _show_listed(removals(facts, policy), policy, facts.notes, json)
        return
    outcomes = clean(policy, gatherer)
    _show_done(outcomes, json)
    failed = [one for one in outcomes if one.state == "failed"]
    if failed:
        raise MachineError(
            f"{len(failed)} of {len(outcomes)} could not be removed; the first: {failed[0].why}",
            "Check who owns these files. What was removed is gone, the rest is as it was.",
        )


@app.command()
def automatic(
    when: Annotated[
        str | None,
        typer.Argument(metavar="off|after-training", help="When; left out, the choice is shown."),
    ] = None,
    older_than: OlderThan = "30d",
    json: Json = False,
) -> None:
    """Choose whether ft cleans at the end of each training.

    It does not unless told to, and then as `ft storage clean --yes` would.
    """
    from engine.housekeeping.automatic import WHEN, Automatic, load, save
    from engine.housekeeping.policy import DAY_S

    if when is not None:
        chosen = next((one for one in WHEN if one == when.replace("-", "_")), None)
        if chosen is None:
            raise ConfigError(f"There is no choice {when!r}.", "Choose off or after-training.")
        save(Automatic(chosen, age(older_than) / DAY_S))
    now = load()
    if json:
        print_json(asdict(now))
    elif now.when == "off":
        print("off: nothing is removed unless you run `ft storage clean --yes`")
    else:
        print(f"after training: what is older than {duration(now.older_than_days * DAY_S)} is removed")


def age(text: str) -> float:
    """An age as `30d` in seconds; a number alone is days. Raises ConfigError."""
    found = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*([hdw]?)\s*", text, re.ASCII)
    if found is None:
        raise ConfigError(f"--older-than {text}: that is no age.", "Write 12h, 30d or 8w.")
    seconds = float(found[1]) * UNITS[found[2] or "d"]
    return min(seconds, LONGEST_S)


def _kinds(only: str, models: bool) -> "frozenset[Any]":
    """The kinds that options name. Raises ConfigError for one that there is not."""
    from engine.housekeeping.policy import KINDS, USUAL

    named = [name.strip() for name in only.split(",") if name.strip()]
    for name in named:
        if name not in KINDS:
            near = difflib.get_close_matches(name, KINDS, 1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(KINDS)}."
            raise ConfigError(f"--only: there is no kind {name!r}.", hint)
    if only and not named:
        raise ConfigError("--only names no kind.", f"There are: {', '.join(KINDS)}.")
    return frozenset(named or USUAL) | ({"models"} if models else frozenset())


def _show_listed(found: "Sequence[Removal]", policy: "Policy", notes: Sequence[str], json: bool) -> None:
    total = sum(one.bytes for one in found)
    if json:
        body = {"dry_run": True, "bytes": total, "removals": [asdict(one) for one in found]}
        print_json(body | {"older_than_s": policy.older_than_s, "notes": list(notes)})
        return
    if found:
        rows = [_row(one, one.reason) for one in found]
        columns.show(("size", "kind", "what", "why"), [*rows, _row_of_total(total, "in all")])
    for note in notes:
        say(f"note: {note}")
    say("Nothing was removed; --yes removes this." if found else "There is nothing to remove.")


def _show_done(outcomes: "Sequence[Outcome]", json: bool) -> None:
    freed = sum(one.removal.bytes for one in outcomes if one.state == "removed")
    if json:
        each = [asdict(one.removal) | {"state": one.state, "why": one.why} for one in outcomes]
        print_json({"dry_run": False, "bytes": freed, "removals": each})
        return
    if not outcomes:
        say("There is nothing to remove.")
        return
    rows = [
        _row(one.removal, one.removal.reason if one.state == "removed" else f"{one.state}: {one.why}")
        for one in outcomes
    ]
    columns.show(("size", "kind", "what", "why"), [*rows, _row_of_total(freed, "freed")])


def _row(one: "Removal", why: str) -> list[columns.Cell]:
    return [(size(one.bytes), ""), (one.kind, ""), (one.name, ""), (why, "")]


def _row_of_total(total: int, what: str) -> list[columns.Cell]:
    return [(size(total), "bold"), (what, "bold"), ("", ""), ("", "")]


def _say_problems(usage: "Usage") -> None:
    for note in usage.notes:
        say(f"note: {note}")
    if usage.unreadable:
        first = ", ".join(map(str, usage.unreadable[:3]))
        more = f" and {len(usage.unreadable) - 3} more" if len(usage.unreadable) > 3 else ""
        say(f"note: not counted, as they cannot be read: {first}{more}")
