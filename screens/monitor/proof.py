"""Proof of an export as a table: what was compared, how far it agrees, the limits, and what differs most."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from screens import format as show
from screens.monitor.facts import Fact, facts, heading

Report = Mapping[str, Any]
"""As `engine.parity.proof.Proof.as_json` has it."""


def page(report: Report) -> Iterator[RenderableType]:
    """The verdict, the table, and where it failed the layers and texts that differ most."""
    passed = report.get("passed") is True
    yield heading(
        "✓ proved: it answers as the trained model does"
        if passed
        else "✗ over its limits: it answers otherwise, and was not kept"
    )
    yield _table(report)
    layers = report.get("layers")
    if isinstance(layers, Mapping) and layers:
        yield heading("weights that differ most")
        yield facts(*(Fact(str(name), f"{share:.1%}") for name, share in layers.items()), dim=False)
    tokens = report.get("tokens") or {}
    if tokens.get("different"):
        yield heading("texts that become other tokens")
        yield Text("\n".join(map(str, tokens["different"])))
    yield heading("how")
    yield facts(
        Fact("compared", f"{show.count(report.get('positions'))} places in {report.get('rows')}"),
        Fact("loaded by", str(report["program"])) if report.get("program") else None,
        Fact("against", f"the trained model, {report.get('reference')}"),
        Fact("KL over", str(report.get("kl_over"))),
    )


def _table(report: Report) -> Table:
    """A line a limit: measured, allowed, kept or not."""
    limits, tokens = report.get("limits") or {}, report.get("tokens") or {}
    count = tokens.get("texts", 0) + tokens.get("conversations", 0)
    different, explained = tokens.get("different") or (), tokens.get("explained") or ()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("", "measured", f"limit of {limits.get('precision')}", ""):
        table.add_column(title, overflow="fold")

    def row(name: str, measured: str, limit: str = "", kept: bool | None = None) -> None:
        table.add_row(
            Text(name), Text(measured), Text(limit), Text("" if kept is None else "✓" if kept else "✗")
        )

    decided, least = report.get("top1_decided"), limits.get("top1")
    mean, most = report.get("kl_mean"), limits.get("kl_mean")
    row("same tokens", f"{count - len(different) - len(explained)} of {count} texts", "all", not different)
    if isinstance(decided, int | float) and isinstance(least, int | float):
        row("same likeliest token", f"{decided:.1%}", f"at least {least:.0%}", decided >= least)
    if isinstance(report.get("top1"), int | float):
        row("  with near ties", f"{report['top1']:.1%}")
    if isinstance(mean, int | float) and isinstance(most, int | float):
        row("KL divergence, mean", f"{mean:.2g} nats", f"at most {most:g}", mean <= most)
    if isinstance(report.get("kl_max"), int | float):
        row("  largest", f"{report['kl_max']:.2g} nats")
    return table
