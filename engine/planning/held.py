"""A recipe on weights that are quantised already: planned as what they are."""

from engine.config.combinations import impossible
from engine.config.schema import TrainConfig
from engine.errors import ConfigError
from engine.models.shape import ModelShape


def as_held(config: TrainConfig, shape: ModelShape | None) -> TrainConfig:
    """The recipe with the quantization that the model's folder holds; as it is for weights that are not quantised.

    Raises ConfigError where the recipe asks for another one, or for what cannot be done with quantised weights.
    """
    held = shape.held if shape is not None else None
    if held is None:
        return config
    asked = config.model.quantization
    if asked not in ("none", held.quantization):
        raise ConfigError(
            f"model.quantization: {asked}, and the model's weights are {held.quantization} of bitsandbytes already",
            f"Leave the key out: it is trained as it is. Or use the model that it was made from with {asked}.",
        )
    settings = {
        "quantization": held.quantization,
        "quant_type": held.quant_type,
        "double_quant": held.double_quant,
    }
    changed = config.model_copy(update={"model": config.model.model_copy(update=settings)})
    if problems := [one for one in impossible(changed) if one not in impossible(config)]:
        why = problems[0].partition(": ")[2].partition(";")[0]
        raise ConfigError(
            f"The model's weights are held in {held.bits} bits (bitsandbytes): {why}.",
            "Use the model that it was made from, whose weights are not quantised.",
        )
    return changed
