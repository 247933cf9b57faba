"""Right calls: the share of answers that call the expected tools with the expected arguments."""

from engine.metrics.base import Metric, Results, Statistics
from engine.metrics.tool_calls import CALLS, expected_and_made, same_calls


def rows(results: Results) -> list[Statistics | None]:
    """1 where names and arguments are those expected, 0 elsewhere; None for a row that expects no call."""
    return [both and (float(same_calls(*both)), 1.0) for both in expected_and_made(results)]


METRIC = Metric.of_rows("tool_calls", rows, CALLS, label="right tool call", format="percent", better="higher")
