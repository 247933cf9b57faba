"""`ft models names`: short names of common models, and which of them this machine can train, without network."""

from typing import Annotated

import typer

from ft.console import out, print_json


def names(json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List common models with a short name, and what each fits here: LoRA, QLoRA, full training."""
    from engine.hardware.probe import probe
    from engine.models.names import KNOWN
    from engine.planning.feasibility import fits_of
    from engine.planning.ways import METHODS

    machine = probe()
    rows = [
        (model, model.shape.parameters, {fit.method: fit.fits for fit in fits_of(model.shape, machine)})
        for model in KNOWN.values()
    ]
    if json:
        print_json(
            [
                {
                    "name": one.name,
                    "hub_id": one.hub_id,
                    "gated": one.gated,
                    "parameters": count,
                    "fits": fits,
                }
                for one, count, fits in rows
            ]
        )
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for title in ("name", "stands for", "parameters", *METHODS):
        table.add_column(title, no_wrap=True, justify="right" if title == "parameters" else "left")
    table.add_column("gated", no_wrap=True)
    for one, count, fits in rows:
        table.add_row(one.name, one.hub_id, f"{count:,}", *fits.values(), "yes" if one.gated else "")
    out().print(table)
