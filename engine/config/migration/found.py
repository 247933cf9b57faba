"""Which tool a file is for, by its keys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.config.migration import axolotl, llama_factory, mlx_lm, peft_adapter, trl
from engine.config.migration.rules import Table, named
from engine.config.rules import nearest
from engine.config.sections import Recipe
from engine.errors import ConfigError


@dataclass(frozen=True)
class Tool:
    """Another trainer: how people write its name, the keys that show it, and what becomes of each key."""

    name: str
    signs: frozenset[str]
    table: Table
    prepared: Callable[[dict[str, Any]], dict[str, Any]] = dict
    """Its keys side by side."""


TOOLS: Mapping[str, Tool] = {
    "peft": Tool(peft_adapter.NAME, peft_adapter.SIGNS, peft_adapter.TABLE),
    "axolotl": Tool(axolotl.NAME, axolotl.SIGNS, axolotl.TABLE),
    "llama-factory": Tool(llama_factory.NAME, llama_factory.SIGNS, llama_factory.TABLE),
    "mlx-lm": Tool(mlx_lm.NAME, mlx_lm.SIGNS, mlx_lm.TABLE),
    "trl": Tool(trl.NAME, trl.SIGNS, trl.TABLE, trl.flattened),
    "unsloth": Tool(trl.UNSLOTH, trl.UNSLOTHS, trl.TABLE, trl.as_unsloth),
}
"""The formats that are read, by the names that `--from-format` takes."""


LLAMA_FACTORY_V1 = named("dist_config kernel_config peft_config quant_config model_class sample_backend")
"""Keys of LLaMA-Factory's layout that is still in the making."""


def tool_named(name: str) -> Tool:
    """The tool of a format's name. Raises ConfigError where there is none."""
    found = TOOLS.get(name.lower())
    if found is None:
        near = nearest(name.lower(), list(TOOLS))
        meant = f"; did you mean {near}?" if near else ""
        raise ConfigError(
            f"--from-format {name}: there is no such format{meant}", f"There are: {', '.join(TOOLS)}."
        )
    return found


def tool_of(given: Mapping[str, Any], path: str) -> tuple[Tool, tuple[str, ...]]:
    """The tool with the most signs in the file, and these signs.

    Raises ConfigError where it is none's or two's, or of a layout that ft does not read.
    """
    signs = {name: tuple(key for key in given if key in tool.signs) for name, tool in TOOLS.items()}
    if trl.looks_unsloth(given):
        both = trl.UNSLOTHS | trl.SIGNS
        signs["unsloth"], signs["trl"] = tuple(key for key in given if key in both), ()
    if "train_dataset" in given and given.keys() & LLAMA_FACTORY_V1:
        raise ConfigError(
            f"{path} is of LLaMA-Factory's new layout (v1), which ft does not read",
            "ft reads its files with model_name_or_path, finetuning_type and dataset.",
        )
    if "peft_type" in given:
        return TOOLS["peft"], signs["peft"]
    most = max(map(len, signs.values()))
    best = [name for name, keys in signs.items() if len(keys) == most]
    if not most:
        raise _of_none(given, path)
    if len(best) > 1:
        raise ConfigError(
            f"{path}: its keys are as much those of {' as of '.join(TOOLS[name].name for name in best)}",
            f"Say which it is: --from-format {best[0]}",
        )
    return TOOLS[best[0]], signs[best[0]]


def _of_none(given: Mapping[str, Any], path: str) -> ConfigError:
    names = ", ".join(tool.name for tool in TOOLS.values())
    if {"model", "data"} <= given.keys() and given.keys() <= Recipe.model_fields.keys():
        return ConfigError(f"{path} is a recipe of ft's already", f"ft validate {path} checks it.")
    return ConfigError(
        f"{path}: none of its keys tells which trainer it is for ({names})",
        f"Say which it is with --from-format: {', '.join(TOOLS)}.",
    )
