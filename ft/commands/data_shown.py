"""Output of `ft data`: a row's tokens, findings, counts, each readable without colour too."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from engine.data.findings import RULES, Finding
from engine.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from engine.data.preview.values import RowView, TokenText
    from engine.data.rewrite import Report
    from engine.data.stats import Stats

COLOURS = {"error": "bold red", "warning": "yellow", "note": "cyan"}
CUT = "✂"
"""Mark where `max_seq_length` cuts a row."""
SIDE_BY_SIDE = 100
"""Cells of a terminal from which the two answers of a pair stand side by side."""
BAR = 40
"""Cells of the longest bar."""


def row_title(row: "RowView") -> str:
    """Title of a row: its place and its counts."""
    cut = f", {row.lost:,} trained tokens cut at {row.limit:,}" if row.lost else ""
    several = f", in {row.examples} examples" if row.examples > 1 else ""
    if row.sides:
        several = f", labelled {row.sides[0]}" if row.examples == 1 else ", chosen and rejected answer"
    unread = f", of all but {row.unread:,} characters" if row.unread else ""
    return f"{row.where}: {row.tokens:,} tokens, {row.trained:,} trained{cut}{several}{unread}"


def shown_row(row: "RowView", parted: bool, width: int = 0) -> "Text | Group":
    """The row's text. Trained tokens stand in brackets and bold, special ones in colour; what is cut, behind `CUT`.

    The answers of a pair stand side by side where `width`, in cells, has room for both.
    """
    if not row.pieces:
        return Text(printable(f"{row.problem}\n\n{row.raw}"))
    if len(row.sides) > 1 and width >= SIDE_BY_SIDE:
        return _pair(row, parted)
    text = _text(row.pieces, parted)
    if row.hidden:
        text.append(f"\n… and {row.hidden:,} tokens more", style="italic")
    return text


def _pair(row: "RowView", parted: bool) -> Group:
    """The prompt, and below it both answers."""
    from engine.data.preview.values import compared

    prompt, *answers = compared(row.pieces)
    table = Table(expand=True)
    for side in row.sides:
        table.add_column(side, ratio=1)
    table.add_row(*(_text(answer, parted) for answer in answers))
    return Group(_text(prompt, parted), table)


def _text(pieces: "Sequence[TokenText]", parted: bool) -> Text:
    text = Text()
    runs: Iterable[list[TokenText]]
    if parted:
        runs = ([piece] for piece in pieces)
    else:
        runs = (
            list(run) for _, run in groupby(pieces, key=lambda one: (one.trained, one.cut, not one.tokens))
        )
    for number, run in enumerate(runs):
        if parted and number:
            text.append("·", style="dim")
        if not run[0].tokens:
            text.append(f"\n\n{run[0].text}\n\n", style="italic")
            continue
        if run[0].cut and CUT not in text.plain:
            text.append(CUT, style="bold red")
        trained = run[0].trained and not run[0].cut
        text.append("[" if trained else "", style="green")
        for piece in run:
            style = (
                "strike dim" if piece.cut else "cyan" if piece.special else "bold green" if trained else "dim"
            )
            shown = printable(piece.text.replace("\n", "⏎") if parted else piece.text)
            text.append(shown, style=style)
        text.append("]" if trained else "", style="green")
    return text


def shown_findings(findings: Sequence[Finding], brief: bool = False) -> "RenderableType":
    """Each finding with its rows and what to do; `brief` leaves out what to do."""
    if not findings:
        return Text("Nothing is wrong with these rows.")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0 if brief else 1, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for finding in findings:
        rows = [places(finding)] if finding.places else []
        lines = [f"{finding.message} ({finding.share:.1%})", *rows, *([] if brief else [finding.fix])]
        body = Text("\n").join([Text(lines[0]), *(Text(line, style="dim") for line in lines[1:])])
        table.add_row(Text(finding.severity, style=COLOURS[finding.severity]), body)
    return table


def places(finding: Finding) -> str:
    """Places of its rows, with a file's name once for consecutive rows of it."""
    parts = [re.fullmatch(r"(.*?(?::| row ))(\d+)", row) for row in finding.places]
    named = [
        (part[1], part[2]) if part else (row, "") for row, part in zip(finding.places, parts, strict=True)
    ]
    found = groupby(named, key=lambda one: one[0])
    rows = "; ".join(file + ", ".join(number for _, number in group) for file, group in found)
    more = finding.count - len(finding.places)
    return f"{rows} and {more:,} more" if more else rows


