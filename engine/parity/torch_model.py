"""Models in transformers: the trained one, which is the reference, and exports that transformers loads."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Float32, Message
from engine.models import adapter_files
from engine.models.tensors import FolderTensors
from engine.parity.exported import PLAIN_BASE, Distributions, Heartbeat, Probe, log_softmax, program
from engine.runs.directory.trained_model import TrainedModel

ROOM = 1.3
"""Memory that a model and its activations need, as a multiple of its weights."""


def next_tokens(network: Any, probes: Sequence[Probe]) -> Distributions:
    """Distributions of a transformers model, with an adapter or without, over its whole vocabulary."""
    import torch

    found = []
    for probe in probes:
        tokens = probe.tokens[: int(probe.positions[-1]) + 1].astype(np.int64)
        with torch.no_grad():
            ids = torch.from_numpy(tokens)[None].to(network.device)
            logits = network(input_ids=ids, use_cache=False).logits[0]
        places = torch.from_numpy(probe.positions.astype(np.int64)).to(logits.device)
        # The last ones of all: virtual tokens of an adapter stand in front.
        found.append(log_softmax(logits[-len(tokens) :][places].float().cpu().numpy()))
    return Distributions(np.concatenate(found))


def watched(network: Any, heartbeat: Heartbeat) -> Any:
    """The network, which calls the heartbeat before each of its layers: one pass of a large one takes a minute."""
    import torch

    def beat(layer: Any, inputs: Any) -> None:
        heartbeat()

    for layers in network.modules():
        if isinstance(layers, torch.nn.ModuleList):
            for layer in layers:
                layer.register_forward_pre_hook(beat)
    return network


def load_base(model: TrainedModel, base: Path, trust_remote_code: bool) -> tuple[Any, Tokenizer, str]:
    """The network of a base with rows for the model's new tokens, its tokenizer, and how it computes.

    Raises ModelError where it does not load.
    """
    import torch

    from engine.backends.torch.loading import load_causal
    from engine.backends.torch.vocabulary import grow

    device = "cuda" if torch.cuda.is_available() else "cpu"
    fits = ROOM * 4 * sum(info.size for info in FolderTensors(base).infos.values()) < _room(device)
    network = load_causal(
        base,
        dtype=torch.float32 if fits else "auto",
        device=device,
        trust_remote_code=trust_remote_code,
    )
    tokenizer = model.spec.tokenizer(base)
    grow(network, tokenizer.new)
    return network, tokenizer, "fp32" if fits else "the weights' own format"


class Reference:
    """The trained model: its adapter beside the base's weights, never merged, computed in fp32.

    That is what training has optimised, without the rounding that a run in 16 bits adds to each of its products.
    Where fp32 does not fit into memory, the weights' own format is used: `dtype` says which.
    """

    def __init__(
        self, model: TrainedModel, base: Path, trust_remote_code: bool, heartbeat: Heartbeat
    ) -> None:
        """Raises ModelError where the base or the adapter does not load."""
        from engine.backends.torch.loading import load_adapter

        network, self.tokenizer, dtype = load_base(model, base, trust_remote_code)
        self.about = f"adapter unmerged, {dtype}" if model.adapter else dtype
        if model.adapter is not None:
            network = load_adapter(network, model.adapter)
        self.network = watched(network.eval(), heartbeat)

    def next_tokens(self, probes: Sequence[Probe]) -> Distributions:
        """Distributions of the next token at every place of the probes, in their order."""
        return next_tokens(self.network, probes)

    def weights(self) -> Iterator[tuple[str, Float32]]:
        """The base's tensors with PEFT's own sum of the adapter in them, in fp32. The model is used up by it.

        PEFT's, so that an export is not held against the same code that it was made with.
        """
        adapted = hasattr(self.network, "merge_and_unload")
        network = self.network.merge_and_unload() if adapted else self.network
        for name, value in network.named_parameters():
            yield name, value.detach().float().cpu().numpy()


class TransformersModel:
    """An export that transformers loads. See `engine.parity.exported.Exported`."""

    def __init__(self, network: Any, tokenizer: Any, folder: Path | None, heartbeat: Heartbeat) -> None:
        """`folder` holds its weights; None for an adapter, whose tensors are none of the base's."""
        self.network, self.tokenizer, self.folder = watched(network.eval(), heartbeat), tokenizer, folder
        self.program = program("transformers", "transformers")

    def next_tokens(self, probes: Sequence[Probe]) -> Distributions:
        return next_tokens(self.network, probes)

    def text_ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        return template_ids(self.tokenizer, messages)

    def weights(self) -> Iterator[tuple[str, Float32]]:
        if self.folder is not None:
            tensors = FolderTensors(self.folder)
            yield from ((name, tensors.read(name)) for name in tensors.infos)


def template_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Tokens of a conversation by a transformers tokenizer. Raises ValueError where its template refuses them."""
    import jinja2

    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    except jinja2.TemplateError as error:
        raise ValueError(str(error)) from error
    return list(tokenizer.encode(text, add_special_tokens=False))


@contextmanager
def open_folder(
    model: TrainedModel, out: Path, facts: Mapping[str, Any], heartbeat: Heartbeat
) -> Iterator[TransformersModel]:
    """A whole model, loaded by transformers alone, in fp32 so that only what its weights have lost is measured."""
    import torch
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32, local_files_only=True)
    yield TransformersModel(network, _tokenizer(out), out, heartbeat)


@contextmanager
def open_adapter(
    model: TrainedModel, out: Path, facts: Mapping[str, Any], heartbeat: Heartbeat
) -> Iterator[TransformersModel]:
    """An adapter in PEFT's layout, loaded by PEFT onto the base, with the tokenizer that lies beside it.

    Of a base whose quantised weights transformers cannot read, the facts name a folder with what they stand for.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = Path(facts.get(PLAIN_BASE) or model.base_folder())
    network = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
    tokenizer = _tokenizer(out if (out / "tokenizer_config.json").is_file() else base)
    if len(tokenizer) > network.get_input_embeddings().num_embeddings:
        network.resize_token_embeddings(len(tokenizer))
    yield TransformersModel(PeftModel.from_pretrained(network, str(out)), tokenizer, None, heartbeat)


def open_either(
    model: TrainedModel, out: Path, facts: Mapping[str, Any], heartbeat: Heartbeat
) -> AbstractContextManager[TransformersModel]:
    """A whole model, or the one adapter that several were combined into."""
    opened = open_adapter if (out / adapter_files.CONFIG).is_file() else open_folder
    return opened(model, out, facts, heartbeat)


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def _room(device: str) -> float:
    """Bytes of memory that are free for a model."""
    if device == "cuda":
        import torch

        return float(torch.cuda.mem_get_info()[0])
    from engine.hardware.memory import memory

    return float(memory()[1] or math.inf)
