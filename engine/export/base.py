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
    from engine.parity.summed import Summed

QUANTIZATION = "quantization"
"""The option that `ft export --quantize` sets."""
CREATE = "create"
"""The option that `ft export --create` sets."""
Heartbeat = Callable[[], None]
"""Called while an export runs, at least every few seconds; it raises where the export is to stop."""
Write = Callable[[TrainedModel, Path, Mapping[str, Any], Heartbeat], Mapping[str, Any]]
"""Fills a new, empty folder from a model, by the exporter's options.

Returns facts about what was written. Raises ConfigError for options that it does not have, ModelError where the model
cannot be written so, MachineError where the folder cannot be written.
"""
Prove = Callable[[TrainedModel, Path, Mapping[str, Any], Heartbeat], "AbstractContextManager[Exported]"]
"""Opens what was written, as `(model, folder, facts, heartbeat)`, in the program that people will use it with.

The parity gate (`engine.parity.gate`) compares its answers with those of the trained model. The facts are the
writer's, and `plain_base`: the folder of the base as transformers reads it. The heartbeat is called while it loads
and answers, so that a stop does not wait for the end of a proof.
"""
Supports = Callable[[Mapping[str, Any]], str | None]
"""From a model's config.json, the reason for which it cannot be written in the format; None where it can."""
Creator = Callable[[Path, Heartbeat], None]
"""Makes a finished export's folder known to the program that the format is for. Raises MachineError."""
Creates = Callable[[str], Creator]
"""From the name that the model is to get in that program, what makes it known there.

Raises ConfigError for a name that the program would refuse, MachineError where the program is missing.
"""
Sums = Callable[[TrainedModel, Mapping[str, Any]], "Summed | None"]
"""From the exporter's options, the models whose weighted sum the export is; None for one model as it was trained."""
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
    adapter_alone: bool = False
    """True if an adapter is written that people put on the base that it was trained on, quantised as it is."""
    prove: str | Prove | None = None
    """None where there is nothing that could answer."""
    sums: str | Sums | None = None
    """None where every export is of one model."""
    finer: str = ""
    """Advice for an export that has lost too much, as the beginning of a sentence: "Quantise less"."""
    quantizations: tuple[str, ...] = ()
    """Values that the option `quantization` takes; none where weights are written as they are."""
    supports: str | Supports | None = None
    """None for every model."""
    size: str | Size | None = None
    """None for as much as the model's own files take."""
    creates: str | Creates | None = None
    """None where no program has a list of models of its own, to which the option `create` would add this one."""
    secrets: tuple[str, ...] = ()
    """Names of the tokens that it needs; they are in the environment of the process that exports, and no others."""

    def missing(self) -> tuple[str, ...]:
        """Needed modules that are not installed here."""
        return tuple(module for module in self.needs if find_spec(module) is None)

    def check(self, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The options, the quantisation in the exporter's own spelling.

        Raises ConfigError for a quantisation that it does not have and what `creator` raises, MachineError where a
        needed module is missing.
        """
        if missing := self.missing():
            raise MachineError(
                f"Export to {self.name} needs {', '.join(missing)}, which is not installed here.",
                self.install,
            )
        self.creator(options)
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

    def creator(self, options: Mapping[str, Any]) -> Creator | None:
        """What makes the export known under the name that the options give, once it is in its place; None without one.

        Raises ConfigError where there is no program for it, and what `creates` raises.
        """
        name = options.get(CREATE)
        if name is None:
            return None
        if self.creates is None:
            raise ConfigError(
                f"Export to {self.name} makes no model known to another program.", "Leave --create out."
            )
        made: Creator = plugins.resolved(self.creates)(str(name))
        return made

    def problem(self, config: Mapping[str, Any]) -> str | None:
        """The reason for which a model of this config.json cannot be written; None where it can."""
        return plugins.resolved(self.supports)(config) if self.supports is not None else None

    def export(
        self, model: TrainedModel, out: Path, options: Mapping[str, Any], heartbeat: Heartbeat
    ) -> Mapping[str, Any]:
        """Fill the folder `out` from a model; facts about what was written. No other program hears of it yet.

        Raises what `check` and `write` raise.
        """
        checked = {name: value for name, value in self.check(options).items() if name != CREATE}
        return plugins.resolved(self.write)(model, out, checked, heartbeat)
