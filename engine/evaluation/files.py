"""Files that an evaluation puts into its run's folder."""

RESULT = "evaluation.json"
"""Everything but the rows; written last."""
ROWS = "rows.jsonl"
"""A row a line: prompt, expected answer, the models' answers, scores by metric."""
REPORT = "report.html"
"""One page that needs nothing else."""
