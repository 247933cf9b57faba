"""What would waste a run: rows that teach nothing, or the wrong thing."""

from engine.data.lint.findings import Finding, Kind, Severity
from engine.data.lint.linter import Linter

__all__ = ["Finding", "Kind", "Linter", "Severity"]
