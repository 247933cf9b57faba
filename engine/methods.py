"""Training methods by name: ft's own and those of other packages, without anything heavy behind them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine import plugins
from engine.errors import MachineError

Samples = Literal["supervised", "pairs", "labelled"]
"""Kinds of training rows: an answer, a preferred and a rejected answer, or an answer with a label."""


@dataclass(frozen=True)
class Method:
    """Descriptor of a training method. The value of an entry point in the group `ft.methods`.

    Whoever reads a recipe imports the module that holds it, so that module must stay light.
    """

    name: str
    build: str | Callable[..., Any]
    """Makes the `Objective` (`engine/objectives/base.py`) from a value of `config`, or from nothing where there is no
    `config`: a callable, or `module:name` of one, which is imported when a run starts."""
    config: type | None = None
    """Frozen pydantic model or dataclass: the keys of the recipe's section that is named after the method."""
    samples: Samples = "supervised"
    """Kind of its training rows."""
    needs_reference: bool = False
    """True if the loss compares the model with itself before training."""

    def objective(self, config: Any = None) -> Any:
        """The objective of a run, from the recipe's section. Imports what computes."""
        build = plugins.resolved(self.build)
        return build() if self.config is None else build(config)


OWN: Mapping[str, Method] = {
    method.name: method for method in (Method("sft", "engine.objectives.sft:Supervised"),)
}
"""The methods that come with ft."""


def method_named(name: str) -> Method:
    """The method that a recipe calls `name`, which must be known. Raises MachineError where its package is broken."""
    if name in OWN:
        return OWN[name]
    return plugins.load_as(plugins.METHODS, name, Method)


def installed_methods() -> list[Method]:
    """All methods that load: ft's own first, then those of other packages by name."""
    found = [*OWN.values()]
    for name in sorted(plugins.installed(plugins.METHODS)):
        try:
            found.append(method_named(name))
        except MachineError:
            continue  # reported where a recipe asks for it
    return found
