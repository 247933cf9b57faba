"""Texts for the screens: numbers as everywhere in ft (`engine/units.py`), and paths."""

from pathlib import Path

from engine.metrics.base import Metric
from engine.units import MISSING as MISSING
from engine.units import ago as ago
from engine.units import clock as clock
from engine.units import count as count
from engine.units import duration as duration
from engine.units import loss as loss
from engine.units import one_line as one_line
from engine.units import percent as percent
from engine.units import short_count as short_count
from engine.units import size as size


def score(metric: Metric, value: float | None) -> str:
    """A metric's value in its own format; a loss with four digits that count, as every loss on the screens."""
    if value is None:
        return MISSING
    return loss(value) if metric.format == "nats" else metric.written(value)


def place(path: Path) -> str:
    """A path as a person would write it: from the current folder or from home, if it lies there."""
    for start, prefix in ((Path.cwd(), ""), (Path.home(), "~/")):
        if path.is_absolute() and path.is_relative_to(start):
            return prefix + str(path.relative_to(start))
    return str(path)
