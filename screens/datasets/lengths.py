"""Row lengths against `max_seq_length`, as bars in text."""

from collections.abc import Sequence
from itertools import pairwise

from rich.text import Text

from engine.data.preview.values import Lengths
from screens.format import count, percent

PARTS = " ▏▎▍▌▋▊▉█"


def bins(lengths: Sequence[int], limit: int, most: int) -> list[tuple[int, int, int]]:
    """At most `most` ranges from 0 of one round width, and how many lengths are in each: (from, to, rows).

    The last range holds the longest row. Where some rows are beyond the limit, one boundary is the limit.
    """
    longest = max(lengths, default=0)
    if not longest:
        return []
    if longest <= limit:
        width = _round_up(longest / most)
        edges = list(range(0, longest + width, width))
    else:
        parts = min(max(1, round(most * limit / longest)), limit)
        width = max(-(-limit // parts), -(-(longest - limit) // max(1, most - parts)))
        edges = [limit * part // parts for part in range(parts + 1)]
        edges += range(limit + width, longest + width, width)
    counts = [sum(low < length <= high for length in lengths) for low, high in pairwise(edges)]
    return [(low, high, rows) for (low, high), rows in zip(pairwise(edges), counts, strict=True)]


def histogram(found: Lengths, limit: int, width: int, most: int = 8) -> Text:
    """The bars, one line a range; those beyond the limit are marked ✂."""
    text = Text(no_wrap=True, overflow="ellipsis")
    ranges = bins(found.lengths, limit, most)
    if not ranges:
        return text
    digits = len(count(ranges[-1][1]))
    highest = max(rows for _, _, rows in ranges)
    room = max(4, width - 2 * digits - 12)
    for low, high, rows in ranges:
        beyond = low >= limit
        text.append(f"{count(low + 1):>{digits}}–{count(high):<{digits}} ", "dim")
        text.append("✂ " if beyond else "  ")
        text.append(_bar(rows / highest, room))
        text.append(f" {percent(rows / len(found.lengths)) if rows else '·'}\n", "dim")
    text.rstrip()
    return text


def summary(found: Lengths, limit: int) -> list[str]:
    """The sample in sentences: how many rows it is of, what is truncated, what is trained."""
    which = (
        rows_of(found.of)
        if found.sampled >= found.of
        else f"a sample of {count(found.sampled)} of {rows_of(found.of)}"
    ) + ("" if found.counted else " so far")
    if not found.lengths:
        return [f"{which}, none of which has tokens"]
    lines = [f"{which}, longest {count(max(found.lengths))} tokens"]
    if found.tokens:
        lines.append(f"{percent(found.trained / found.tokens)} of the tokens are trained")
    if found.cut:
        lines.append(
            f"{rows_of(found.cut)} longer than {count(limit)}: truncated, {count(found.lost)} trained tokens lost"
        )
    else:
        lines.append(f"none is longer than max_seq_length {count(limit)}")
    return lines


def rows_of(number: int) -> str:
    """`1 row`, `1 000 rows`."""
    return f"{count(number)} row{'' if number == 1 else 's'}"


def _bar(share: float, width: int) -> str:
    eighths = round(share * width * 8)
    if share > 0:
        eighths = max(eighths, 1)
    full, rest = divmod(eighths, 8)
    return "█" * full + (PARTS[rest] if rest else "")


def _round_up(width: float) -> int:
    """The next number of 1, 2, 4, 5, 8 or 10 times a power of ten."""
    step = 1
    while True:
        for factor in (1, 2, 4, 5, 8):
            if factor * step >= width:
                return factor * step
        step *= 10
