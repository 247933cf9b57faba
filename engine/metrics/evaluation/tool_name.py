"""Right tools: the share of answers that call the expected tools, whatever the arguments."""

from engine.metrics.base import Metric, Results, Statistics
from engine.metrics.tool_calls import CALLS, expected_and_made, same_names


def rows(results: Results) -> list[Statistics | None]:
    """1 where the names are those expected, 0 elsewhere; None for a row that expects no call."""
    return [both and (float(same_names(*both)), 1.0) for both in expected_and_made(results)]


METRIC = Metric.of_rows("tool_name", rows, CALLS, label="right tool", format="percent", better="higher")
