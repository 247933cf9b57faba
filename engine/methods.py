"""Training methods by name: ft's own and those of other packages, without anything heavy behind them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from engine import plugins
from engine.errors import MachineError

Samples = Literal["supervised", "pairs", "labelled"]
"""Kinds of training rows: an answer, a preferred and a rejected answer, or an answer with a label."""

OWN = ("sft", "dpo", "orpo", "simpo", "cpo", "kto")
"""The methods that come with ft, each the `METHOD` of the module of its name in `engine.objectives`."""


def _none(keys: Any) -> Iterable[tuple[str, str]]:
    """No problem with any keys."""
    return ()


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
    summary: str = ""
    """What it is, in a few words."""
    metrics: tuple[str, ...] = ()
    """Names of the metrics that its objective reports, any of which can choose the best checkpoint."""
    problems: Callable[[Any], Iterable[tuple[str, str]]] = _none
    """Keys of its section that do not go together, each with what is wrong and what to do."""

    def objective(self, config: Any = None) -> Any:
        """The objective of a run, from the recipe's section, or with its defaults. Imports what computes."""
        build = plugins.resolved(self.build)
        return build() if self.config is None else build(self.config() if config is None else config)


def method_named(name: str) -> Method:
    """The method that a recipe calls `name`, which must be known. Raises MachineError where its package is broken."""
    if name in OWN:
        found: Method = plugins.resolved(f"engine.objectives.{name}:METHOD")
        return found
    return plugins.load_as(plugins.METHODS, name, Method)


def installed_methods() -> list[Method]:
    """All methods that load: ft's own first, then those of other packages by name."""
    found = [method_named(name) for name in OWN]
    for name in sorted(plugins.installed(plugins.METHODS)):
        try:
            found.append(method_named(name))
        except MachineError:
            continue  # reported where a recipe asks for it
    return found
