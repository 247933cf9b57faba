"""Unsloth's model and adapter under the project's own step: the torch backend, with another way to load.

Unsloth brings its own attention, layers and checkpointing, so none of ours are put on the model. Import this module
before anything that brings in torch or transformers: Unsloth replaces parts of them as it is imported.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from engine import paths

# Read as Unsloth is imported: tell nobody about this machine, and write generated code where caches belong.
os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")
os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(paths.cache() / "unsloth"))

from unsloth import FastLanguageModel

from engine.backends.torch.adapters import settings, start
from engine.backends.torch.causal_lm import TorchModel
from engine.backends.torch.loading import fill_adapter, refuse_damaged, refuse_other_weights
from engine.backends.torch.model import DTYPES
from engine.config.schema import TrainConfig
from engine.errors import ConfigError, ModelError, first_line
from engine.hardware.memory import is_exhaustion
from engine.planning.plan import Plan


class UnslothModel(TorchModel):
    """See `engine.backends.base.Model`."""

    own_layers: ClassVar[bool] = False

    @staticmethod
    def casts(plan: Plan, config: TrainConfig) -> bool:
        """As Unsloth's own trainer does: fp32 adapters, half-precision products."""
        return plan.compute_dtype != "fp32"

    @staticmethod
    def load_network(plan: Plan, config: TrainConfig, folder: Path, adapter: Path | None) -> Any:
        """The model of `folder` with its adapter, ready to train. Raises ModelError, ConfigError."""
        checkpointing = "unsloth" if plan.gradient_checkpointing else False
        model = _with_lora(_base(plan, config, folder, checkpointing), config, checkpointing)
        if adapter is not None:
            fill_adapter(model, adapter)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        return model

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Unsloth has a mode for answers, with a key-value cache, and one for training."""
        was = self.network.training
        FastLanguageModel.for_inference(self.network)
        try:
            yield
        finally:
            FastLanguageModel.for_training(self.network)
            self.network.train(was)


def _base(plan: Plan, config: TrainConfig, folder: Path, checkpointing: str | bool) -> Any:
    try:
        model, _ = FastLanguageModel.from_pretrained(
            model_name=str(folder),
            max_seq_length=config.model.max_seq_length,
            dtype=DTYPES[plan.compute_dtype],
            load_in_4bit=config.model.quantization == "4bit",
            device_map={"": plan.device},
            trust_remote_code=config.model.trust_remote_code,
            use_gradient_checkpointing=checkpointing,
            use_exact_model_name=True,  # else a known model is fetched again, quantised by them
            fix_tokenizer=False,
            local_files_only=True,
        )
    except Exception as error:  # the settings of a stranger can go wrong in any way
        if is_exhaustion(error):
            raise
        raise ModelError(
            f"{folder}: Unsloth does not load the model: {first_line(error)}",
            "check that the folder is complete (`ft models show`), or use backend: peft",
        ) from error
    refuse_other_weights(model, folder)
    refuse_damaged(model, folder)
    return model


def _with_lora(model: Any, config: TrainConfig, checkpointing: str | bool) -> Any:
    wanted = settings(model, config.adapter, steps=0)  # steps are AdaLoRA's
    targets = wanted.target_modules
    try:
        model = FastLanguageModel.get_peft_model(
            model,
            r=wanted.r,
            target_modules=targets if isinstance(targets, str) else sorted(targets),
            lora_alpha=wanted.lora_alpha,
            lora_dropout=wanted.lora_dropout,
            use_rslora=wanted.use_rslora,
            use_gradient_checkpointing=checkpointing,
            random_state=config.seed,
        )
    except ValueError as error:
        raise ConfigError(
            f"adapter.target_modules: {error}",
            "use all-linear, or names of linear layers as `ft models show` lists them",
        ) from error
    start(model, config.adapter, config.seed)
    return model