def shown_stats(stats: "Stats", limit: int) -> "RenderableType":
    """Counts, percentiles, a histogram of lengths, and what limits would cut."""
    trained = stats.trained / max(stats.tokens, 1)
    turns = [
        f"{count:,} of {turns} messages" if turns else f"{count:,} of plain text"
        for turns, count in stats.turns.items()
    ]
    facts = {
        "rows": f"{stats.rows:,}"
        + (f", {stats.examples:,} examples" if stats.examples != stats.rows else ""),
        "tokens": f"{stats.tokens:,}, {trained:.0%} of them trained",
        "turns": "; ".join(turns),
        "vocabulary": f"{stats.vocabulary:,} of {stats.vocabulary_size:,} tokens in use, {stats.bits:.1f} bits a token",
        "length": ", ".join(f"{_percentile(p)} {length:,}" for p, length in stats.percentiles.items()),
        "cut": "; ".join(f"{share:.1%} at {at:,}" for at, share in stats.cut.items()) or "none at 256",
    }
    most = max(count for _, _, count in stats.histogram)
    bars = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for start, end, count in stats.histogram:
        bar = "█" * math.ceil(BAR * count / most)
        mark = f"  max_seq_length {limit:,}" if start <= limit < end else ""
        bars.add_row(Text(f"{start:,}–{end - 1:,}", justify="right"), f"{count:,}", f"{bar}{mark}")
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, value in facts.items():
        table.add_row(name, value)
    return Group(table, Text("\ntokens of an example", style="bold"), bars)


def _percentile(percent: int) -> str:
    return {50: "median", 100: "longest"}.get(percent, f"{percent} %")


def _augmented(made: "Mapping[str, Any]") -> list[str]:
    """The rows that a model made from the training rows, and why there are not more."""
    from engine.data.augment.checks import REASONS

    rows = "pairs" if made["kind"] == "pairs" else "training rows"
    lines = [
        f"{made['made']:,} of the {rows} are made by {made['model']} ({made['kind']}, seed {made['seed']}), "
        f"of {made['asked']:,} asked for"
    ]
    rejected = sorted(made["rejected"].items(), key=lambda one: -one[1])
    if rejected:
        lines.append(
            f"{sum(made['rejected'].values()):,} rejected among the model's {made['answers']:,} answers:"
        )
    lines += [f"  {count:,} {REASONS[reason]}" for reason, count in rejected]
    if made["aside"]:
        lines.append(
            f"{made['aside']:,} training rows left aside: without a question, or too long for --max-tokens"
        )
    return lines


def shown_report(report: "Report", folder: Path) -> Text:
    """Report of the rows written and left out."""
    written = {"train": report.train, "validation": report.validation, "pairs": report.pairs}
    lines = [
        f"{count:,} {'pair' if split == 'pairs' else 'row'}{'s' * (count != 1)} in {folder / f'{split}.jsonl'}"
        for split, count in written.items()
        if count or split == "train"
    ]
    why = ", ".join(f"{count:,} {reason}" for reason, count in report.reasons.items())
    for count, one, more, what in (
        (report.copies, "copy", "copies", "left out"),
        (report.near_copies, "near copy", "near copies", "left out"),
        (report.unused, "row", "rows", "labelled as a bad answer left out"),
        (report.unreadable, "row", "rows", "that cannot be read left out"),
        (report.broken, "broken row", "broken rows", f"left out, {why}:"),
    ):
        lines += [f"{count:,} {one if count == 1 else more} {what}"] if count else []
    lines += [f"  {problem}" for problem in report.problems]
    lines += [f"  and {report.broken - len(report.problems):,} more"] * (report.broken > len(report.problems))
    lines += _augmented(report.augmented) if report.augmented else []
    text = Text("\n".join([*lines, f"The whole report is in {folder / 'report.json'}"]))
    lost, rows = report.broken + report.unreadable, report.rows + report.unreadable
    if lost > rows / 2:
        text.append(f"\n{lost:,} of {rows:,} rows are lost. {RULES['unusable'].fix}", style=COLOURS["error"])
    return text
