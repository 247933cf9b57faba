"""General rows: short questions with one right answer, a file a kind; see `engine.evaluation.general`."""
