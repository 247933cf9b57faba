"""Architectures that ft is tested with, by the `model_type` of config.json: other names, good layers, backends.

Any other is trained too, by the class that transformers' auto classes take for it; `untested` is the warning.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from engine import plugins
from engine.errors import Notice
from engine.text import printable

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
GATED_MLP = ("gate_proj", "up_proj", "down_proj")
FUSED_ATTENTION = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")
"""One matrix for query, key and value, the output, and both of the MLP, in the names of the first large models."""
DELTA_RULE = ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj")
"""Linear attention of Qwen 3.5's other layers."""
LATENT_ATTENTION = ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj")
ALL = ("peft", "unsloth", "mlx")
OTHERS = ("peft", "mlx")


@dataclass(frozen=True)
class Architecture:
    """One architecture, as config.json's `model_type` names it."""

    name: str
    classes: tuple[str, ...]
    """transformers' classes of it, as the `architectures` of config.json name them."""
    targets: tuple[str, ...] = ATTENTION + GATED_MLP
    """Linear layers that LoRA is known to work well on; in a mixture neither experts nor what weighs them."""
    backends: tuple[str, ...] = OTHERS
    """Backends that train it in ft's tests."""
    aliases: tuple[str, ...] = ()
    """Other values of `model_type` that are the same to transformers."""

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that it is called: its own name, aliases and classes."""
        return (self.name, *self.aliases, *self.classes)


OWN = (
    Architecture("llama", ("LlamaForCausalLM",), backends=ALL),
    Architecture("mistral", ("MistralForCausalLM",), backends=ALL),
    Architecture("mixtral", ("MixtralForCausalLM",), ATTENTION, ALL),
    Architecture("qwen2", ("Qwen2ForCausalLM",), backends=ALL),
    Architecture("qwen2_moe", ("Qwen2MoeForCausalLM",), ATTENTION),
    Architecture("qwen3", ("Qwen3ForCausalLM",), backends=ALL),
    Architecture("qwen3_moe", ("Qwen3MoeForCausalLM",), ATTENTION, ALL),
    Architecture("gemma", ("GemmaForCausalLM",)),
    Architecture("gemma2", ("Gemma2ForCausalLM",), backends=ALL),
    Architecture("gemma3_text", ("Gemma3ForCausalLM",), backends=ALL),
    Architecture(
        "gemma3", ("Gemma3ForConditionalGeneration",)
    ),  # sees too; its language model is what is trained
    Architecture("phi", ("PhiForCausalLM",), ("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2")),
    Architecture("phi3", ("Phi3ForCausalLM",), ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"), ALL),
    Architecture("smollm3", ("SmolLM3ForCausalLM",), backends=ALL),
    Architecture("gpt2", ("GPT2LMHeadModel",), ("c_attn", "c_proj", "c_fc"), ALL, aliases=("gpt-sw3",)),
    Architecture(
        "gptj",
        ("GPTJForCausalLM",),
        ("q_proj", "k_proj", "v_proj", "out_proj", "fc_in", "fc_out"),
        ("peft",),
    ),
    Architecture("gpt_neox", ("GPTNeoXForCausalLM",), FUSED_ATTENTION, ("peft",)),
    Architecture("gpt_oss", ("GptOssForCausalLM",), ATTENTION, ("peft",)),
    Architecture("bloom", ("BloomForCausalLM",), FUSED_ATTENTION, ("peft",)),
    Architecture("falcon", ("FalconForCausalLM",), FUSED_ATTENTION, ("peft",)),
    Architecture(
        "opt", ("OPTForCausalLM",), ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"), ("peft",)
    ),
    Architecture("granite", ("GraniteForCausalLM",)),
    Architecture("olmo2", ("Olmo2ForCausalLM",)),
    Architecture("olmoe", ("OlmoeForCausalLM",), ATTENTION),
    Architecture("stablelm", ("StableLmForCausalLM",)),
    Architecture("olmo3", ("Olmo3ForCausalLM",), backends=("peft",)),
    Architecture("qwen3_5_text", ("Qwen3_5ForCausalLM",), (*ATTENTION, *GATED_MLP, *DELTA_RULE), ("peft",)),
    Architecture(
        "qwen3_next",
        ("Qwen3NextForCausalLM",),
        (*ATTENTION, "in_proj_qkvz", "in_proj_ba", "out_proj"),
        ("peft",),
    ),
    Architecture("deepseek_v2", ("DeepseekV2ForCausalLM",), LATENT_ATTENTION, ("peft",)),
    Architecture("deepseek_v3", ("DeepseekV3ForCausalLM",), LATENT_ATTENTION, ("peft",)),
    Architecture("llama4_text", ("Llama4ForCausalLM",), ATTENTION, ("peft",)),
    Architecture("glm4", ("Glm4ForCausalLM",), (*ATTENTION, "gate_up_proj", "down_proj"), ("peft",)),
    Architecture("granitemoe", ("GraniteMoeForCausalLM",), ATTENTION, ("peft",)),
    Architecture("exaone4", ("Exaone4ForCausalLM",), backends=("peft",)),
    Architecture("ernie4_5", ("Ernie4_5ForCausalLM",), backends=("peft",)),
    Architecture("seed_oss", ("SeedOssForCausalLM",), backends=("peft",)),
    Architecture("starcoder2", ("Starcoder2ForCausalLM",), (*ATTENTION, "c_fc", "c_proj")),
)
"""Every record is held against transformers, and trained with each of its backends, by tests/test_architectures.py."""
_BY_NAME = {name: one for one in OWN for name in one.names}


def architectures() -> tuple[Architecture, ...]:
    """All of them: ft's own, then those of other packages. Raises MachineError where a package does not load."""
    others = sorted(plugins.installed(plugins.ARCHITECTURES).keys() - _BY_NAME.keys())
    return (*OWN, *dict.fromkeys(map(_load, others)))


