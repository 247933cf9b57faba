"""A trained model of the Llama architecture in other weights of the same function: wider, and rotated.

The starter is an odd one to measure quantisation on: its 576 values a row are no multiple of the 256 that K-quants
take, and it was published in 4 bits, so that its weights lie on few levels. Here the residual stream gets 768 values,
and an orthogonal rotation R spreads the model over all of them (as in SliceGPT, arXiv:2401.15024, and QuaRot,
arXiv:2404.00456): W becomes W R, and what writes into the stream Rᵀ W. Norms are folded into the matrices behind them,
because a rotation commutes with x / ‖x‖ alone; embedding and output layer are then two matrices. Heads of zeros fill up
the attention. Answers stay as they are up to rounding in fp32 (the benchmark's line of `merged fp32` has it), while no
weight is what it was, and rows are multiples of 256.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.models.local import TOKENIZER_FILES
from engine.parity.torch_model import Reference
from engine.runs.directory.trained_model import TrainedModel

WIDTH = 768


def rotated(model: TrainedModel, folder: Path, seed: int = 0) -> Path:
    """Write the model, its adapter merged by PEFT, into a folder in fp32; the folder."""
    from transformers import LlamaConfig, LlamaForCausalLM

    base = model.base_folder()
    network = Reference(model, base, False, lambda: None).network
    network = network.merge_and_unload() if hasattr(network, "merge_and_unload") else network
    narrow = network.config.hidden_size
    settings = network.config.to_dict() | {"hidden_size": WIDTH, "tie_word_embeddings": False}
    # The norm divides by the root of the mean square, which is over more values now.
    settings["rms_norm_eps"] = network.config.rms_norm_eps * narrow / WIDTH
    heads, pairs = network.config.num_attention_heads, network.config.num_key_value_heads
    settings["head_dim"] = narrow // heads
    settings["num_attention_heads"] = WIDTH // settings["head_dim"]
    settings["num_key_value_heads"] = settings["num_attention_heads"] * pairs // heads
    wide = LlamaForCausalLM(LlamaConfig(**settings)).float()
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64))[0][:narrow]
    with torch.no_grad():
        _fill(wide, network, turn, (narrow / WIDTH) ** 0.5)
    wide.generation_config = network.generation_config
    wide.save_pretrained(folder)
    for name in (*TOKENIZER_FILES, "chat_template.jinja"):
        for source in (base, model.adapter):
            if source is not None and (source / name).is_file():
                shutil.copyfile(source / name, folder / name)
    return folder


def _fill(wide: Any, network: Any, turn: Tensor, shrink: float) -> None:
    """Give the wide model the function of the narrow one; `turn` has the first rows of R, `shrink` is √(n / N)."""

    def reads(target: nn.Linear, source: nn.Linear, norm: nn.Module) -> None:
        weight = source.weight.double() * norm.weight.double() * shrink
        target.weight.zero_()
        target.weight[: len(weight)] = (weight @ turn).float()

    def writes(target: nn.Linear, source: nn.Linear) -> None:
        target.weight.zero_()
        target.weight[:, : source.in_features] = (turn.T @ source.weight.double()).float()

    embedding = network.get_input_embeddings().weight.double()
    wide.model.embed_tokens.weight.copy_((embedding @ turn).float())
    for to, of in zip(wide.model.layers, network.model.layers, strict=True):
        for name in ("q_proj", "k_proj", "v_proj"):
            reads(getattr(to.self_attn, name), getattr(of.self_attn, name), of.input_layernorm)
        for name in ("gate_proj", "up_proj"):
            reads(getattr(to.mlp, name), getattr(of.mlp, name), of.post_attention_layernorm)
        writes(to.self_attn.o_proj, of.self_attn.o_proj)
        writes(to.mlp.down_proj, of.mlp.down_proj)
    reads(wide.lm_head, network.lm_head, network.model.norm)
