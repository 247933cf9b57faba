"""Merging an adapter into full weights: the result answers as the adapter on its base does, for every kind of LoRA."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from engine.backends.refilled import greedy_answers
from engine.backends.torch.causal_lm import TorchModel
from engine.backends.torch.vocabulary import grow
from engine.data.token_spec import TokenSpec
from engine.data.tokenization.tokenizer import new_tokens
from engine.errors import ModelError
from engine.merging.merged import MergedTensors, merged_tensors
from engine.runs.directory.trained_model import TrainedModel
from tests.tiny import change_json, make_family

LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IDS = torch.arange(3, 40)[None]


def model_of(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model(IDS).logits


def trained(base: Path, out: Path, seed: int = 1, **settings: Any) -> tuple[TrainedModel, torch.Tensor]:
    """An adapter by PEFT whose trained values were all moved at random, and the logits that it gives on its base."""
    torch.manual_seed(seed)
    lora = peft.LoraConfig(**{"r": 4, "lora_alpha": 6, "task_type": "CAUSAL_LM"} | settings)
    return moved(peft.get_peft_model(model_of(base), lora), base, out, seed)


def moved(model: Any, base: Path, out: Path, seed: int = 1) -> tuple[TrainedModel, torch.Tensor]:
    """The trained values of a PEFT model moved at random and saved, and the logits that they give."""
    torch.manual_seed(seed)
    done = set()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and parameter.data_ptr() not in done and ".ranknum." not in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
                done.add(parameter.data_ptr())
    model.eval().save_pretrained(out, save_embedding_layers=False)
    return TrainedModel(base, out), logits(model)


def written(merged: MergedTensors, base: Path, folder: Path) -> Any:
    """The merged weights as transformers loads them."""
    folder.mkdir()
    save_file(
        {name: merged.read(name) for name in merged.infos}, folder / "model.safetensors", {"format": "pt"}
    )
    (folder / "config.json").write_text((base / "config.json").read_text())
    if merged.untied:
        change_json(folder / "config.json", tie_word_embeddings=False)
    if merged.vocabulary:
        change_json(folder / "config.json", vocab_size=merged.vocabulary)
    return model_of(folder)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Mapping[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    experts = {"moe_intermediate_size": 24, "num_experts_per_tok": 2, "head_dim": 8}
    made = {
        "untied": ("Llama", {"tie_word_embeddings": False, "attention_bias": True}),
        "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
        "qwen3_moe": ("Qwen3Moe", {"num_experts": 4, **experts}),
        "mixtral": ("Mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
    }
    tied = {"tied": tiny_model}
    return tied | {name: make_family(folder / name, tiny_model, *about) for name, about in made.items()}


CASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "LoRA": ("tied", {"target_modules": LLAMA}),
    "LoRA untied": ("untied", {"target_modules": LLAMA}),
    "rsLoRA": ("tied", {"target_modules": LLAMA, "use_rslora": True}),
    "DoRA": ("tied", {"target_modules": LLAMA, "use_dora": True}),
    "lora_bias": ("untied", {"target_modules": ["q_proj", "k_proj"], "lora_bias": True}),
    "ranks and alphas of layers": (
        "tied",
        {"target_modules": LLAMA, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"0.self_attn.q_proj": 9}},
    ),
    "embedding trained, tied": ("tied", {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}),
    "both trained, untied": (
        "untied",
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
    ),
    "both trained as one": (
        "tied",
        {
            "target_modules": ["q_proj"],
            "modules_to_save": ["embed_tokens", "lm_head"],
            "ensure_weight_tying": True,
        },
    ),
    "rows of tokens, tied": (
        "tied",
        {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [5, 9]}},
    ),
    "rows of tokens, untied": (
        "untied",
        {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [5, 9], "lm_head": [7]}},
    ),
    "LoRA on a tied output layer": ("tied", {"target_modules": ["q_proj", "lm_head"]}),
    "LoRA on a tied embedding": ("tied", {"target_modules": ["q_proj", "embed_tokens"]}),
    "LoRA on both, untied": ("untied", {"target_modules": ["embed_tokens", "lm_head"]}),
    "GPT-2": ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}),
    "GPT-2 with DoRA": (
        "gpt2",
        {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True, "use_dora": True},
    ),
    "attention of a mixture": ("qwen3_moe", {"target_modules": ["q_proj", "v_proj", "o_proj"]}),
    "experts of Qwen3-MoE": (
        "qwen3_moe",
        {"target_modules": ["q_proj", "gate_proj", "up_proj", "down_proj"]},
    ),
    "experts with rsLoRA": (
        "qwen3_moe",
        {"target_modules": ["q_proj", "gate_proj", "up_proj", "down_proj"], "use_rslora": True},
    ),
    "one projection of experts": (
        "qwen3_moe",
        {"target_modules": ["q_proj"], "target_parameters": ["experts.down_proj"]},
    ),
    "experts and router of Mixtral": ("mixtral", {"target_modules": ["q_proj", "gate", "w1", "w2", "w3"]}),
}


@pytest.mark.parametrize("case", CASES)
def test_merged_weights_answer_as_the_adapter_on_its_base(
    case: str, bases: Mapping[str, Path], tmp_path: Path
) -> None:
    name, settings = CASES[case]
    model, expected = trained(bases[name], tmp_path / "adapter", **settings)
    assert (logits(model_of(bases[name])) - expected).abs().max() > 1e-2, "the adapter has to do something"
    merged = merged_tensors(model, bases[name])
    found = logits(written(merged, bases[name], tmp_path / "merged"))
    assert (found - expected).abs().max() < 1e-4


OTHERS: Mapping[str, Any] = {
    "LoHa": peft.LoHaConfig(r=4, alpha=6, target_modules=LLAMA),
    "LoKr": peft.LoKrConfig(r=4, alpha=6, target_modules=LLAMA),
    "OFT": peft.OFTConfig(oft_block_size=8, target_modules=LLAMA),
    "BOFT": peft.BOFTConfig(boft_block_size=8, target_modules=LLAMA),
    "IA3": peft.IA3Config(target_modules=LLAMA, feedforward_modules=["down_proj"]),
    "VeRA": peft.VeraConfig(r=4, target_modules=["q_proj", "o_proj"]),
    "AdaLoRA": peft.AdaLoraConfig(init_r=4, target_r=2, total_step=9, target_modules=LLAMA),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_adapters_are_merged_too(kind: str, bases: Mapping[str, Path], tmp_path: Path) -> None:
    settings = copy.deepcopy(OTHERS[kind])
    settings.task_type = "CAUSAL_LM"
    model, expected = moved(
        peft.get_peft_model(model_of(bases["untied"]), settings), bases["untied"], tmp_path / "a"
    )
    assert (logits(model_of(bases["untied"])) - expected).abs().max() > 1e-2
    merged = merged_tensors(model, bases["untied"])
    found = logits(written(merged, bases["untied"], tmp_path / "merged"))
    assert (found - expected).abs().max() < 1e-4


@pytest.mark.parametrize("kind", [peft.PrefixTuningConfig, peft.PromptTuningConfig])
def test_virtual_tokens_are_refused(kind: Any, tiny_model: Path, tmp_path: Path) -> None:
    settings = kind(num_virtual_tokens=4, task_type="CAUSAL_LM")
    peft.get_peft_model(model_of(tiny_model), settings).save_pretrained(tmp_path, save_embedding_layers=False)
    with pytest.raises(ModelError, match="virtual tokens") as refused:
        merged_tensors(TrainedModel(tiny_model, tmp_path), tiny_model)
    assert "beside its base" in refused.value.hint


def test_a_bias_that_has_no_place_in_the_base_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    model, _ = trained(tiny_model, tmp_path / "a", target_modules=["q_proj"], lora_bias=True)
    with pytest.raises(ModelError, match=r"q_proj, which has none"):
        merged_tensors(model, tiny_model)


def test_a_bias_that_has_no_place_in_the_base_answers_beside_it(tiny_model: Path, tmp_path: Path) -> None:
    model, expected = trained(tiny_model, tmp_path / "a", target_modules=["q_proj"], lora_bias=True)
    opened = TorchModel.open(tiny_model, model.adapter)
    torch.testing.assert_close(logits(opened.network), expected, rtol=1e-4, atol=1e-4)
    (answer,) = [tokens for _, tokens in greedy_answers(opened, [[5, 6, 7]], [4], set(), 1, lambda: None)]
    assert answer == [*opened.stream([5, 6, 7], 4, set())]


def test_an_adapter_of_another_model_is_refused(bases: Mapping[str, Path], tmp_path: Path) -> None:
    model, _ = trained(bases["untied"], tmp_path / "a", target_modules=["q_proj"])
    with pytest.raises(ModelError, match="q_proj is 32 by 32 there, and 64 by 64 in the base"):
        merged_tensors(model, bases["tied"])


def test_an_adapter_with_nan_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    model, _ = trained(tiny_model, tmp_path / "a", target_modules=["q_proj"])
    file = tmp_path / "a" / "adapter_model.safetensors"
    tensors = load_file(file)
    next(iter(tensors.values()))[0, 0] = np.nan
    save_file(tensors, file)
    with pytest.raises(ModelError, match="NaN"):
        merged_tensors(model, tiny_model)


@pytest.mark.parametrize("base", ["tied", "untied"])
def test_added_tokens_have_the_rows_that_were_trained(
    base: str, bases: Mapping[str, Path], tmp_path: Path
) -> None:
    """The texts are tokens of their own, and the rows between them and the old ones are means."""
    texts = ("<order>", "</order>")
    tokens = new_tokens(bases[base], texts)
    model = model_of(bases[base])
    grow(model, tokens)
    named = [name for name in ("embed_tokens", "lm_head") if name == "embed_tokens" or base == "untied"]
    rows = {name: [token.id for token in tokens] for name in named}
    settings = peft.LoraConfig(
        r=4, target_modules=["q_proj"], task_type="CAUSAL_LM", trainable_token_indices=rows
    )
    found, expected = moved(peft.get_peft_model(model, settings), bases[base], tmp_path / "a")
    merged = merged_tensors(replace(found, spec=TokenSpec(add_tokens=texts)), bases[base])
    assert merged.vocabulary == max(token.id for token in tokens) + 1
    made = written(merged, bases[base], tmp_path / "merged")
    assert (logits(made) - expected).abs().max() < 1e-4
    ids = torch.tensor([[token.id for token in tokens]])
    with torch.no_grad():
        assert (made(ids).logits[..., ids[0]]).isfinite().all()


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_an_adapter_of_mlx_lm_is_merged_as_mlx_computes_it(
    kind: str, tiny_model: Path, tmp_path: Path
) -> None:
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.tuner.utils import linear_to_lora_layers
    from mlx_lm.utils import load, save_config

    model, *_ = load(str(tiny_model))
    model.freeze()
    parameters = {"rank": 4, "scale": 3.0, "dropout": 0.0}
    linear_to_lora_layers(model, 2, parameters, use_dora=kind == "dora")
    mx.random.seed(1)
    for path, value in tree_flatten(model.trainable_parameters()):
        model.load_weights([(path, value + 0.05 * mx.random.normal(value.shape))], strict=False)
    (tmp_path / "a").mkdir()
    mx.save_safetensors(
        str(tmp_path / "a" / "adapters.safetensors"), dict(tree_flatten(model.trainable_parameters()))
    )
    save_config(
        {"fine_tune_type": kind, "lora_parameters": parameters, "num_layers": 2, "model": str(tiny_model)},
        tmp_path / "a" / "adapter_config.json",
    )
    expected = np.array(model(mx.array(IDS.numpy())))
    merged = merged_tensors(TrainedModel.find(tmp_path / "a"), tiny_model)
    found = logits(written(merged, tiny_model, tmp_path / "merged")).numpy()
    assert np.abs(logits(model_of(tiny_model)).numpy() - expected).max() > 1e-2
    assert np.abs(found - expected).max() < 1e-4
