"""Models and adapters from their folders, strictly: every weight is the file's own, none is left random."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer

from engine.errors import FtError, ModelError, first_line
from engine.hardware.memory import is_exhaustion
from engine.models import adapter_files
from engine.models.local import headers, read_config
from engine.models.mismatch import (
    Mismatch,
    no_numbers,
    refuse_damaged_weights,
    refuse_foreign_adapter,
    refuse_foreign_weights,
)
from engine.models.prequantized import Packed

DROPOUTS = ("lora_dropout", "boft_dropout", "vera_dropout")
"""Names of dropout in PEFT's types of adapter."""
CHECK = "check that the folder is complete (`ft models show`), or fetch the model again"


def load_causal(
    folder: Path, *, dtype: torch.dtype | str, device: str, trust_remote_code: bool, **more: Any
) -> Any:
    """The transformers model of `folder`, on `device` with its weights as `dtype` ("auto": as they lie there).

    `more` goes to `from_pretrained`. Raises ModelError where the folder does not load, or where its weights are not
    exactly those of the model in its config.json.
    """
    import transformers

    if packed := Packed.of(read_config(folder)):
        raise packed.refused(str(folder))
    try:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            device_map={"": device},
            trust_remote_code=trust_remote_code,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, by name, with all else
            **more,
        )
    except Exception as error:  # the settings of a stranger can go wrong in any way
        if is_exhaustion(error):
            raise
        raise ModelError(f"{folder}: the model does not load: {first_line(error)}", CHECK) from error
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    refuse_foreign_weights(
        folder,
        Mismatch(
            sorted(parameters.intersection(info["missing_keys"])),  # a buffer follows from config.json
            sorted(info["unexpected_keys"]),
            sorted((name, tuple(found), tuple(own)) for name, found, own in info["mismatched_keys"]),
        ),
    )
    refuse_damaged(model, folder)
    return model


@contextmanager
def trying_out(folder: Path) -> Iterator[None]:
    """Turn a failure of the model of `folder` as it first computes into a ModelError."""
    try:
        yield
    except Exception as error:  # the settings of a stranger can go wrong in any way
        if is_exhaustion(error) or isinstance(error, FtError):
            raise
        raise ModelError(f"{folder}: the model does not run: {first_line(error)}", CHECK) from error


def refuse_damaged(model: torch.nn.Module, folder: Path) -> None:
    """Raise ModelError where a weight is no number, or what config.json makes (the angles of a rotation) is none.

    A NaN in here need not show in what the model says: on a CPU, torch's fused attention turns NaN scores into zeros.
    """
    weights = ((name, value) for name, value in model.named_parameters() if value.is_floating_point())
    refuse_damaged_weights(folder, [name for name, value in weights if not _is_finite(value)])
    for name, value in model.named_buffers():
        if value.is_floating_point() and bool(value.isnan().any()):
            raise no_numbers(folder, name)


def _is_finite(value: torch.Tensor) -> bool:
    """Return True if all values are finite. A sum shows it in one pass, and is wrong only where it overflows."""
    return math.isfinite(float(value.detach().sum(dtype=torch.float32))) or bool(value.isfinite().all())


def load_adapter(
    model: Any, folder: Path, trainable: bool = False, dropout: float = 0.0, name: str = "default"
) -> Any:
    """`model` with the adapter of `folder` (PEFT's layout) on it, frozen unless `trainable`, under that `name` beside
    others that it has.

    `dropout` takes the place of the one that it was trained with: of all settings, this alone belongs to a run.

    Raises ModelError where the folder holds no whole adapter, one with values that are no numbers, or one whose
    tensors are not exactly those that it would have on this model.
    """
    import peft

    adapter_files.check(folder)
    with _fitting(folder):
        config = peft.PeftConfig.from_pretrained(str(folder))
        config.inference_mode = not trainable
        for setting in DROPOUTS:
            if hasattr(config, setting):
                setattr(config, setting, dropout)
        if isinstance(model, peft.PeftModel):
            model.add_adapter(name, config)
        else:
            model = peft.PeftModelForCausalLM(model, config, adapter_name=name)
        return _filled(model, folder, trainable, name)


def merges(network: Any) -> bool:
    """Return True if PEFT can fold the adapter of `network` into its weights: a bias needs one to be added to."""
    return not any(
        getattr(module, "lora_bias", {}).get("default")
        and getattr(module.get_base_layer(), "bias", None) is None
        for module in network.modules()
        if isinstance(module, LoraLayer)
    )


def fill_adapter(model: Any, folder: Path) -> Any:
    """Put the values in `folder` into the adapter that `model` has. Raises ModelError as `load_adapter` does."""
    adapter_files.check(folder)
    with _fitting(folder):
        return _filled(model, folder, trainable=True)


@contextmanager
def _fitting(folder: Path) -> Iterator[None]:
    """Turn PEFT's error for an adapter that cannot be on a model into a ModelError."""
    try:
        yield
    except Exception as error:  # the settings of a stranger can go wrong in any way
        if is_exhaustion(error) or isinstance(error, FtError):
            raise
        raise ModelError(
            f"{folder}: the adapter does not load on this model: {first_line(error)}",
            "Use the base model that the adapter was trained on, or copy the adapter again.",
        ) from error


def _filled(model: Any, folder: Path, trainable: bool, name: str = "default") -> Any:
    # PEFT's own `from_pretrained` does the same, and only warns of what is missing.
    result = model.load_adapter(str(folder), name, is_trainable=trainable)
    # One tensor, which PEFT itself has held against the model.
    if model.peft_config[name].is_prompt_learning:
        return model
    missing = sorted(key.replace(f".{name}", "") for key in result.missing_keys)
    refuse_foreign_adapter(folder, Mismatch(missing, sorted(result.unexpected_keys)))
    return model


def refuse_other_weights(model: Any, folder: Path) -> None:
    """Refuse what `load_causal` refuses, for a model loaded by a program that does not say what it left random.

    Raises ModelError where the names in the files of `folder` are not those of the model's weights. Where
    transformers gives a family's weights other names as it loads them, nothing is compared.
    """
    if getattr(model, "_weight_conversions", None):
        return
    own = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    found = {tensor.name for header in headers(folder).values() for tensor in header}
    tied = {*model.all_tied_weights_keys, *model.all_tied_weights_keys.values()}
    missing = own - found - (tied if tied & found else set())
    ignored = [re.compile(pattern) for pattern in model._keys_to_ignore_on_load_unexpected or ()]
    known = own | {name for name, _ in model.named_buffers()}
    foreign = {
        name
        for name in found - known
        if not any(pattern.search(name) for pattern in ignored)
        and not any(name.startswith(f"{weight}.") for weight in known)  # how a weight in few bits is packed
    }
    refuse_foreign_weights(folder, Mismatch(sorted(missing), sorted(foreign)))
