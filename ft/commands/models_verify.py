"""`ft models verify`: a model's files against the hub's checksums, without network."""

from dataclasses import asdict
from typing import Annotated

import typer

from engine.errors import ModelError
from engine.units import size
from ft.commands.models_show import here
from ft.console import print_json, say


def verify(
    name: Annotated[str, typer.Argument(help="starter, a hub id, or a model's folder.")],
    drop: Annotated[
        bool, typer.Option("--drop", help="Remove damaged files, so that ft models pull fetches them again.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare a model's files with the hub's checksums; exits with 4 where one is damaged or missing."""
    from engine.models import verification
    from ft.progress_bar import fetching

    entry = here(name)
    with fetching() as progress:
        checked = list(verification.verify(entry, progress))
    damaged, lacking = [file for file in checked if file.damaged], verification.missing(entry)
    if json:
        print_json({"name": entry.name, "files": [asdict(file) for file in checked], "missing": lacking})
    else:
        width = max((len(file.name) for file in checked), default=0)
        for file in checked:
            problem = f": {file.problem}" if file.problem else ""
            print(f"{file.name:<{width}}   {size(file.bytes):>8}   {file.state}{problem}")
    if damaged and drop:
        verification.drop(entry, damaged)
        say(f"Removed {len(damaged)} damaged files. Fetch them again: ft models pull {entry.name}")
        return
    if damaged:
        hint = f"To fetch them again: ft models verify {entry.name} --drop, then ft models pull {entry.name}"
        raise ModelError(
            f"{len(damaged)} of {len(checked)} files of {entry.name} are damaged.",
            hint if entry.source == "hub" else "Copy them from their source again.",
        )
    if lacking:
        raise ModelError(lacking, f"ft models pull {entry.name} fetches what is missing.")