def architecture_of(kind: str) -> Architecture | None:
    """The architecture of a `model_type`, or of a class's name; None for one that ft is not tested with.

    Raises MachineError where the package that brings it does not load.
    """
    if kind in _BY_NAME:
        return _BY_NAME[kind]
    return _load(kind) if kind in plugins.installed(plugins.ARCHITECTURES) else None


def untested(kind: str, backend: str | None = None, how: str = "", own_code: bool = False) -> Notice | None:
    """The warning for a `model_type` that ft is not tested with, or not on `backend`; None for the others.

    `how` says what is trained, as "with adapters on q_proj, v_proj"; both are left out where they are not settled yet.
    `own_code`: the model's own code may run. Backends of other packages are theirs to test.
    """
    known = architecture_of(kind)
    if backend is not None and backend not in _TRAINED_BY:
        return None
    if known is not None and backend in (None, *known.backends):
        return None
    where = f" on {backend}" if known else ""
    message = f"{printable(kind)} is not among the architectures that ft is tested with{where}"
    if backend is not None:
        code = "the code in its folder, or transformers' own class," if own_code else _TRAINED_BY[backend]
        message += f": {code} trains it" + (f", {how}" if how else "")
    tested = f"`backend: {known.backends[0]}` is tested. " if known else ""
    return Notice(
        f"{message}.",
        f"{tested}Try a few steps first, as with --set training.max_steps=20; adapter.target_modules can name other "
        "layers. `ft models architectures` lists what is tested.",
    )


def unknown_layer_hint(kind: str, layers: Iterable[str]) -> str:
    """The end of an error that a model of this kind has no layer of some name; `layers` are those that it has."""
    known = architecture_of(kind)
    good = [name for name in (known.targets if known else ()) if name in set(layers)]
    others = [name for name in layers if name not in good]
    if not good:
        return f"Layers that can get an adapter: {', '.join(others)}."
    hint = f"Known to work well with {kind}: {', '.join(good)}."
    return f"{hint} Others that can get an adapter: {', '.join(others)}." if others else hint


_TRAINED_BY = {
    "peft": "transformers' own class",
    "unsloth": "Unsloth's code or transformers' own class",
    "mlx": "mlx-lm's own code",
}
"""By ft's own backends."""


def _load(name: str) -> Architecture:
    return plugins.load_as(plugins.ARCHITECTURES, name, Architecture)
