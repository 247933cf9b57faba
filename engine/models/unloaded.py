"""Tensors of a model whose weights are not here: transformers builds it from config.json alone, without values.

It is built on torch's meta device, which keeps shapes and no numbers, so a model of any size takes next to no memory.
Python code of the model's own folder is never run.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import ModelError
from engine.models.config_values import AGAIN, architectures
from engine.models.local import read_config
from engine.models.weight_headers import Header, TensorInfo

NEEDED = ("torch", "transformers")


@dataclass(frozen=True)
class Unloaded:
    """A model as its config.json describes it.

    `config` has every value, also those that the file leaves to transformers; a tied matrix is among `tensors` once.
    Experts are as transformers holds them: all of a layer in one tensor with three dimensions.
    """

    config: Mapping[str, Any]
    tensors: Header


def unloaded(folder: Path) -> Unloaded:
    """The model that `folder`'s config.json describes. Raises ModelError where transformers cannot build it."""
    path = folder / "config.json"
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise ModelError(
            f"{path}: an architecture whose size only {' and '.join(missing)} can tell without weights.",
            f"pip install {' '.join(missing)}",
        )
    kind = str(read_config(folder)["model_type"])
    if kind not in architectures():
        raise ModelError(
            f"The architecture {kind} of {folder} is unknown here, and there are no weights that would show its size.",
            "A newer transformers may know it: pip install -U transformers.",
        )
    try:
        with _quiet():
            model = _build(folder)
    except Exception as error:  # whatever a class makes of the values in a config
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{path} has a value that a {kind} model cannot have: {problem}", AGAIN) from error
    tensors = (TensorInfo(name, "F32", tuple(one.shape)) for name, one in model.named_parameters())
    return Unloaded(model.config.to_dict(), tuple(tensors))


def _build(folder: Path) -> Any:
    """The model without values, of the class that its config names, or the one that transformers has for its kind."""
    import torch
    import transformers
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    named = [getattr(transformers, str(name), None) for name in config.architectures or ()]
    own = [one for one in named if one is not None and getattr(one, "config_class", None) is type(config)]
    with torch.device("meta"):
        if own:
            return own[0](config)
        autos = (AutoModelForCausalLM, AutoModelForMaskedLM, AutoModel)
        auto = next((auto for auto in autos if type(config) in auto._model_mapping), AutoModel)
        return auto.from_config(config, trust_remote_code=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """No advice of transformers on how to use a model that is only measured."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
