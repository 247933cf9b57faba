"""Adapter settings that a recipe may have, and the errors for all others."""

from pathlib import Path

import pytest
import yaml

from engine.config.adapters import ADAPTER_TYPES, KEYS, Adapter, AdapterType
from engine.config.load import load_text
from engine.config.problems import RecipeError

GOOD = "model: {base: x}\ndata: {train: x}\n"


def refusal(text: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_text(text, Path("train.yml"))
    return caught.value.message


@pytest.mark.parametrize("kind", ADAPTER_TYPES)
def test_recipe_of_every_adapter_type_reads_back(kind: AdapterType) -> None:
    recipe = load_text(f"{GOOD}adapter: {{type: {kind}}}\n", Path("/recipes/train.yml"))
    again = load_text(recipe.resolved(), Path("/elsewhere/train.yml"))
    assert again.config.adapter == recipe.config.adapter == Adapter(type=kind)
    assert set(yaml.safe_load(recipe.resolved())["adapter"]) == {"type", *KEYS}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            GOOD + "adapter:\n  type: ia3\n  rank: 8\n",
            "train.yml:5:9: adapter.rank: is a key of lora, dora, adalora, loha, lokr and vera, and "
            "adapter.type is ia3; leave it out",
        ),
        (
            GOOD + "adapter: {virtual_tokens: 8}\n",
            "adapter.virtual_tokens: is a key of prefix, prompt and ptuning, and adapter.type is lora",
        ),
        (
            GOOD + "adapter: {type: vera, encoder_size: 8}\n",
            "adapter.encoder_size: is a key of ptuning, and adapter.type is vera; leave it out",
        ),
        (GOOD + "adapter: {type: dorra}\n", "did you mean dora?"),
        (GOOD + "adapter: {use_rslora: true}\n", "did you mean rslora?"),
        (GOOD + "adapter: {init_lora_weights: pissa}\n", "did you mean init?"),
        (
            GOOD + "adapter: {type: adalora, initial_rank: 16}\n",
            "adapter.initial_rank: 16 leaves nothing to prune down to rank 16; give a higher one",
        ),
        (
            "model: {base: x, quantization: 4bit}\ndata: {train: x}\nadapter: {type: boft}\n",
            "model.quantization: adapter.type: boft cannot be put on 4bit weights; use adapter.type: lora",
        ),
        (
            "model: {base: x, quantization: 8bit}\ndata: {train: x}\nadapter: {init: pissa}\n",
            "adapter.init: pissa takes its start out of the weights, which 8bit ones cannot give",
        ),
        (GOOD + "adapter: {init: loftq}\n", "loftq starts from what 4-bit weights lost"),
        (GOOD + "adapter: {init: orthogonal, rank: 7}\n", "orthogonal needs an even rank; use rank: 8"),
        (
            "model: {base: x}\ndata: {train: x, packing: true}\nadapter: {type: prompt}\n",
            "data.packing: prompt puts its virtual tokens in front of a row",
        ),
        (
            GOOD + "adapter: {type: prefix}\ntraining: {gradient_checkpointing: yes}\n",
            "training.gradient_checkpointing: prefix comes into the layers by the cache",
        ),
    ],
)
def test_conflicting_adapter_keys_are_told_in_place(text: str, message: str) -> None:
    assert message in refusal(text)


def test_full_training_leaves_an_adapters_keys_alone() -> None:
    load_text(GOOD + "adapter: {type: none, rank: 8, virtual_tokens: 5}\n", Path("train.yml"))
