"""Descriptor of an exporter: a writer of models in the files of another program."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine import plugins
from engine.errors import MachineError
from engine.runs.directory.trained_model import TrainedModel

Heartbeat = Callable[[], None]
"""Called while an export runs, at least every few seconds; it raises where the export is to stop."""
Write = Callable[[TrainedModel, Path, Mapping[str, Any], Heartbeat], Mapping[str, Any]]
"""Fills a new, empty folder from a model, by the exporter's options.

Returns facts about what was written. Raises ConfigError for options that it does not have, ModelError where the model
cannot be written so, MachineError where the folder cannot be written.
"""


@dataclass(frozen=True)
class Exporter:
    """Writes models in one format. The value of an entry point in the group `ft.exporters`; its module is light."""

    name: str
    write: str | Write
    """A callable, or `module:name` of one, which is imported when it writes."""
    needs: tuple[str, ...] = ()
    """Modules that have to be installed."""
    install: str = ""
    """Command that installs them: the hint where one is missing."""

    def missing(self) -> tuple[str, ...]:
        """Needed modules that are not installed here."""
        return tuple(module for module in self.needs if find_spec(module) is None)

    def export(
        self, model: TrainedModel, out: Path, options: Mapping[str, Any], heartbeat: Heartbeat
    ) -> Mapping[str, Any]:
        """Fill the folder `out` from a model; facts about what was written.

        Raises MachineError where a needed module is not installed, and what `write` raises.
        """
        if missing := self.missing():
            raise MachineError(
                f"Export to {self.name} needs {', '.join(missing)}, which is not installed here.",
                self.install,
            )
        return plugins.resolved(self.write)(model, out, options, heartbeat)
