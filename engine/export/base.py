"""Descriptor of an exporter: a writer of models in the files of another program."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import plugins
from engine.errors import ConfigError, MachineError
from engine.runs.directory.trained_model import TrainedModel

if TYPE_CHECKING:
    from engine.parity.exported import Exported

QUANTIZATION = "quantization"
"""The option that `ft export --quantize` sets."""
OTHERS = "models"
"""The option that names further models whose weights go into the export, which is then none of one trained model's."""
Heartbeat = Callable[[], None]
"""Called while an export runs, at least every few seconds; it raises where the export is to stop."""
Write = Callable[[TrainedModel, Path, Mapping[str, Any], Heartbeat], Mapping[str, Any]]
"""Fills a new, empty folder from a model, by the exporter's options.

Returns facts about what was written. Raises ConfigError for options that it does not have, ModelError where the model
cannot be written so, MachineError where the folder cannot be written.
"""
Prove = Callable[[TrainedModel, Path, Mapping[str, Any]], "AbstractContextManager[Exported]"]
"""Opens what was written, as `(model, folder, facts)`, in the program that people will use it with.

The parity gate (`engine.parity.gate`) compares its answers with those of the trained model.
"""
Supports = Callable[[Mapping[str, Any]], str | None]
"""From a model's config.json, the reason for which it cannot be written in the format; None where it can."""
Size = Callable[[TrainedModel, Mapping[str, Any]], int]
"""Bytes that an export of a model takes at most, by the exporter's options."""


@dataclass(frozen=True)
class Exporter:
    """Writes models in one format. The value of an entry point in the group `ft.exporters`; its module is light.

    Callables may be given as `module:name`, which is imported when it is called.
    """

    name: str
    write: str | Write
    needs: tuple[str, ...] = ()
    """Modules that have to be installed."""
    install: str = ""
    """Command that installs them: the hint where one is missing."""
    prove: str | Prove | None = None
    """None where there is nothing that could answer."""
    quantizations: tuple[str, ...] = ()
    """Values that the option `quantization` takes; none where weights are written as they are."""
    supports: str | Supports | None = None
    """None for every model."""
    size: str | Size | None = None
    """None for as much as the model's own files take."""

    def missing(self) -> tuple[str, ...]:
        """Needed modules that are not installed here."""
        return tuple(module for module in self.needs if find_spec(module) is None)

    def check(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The options, the quantisation in the exporter's own spelling.

        Raises ConfigError for a quantisation that it does not have, MachineError where a needed module is missing.
        """
        if missing := self.missing():
            raise MachineError(
                f"Export to {self.name} needs {', '.join(missing)}, which is not installed here.",
                self.install,
            )
        wanted = options.get(QUANTIZATION)
        if wanted is None or not self.quantizations:
            return options
        known = {name.lower(): name for name in self.quantizations}
        if str(wanted).lower() not in known:
            raise ConfigError(
                f"Export to {self.name} has no quantisation {wanted}.",
                f"It has {', '.join(self.quantizations)}.",
            )
        return dict(options) | {QUANTIZATION: known[str(wanted).lower()]}

    def problem(self, config: Mapping[str, Any]) -> str | None:
        """The reason for which a model of this config.json cannot be written; None where it can."""
        return plugins.resolved(self.supports)(config) if self.supports is not None else None

    def export(
        self, model: TrainedModel, out: Path, options: Mapping[str, Any], heartbeat: Heartbeat
    ) -> Mapping[str, Any]:
        """Fill the folder `out` from a model; facts about what was written.

        Raises what `check` and `write` raise.
        """
        checked = self.check(options)
        return plugins.resolved(self.write)(model, out, checked, heartbeat)
