"""A line of numbers as a row of blocks."""

import math
from collections.abc import Iterable
from itertools import pairwise

LEVELS = "▁▂▃▄▅▆▇█"


def spark(values: Iterable[float], width: int = 32) -> str:
    """The values as at most `width` blocks, the mean of neighbours where there are more.

    What is no finite number is left out.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite or width < 1:
        return ""
    columns = min(width, len(finite))
    edges = [round(i * len(finite) / columns) for i in range(columns + 1)]
    means = [sum(finite[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(LEVELS[round((mean - low) / span * (len(LEVELS) - 1))] for mean in means)
