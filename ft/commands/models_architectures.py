"""`ft models architectures`: what ft is tested with, and the layers that adapters are known to work well on."""

from dataclasses import asdict
from typing import Annotated

import typer

from engine.errors import ConfigError
from ft.console import out, print_json


def architectures(
    name: Annotated[
        str | None,
        typer.Argument(
            help="One of them: a model_type of config.json, or the name of a class in transformers."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the architectures that ft is tested with: other names, good layers for adapters, backends."""
    from engine.models import architectures as registry

    known = registry.architectures()
    found = [one for one in known if name is None or name in one.names]
    if not found:
        raise ConfigError(
            f"{name} is not among the architectures that ft is tested with.",
            f"Tested: {', '.join(one.name for one in known)}. Others that transformers knows are trained too.",
        )
    if json:
        print_json([asdict(one) for one in found])
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for title in ("architecture", "other names", "layers for adapters", "tested with"):
        table.add_column(title, no_wrap=title in ("architecture", "tested with"))
    for one in found:
        others, layers = ", ".join((*one.aliases, *one.classes)), ", ".join(one.targets)
        table.add_row(one.name, others, layers, ", ".join(one.backends))
    out().print(table)
