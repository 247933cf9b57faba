"""PEFT's adapter_config.json; names and defaults from PEFT 0.21. It tells of an adapter alone."""

from collections.abc import Mapping

from engine.config.adapters import PEFT_TYPES, AdapterType
from engine.config.migration import lora
from engine.config.migration.convert import real, text, whole
from engine.config.migration.draft import Draft
from engine.config.migration.rules import By, No, Table, To, each

NAME = "PEFT"
SIGNS = frozenset(("peft_type", "base_model_name_or_path", "inference_mode", "task_type", "peft_version"))
"""Keys that no other of the tools writes."""
NUMBERS: Mapping[AdapterType, Mapping[str, str]] = {
    "adalora": {"target_r": "rank", "init_r": "initial_rank"},
    "loha": {"r": "rank"},
    "lokr": {"r": "rank"},
    "vera": {"r": "rank"},
    "oft": {"oft_block_size": "block_size"},
    "boft": {"boft_block_size": "block_size"},
    "prefix": {"num_virtual_tokens": "virtual_tokens"},
    "prompt": {"num_virtual_tokens": "virtual_tokens"},
    "ptuning": {"num_virtual_tokens": "virtual_tokens", "encoder_hidden_size": "encoder_size"},
}
"""Whole numbers of the other types: our keys by PEFT's."""
DROPOUT: Mapping[AdapterType, str] = {
    "adalora": "lora_dropout",
    "boft": "boft_dropout",
    "vera": "vera_dropout",
}


def base(draft: Draft) -> None:
    """The model that the adapter was trained on."""
    key = "base_model_name_or_path"
    if draft.has(key):
        draft.take("model.base", draft.places.model(draft.read(key, text, "")), key)


def adapter(draft: Draft) -> None:
    """The type, and the keys that this type has."""
    name = draft.read("peft_type", text, "LORA").upper()
    kind = PEFT_TYPES.get(name)
    if kind is None:
        draft.leave(["peft_type"], "ft does not train this type", "adapter.type: lora")
    else:
        draft.take("adapter.type", kind, "peft_type")
    if kind is None or kind == "lora":
        lora.strength(draft, "r", "lora_alpha", "lora_dropout", (8, 8.0, 0.0))
        lora.targets(draft, "target_modules", "modules_to_save", ["q_proj", "v_proj"])
        lora.kind(draft, "use_dora", "use_rslora", "init_lora_weights")
        return
    for theirs, ours in NUMBERS.get(kind, {}).items():
        if draft.has(theirs) and (number := draft.read(theirs, whole, 0)) > 0:
            draft.take(f"adapter.{ours}", number, theirs)
    alpha = "lora_alpha" if kind == "adalora" else "alpha"
    if kind in ("adalora", "loha", "lokr"):
        draft.take("adapter.alpha", draft.read(alpha, real, 8.0), alpha)
    if kind in DROPOUT:
        draft.take("adapter.dropout", draft.read(DROPOUT[kind], real, 0.0), DROPOUT[kind])
    if draft.has("target_modules"):
        lora.targets(draft, "target_modules", "modules_to_save", "all-linear")


def nothing_else(draft: Draft) -> None:
    """Say what the file cannot tell."""
    draft.note(
        "PEFT's file tells nothing of rows and training",
        "ft's defaults; adapter.from would go on with its weights",
    )


_KEYS = (
    "adapter.type", *lora.ADAPTER, *lora.TARGETS, "adapter.rslora", "adapter.init", "adapter.initial_rank",
    "adapter.block_size", "adapter.virtual_tokens", "adapter.encoder_size",
)  # fmt: skip
TABLE: Table = {
    "base_model_name_or_path": By(base, ("model.base",)),
    "revision": To("model.revision", text),
    **each(
        "peft_type r lora_alpha lora_dropout target_modules modules_to_save use_dora use_rslora init_lora_weights "
        "target_r init_r alpha oft_block_size boft_block_size boft_dropout vera_dropout num_virtual_tokens "
        "encoder_hidden_size",
        By(adapter, _KEYS),
    ),
    "task_type": By(nothing_else, ()),
    **each(
        "inference_mode peft_version auto_mapping lora_bias megatron_core megatron_config runtime_config",
        No("says nothing of how it is trained"),
    ),
    **each(
        "rank_pattern alpha_pattern layers_to_transform layers_pattern layer_replication exclude_modules",
        No("one rank and alpha for all layers", "all layers of these names get it"),
    ),
    **each(
        "bias trainable_token_indices target_parameters",
        No("ft trains no biases, and rows of added tokens alone"),
    ),
    **each(
        "loftq_config eva_config corda_config lora_ga_config qalora_group_size use_qalora alora_invocation_tokens",
        No("ft has no such start or variant"),
    ),
    **each("fan_in_fan_out ensure_weight_tying arrow_config", No("ft finds it out by itself")),
}
