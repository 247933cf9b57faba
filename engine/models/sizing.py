"""A model's shape from its folder: exact to the parameter, without reading weights.

Common architectures have a formula and need config.json alone. For any other, the headers of its weights tell, or
transformers, which is imported only then.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.models.config_values import AGAIN, check_values
from engine.models.formulas import FAMILIES, decoder, gpt2
from engine.models.local import INDEX, headers, read_config
from engine.models.measured import shape_of_tensors
from engine.models.prequantized import Held, Packed, expanded, is_quantised, made_from
from engine.models.shape import ModelShape, TokenRoom


def shape_of(folder: Path) -> ModelShape:
    """The model's shape, exact to the parameter: by formula for common architectures, from the tensors of others.

    Raises ModelError where config.json lacks something or has what no model can have, or where neither weights nor the
    installed transformers tell the shape of an architecture.
    """
    config = read_config(folder)
    check_values(config, folder / "config.json")
    kind = str(config["model_type"])
    try:
        return replace(
            _shape(kind, config, folder),
            packed=Packed.of(config, made_from(folder)),
            held=Held.of(config),
            expanded=expanded(config),
        )
    except KeyError as error:
        raise ModelError(f"{folder / 'config.json'} has no {error.args[0]}.", AGAIN) from error
    except (TypeError, ValueError, ZeroDivisionError) as error:
        message = f"{folder / 'config.json'} has a value that a {kind} model cannot have: {error}."
        raise ModelError(message, AGAIN) from error


def _shape(kind: str, config: Mapping[str, Any], folder: Path) -> ModelShape:
    if kind in FAMILIES:
        return decoder(kind, config)
    return gpt2(config) if kind == "gpt2" else _measured(kind, config, folder)


def by_formula(folder: Path) -> bool:
    """True where `shape_of` needs neither weights nor a library. Raises ModelError where config.json is missing."""
    kind = str(read_config(folder).get("model_type"))
    return kind in FAMILIES or kind == "gpt2"


def room_of(folder: Path) -> TokenRoom:
    """Token limits of a model's folder; unknown for one without a config.json. Raises as `shape_of` does."""
    if not (folder / "config.json").is_file():
        return TokenRoom()
    shape = shape_of(folder)
    return TokenRoom(shape.vocab, positions=shape.positions, context=shape.context or None)


def _measured(kind: str, config: Mapping[str, Any], folder: Path) -> ModelShape:
    """The shape of an architecture that has no formula here, from its tensors.

    They are those of the safetensors headers; where there are no weights, or tensors of a quantised format in their
    place, those that transformers makes of the config.
    """
    if _has_weights(folder) and not is_quantised(config):
        return shape_of_tensors(
            kind, config, [tensor for header in headers(folder).values() for tensor in header]
        )
    from engine.models.unloaded import unloaded

    model = unloaded(folder)
    return shape_of_tensors(kind, model.config, model.tensors)


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) or (folder / INDEX).is_file()
