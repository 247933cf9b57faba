"""Registry of exporters: ft's own and those of other packages."""

from collections.abc import Mapping
from typing import Any

from engine import plugins
from engine.errors import ConfigError, ModelError
from engine.export.adapter import ADAPTER
from engine.export.base import Exporter
from engine.export.gguf.exporters import GGUF, GGUF_ADAPTER
from engine.export.merged import MERGED
from engine.export.mlx import MLX
from engine.export.mlx_adapter import MLX_ADAPTER
from engine.export.ollama.exporter import OLLAMA

OWN: Mapping[str, Exporter] = {
    exporter.name: exporter for exporter in (ADAPTER, GGUF, GGUF_ADAPTER, MERGED, MLX, MLX_ADAPTER, OLLAMA)
}
"""The exporters that come with ft."""


def exporter_names() -> tuple[str, ...]:
    """Names of all exporters: ft's own first, then those of other packages."""
    return (*OWN, *sorted(plugins.installed(plugins.EXPORTERS).keys() - OWN.keys()))


def exporter_named(name: str) -> Exporter:
    """The exporter of a name. Raises ConfigError where there is none, MachineError where its package is broken."""
    if name in OWN:
        return OWN[name]
    if name not in plugins.installed(plugins.EXPORTERS):
        raise ConfigError(f"There is no exporter {name!r}.", f"Installed: {', '.join(exporter_names())}.")
    return plugins.load_as(plugins.EXPORTERS, name, Exporter)


def refuse_unsupported(exporter: Exporter, config: Mapping[str, Any]) -> None:
    """Raise ModelError, which lists the formats there are for it, where a model cannot be written by an exporter.

    `config` is the model's config.json.
    """
    problem = exporter.problem(config)
    if problem is None:
        return
    others = [name for name, own in OWN.items() if own is not exporter and own.problem(config) is None]
    raise ModelError(
        f"Export to {exporter.name}: {problem}",
        f"This model can be exported to {', '.join(others)}." if others else "",
    )
