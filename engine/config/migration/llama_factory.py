"""LLaMA-Factory's YAML or JSON; names and defaults from its hparams (August 2026)."""

from engine.config.migration import llama_factory_data, lora, steps
from engine.config.migration.convert import dft, is_off, number, real, switch, text, whole
from engine.config.migration.draft import Draft
from engine.config.migration.preference import LLAMA_FACTORY
from engine.config.migration.rules import By, No, Table, To, each, named
from engine.config.migration.steps import on
from engine.config.migration.training_arguments import LOADING, LOGS, OWN_FOLDER, SEVERAL, SPEED, TRACKED
from engine.config.migration.training_arguments import TABLE as ARGUMENTS

NAME = "LLaMA-Factory"
SIGNS = named(
    "finetuning_type stage template cutoff_len dataset dataset_dir lora_target lora_rank quantization_bit val_size "
    "eval_dataset mask_history neat_packing preprocessing_num_workers plot_loss double_quantization pref_beta "
    "pref_loss freeze_trainable_layers additional_target overwrite_cache train_on_prompt"
)
"""Keys that no other of the tools has."""
TEMPLATES = ("alpaca", "chatml", "gemma", "llama3", "mistral", "phi")
"""Templates that ft has under the same name."""


def adapter(draft: Draft) -> None:
    """LoRA, OFT, or every weight."""
    name = draft.read("finetuning_type", text, "lora").lower()
    if name == "full":
        draft.take("adapter.type", "none", "finetuning_type", why="ft's word for every weight")
        return
    if name == "oft":
        draft.take("adapter.type", "oft", "finetuning_type")
        draft.take("adapter.block_size", draft.read("oft_block_size", whole, 32), "oft_block_size")
        lora.targets(draft, "oft_target", "additional_target", "all-linear")
        return
    if name == "lora":
        draft.take("adapter.type", "lora", "finetuning_type")
    else:
        draft.leave(["finetuning_type"], "ft freezes no layers by themselves", "adapter.type: lora")
    lora.strength(draft, "lora_rank", "lora_alpha", "lora_dropout", (8, None, 0.0))
    lora.targets(draft, "lora_target", "additional_target", "all-linear")
    lora.kind(draft, "use_dora", "use_rslora", "init_lora_weights")
    if on(draft, "pissa_init"):
        draft.take("adapter.init", "pissa", "pissa_init", "pissa_iter")


def quantization(draft: Draft) -> None:
    """Frozen weights in 4 or 8 bits."""
    bits = draft.read("quantization_bit", whole, 0)
    if bits in (4, 8):
        draft.take("model.quantization", f"{bits}bit", "quantization_bit")
    elif bits:
        draft.leave(["quantization_bit"], "ft trains on 4-bit and 8-bit weights", "model.quantization: none")
    if draft.has("double_quantization"):
        draft.take(
            "model.double_quant", draft.read("double_quantization", switch, True), "double_quantization"
        )
    if draft.has("quantization_type"):
        draft.take("model.quant_type", draft.given["quantization_type"], "quantization_type")


def method(draft: Draft) -> None:
    """The stage of training."""
    stage = draft.read("stage", text, "sft").lower()
    if stage == "pt":
        draft.take("data.format", "completion", "stage", why="pre-training reads plain text")
    elif stage == "sft":
        draft.take("training.method", "sft", "stage")
    else:
        LLAMA_FACTORY.read(draft, "stage", stage)


def trained(draft: Draft) -> None:
    """All tokens, the last answer, or every answer."""
    if on(draft, "train_on_prompt"):
        draft.take("data.train_on", "all", "train_on_prompt")
    elif on(draft, "mask_history"):
        draft.take("data.train_on", "last", "mask_history")
    elif draft.has("train_on_prompt"):
        draft.take("data.train_on", "assistant", "train_on_prompt", "mask_history")


def template(draft: Draft) -> None:
    """LLaMA-Factory's own templates; most are the model's own, written anew."""
    name = draft.read("template", text, "")
    if name in TEMPLATES:
        draft.take("model.chat_template", name, "template")
    elif name:
        draft.take(
            "model.chat_template", "auto", "template", why="the model's own template in place of its copy"
        )
    if draft.has("enable_thinking"):
        thinks = draft.read("enable_thinking", switch, True)
        draft.take("model.template_variables", {"enable_thinking": thinks}, "enable_thinking")


def packing(draft: Draft) -> None:
    """Examples end to end in a row: ft's are always isolated from each other, as `neat_packing` does it."""
    if on(draft, "neat_packing"):
        draft.take("data.packing", True, "neat_packing", "packing")
    elif on(draft, "packing"):
        why = "examples in a row do not see each other in ft; there they do without neat_packing"
        draft.take("data.packing", True, "packing", why=why)
    elif draft.has("packing") and is_off(draft.given["packing"]):
        draft.take("data.packing", False, "packing")


def batch(draft: Draft) -> None:
    """Examples of a step."""
    packed = next((key for key in ("neat_packing", "packing") if on(draft, key)), "")
    steps.effective_batch(draft, "per_device_train_batch_size", 8, "gradient_accumulation_steps", packed)


def checkpointing(draft: Draft) -> None:
    """Recomputed activations, which are on there unless they are disabled."""
    if draft.has("disable_gradient_checkpointing"):
        off = draft.read("disable_gradient_checkpointing", switch, False)
        draft.take(
            "training.gradient_checkpointing",
            not off,
            "disable_gradient_checkpointing",
            why="the reverse switch",
        )
    elif draft.has("gradient_checkpointing"):
        on_ = draft.read("gradient_checkpointing", switch, True)
        draft.take("training.gradient_checkpointing", on_, "gradient_checkpointing")


def tokens(draft: Draft) -> None:
    """Texts that become tokens."""
    found = [*draft.words("add_tokens"), *draft.words("add_special_tokens")]
    if found:
        draft.take(
            "model.add_tokens", list(dict.fromkeys(found)), "add_tokens", "add_special_tokens", "resize_vocab"
        )


def start(draft: Draft) -> None:
    """An adapter to go on with: of several, the last is trained and the others are merged into the weights."""
    names = draft.words("adapter_name_or_path")
    if len(names) == 1:
        draft.take("adapter.from", draft.places.model(names[0]), "adapter_name_or_path")
        draft.start_from_saved()
    elif names:
        draft.leave(
            ["adapter_name_or_path"], "ft starts from one adapter", "a new adapter; ft merge joins several"
        )


def base(draft: Draft) -> None:
    """The model: a folder, or a hub id."""
    if draft.has("model_name_or_path"):
        name = draft.read("model_name_or_path", text, "")
        draft.take("model.base", draft.places.model(name), "model_name_or_path")


TABLE: Table = {
    "model_name_or_path": By(base, ("model.base",)),
    "model_revision": To("model.revision", text),
    "trust_remote_code": To("model.trust_remote_code", switch),
    **each(
        "quantization_bit double_quantization quantization_type",
        By(quantization, ("model.quantization", "model.double_quant", "model.quant_type")),
    ),
    "cutoff_len": To("model.max_seq_length", whole, 2048),
    **each("template enable_thinking", By(template, ("model.chat_template", "model.template_variables"))),
    **each("add_tokens add_special_tokens resize_vocab", By(tokens, ("model.add_tokens",))),
    **each("dataset dataset_dir max_samples", By(llama_factory_data.train, ("data.train",))),
    **each("eval_dataset val_size", By(llama_factory_data.validation, ("data.validation",))),
    **each(
        "stage pref_beta pref_loss dpo_label_smoothing simpo_gamma kto_chosen_weight kto_rejected_weight",
        By(method, (*LLAMA_FACTORY.ours(), "data.format")),
    ),
    **each("train_on_prompt mask_history", By(trained, ("data.train_on",))),
    **each("packing neat_packing", By(packing, ("data.packing",))),
    **each(
        "finetuning_type lora_rank lora_alpha lora_dropout lora_target additional_target use_dora use_rslora "
        "pissa_init pissa_iter oft_block_size oft_target",
        By(
            adapter,
            (
                "adapter.type",
                *lora.ADAPTER,
                *lora.TARGETS,
                "adapter.rslora",
                "adapter.init",
                "adapter.block_size",
            ),
        ),
    ),
    "adapter_name_or_path": By(start, ("adapter.from",)),
    **each("per_device_train_batch_size gradient_accumulation_steps", By(batch, steps.BATCH)),
    "learning_rate": To("training.learning_rate", number, 5e-5),
    "early_stopping_steps": To("evaluation.early_stopping_patience", whole),
    **each(
        "disable_gradient_checkpointing gradient_checkpointing",
        By(checkpointing, ("training.gradient_checkpointing",)),
    ),
    **{key: rule for key, rule in ARGUMENTS.items() if key != "gradient_checkpointing"},
    "pure_bf16": No("ft keeps what is trained in fp32", "training.precision: auto"),
    "loraplus_lr_ratio": To("training.lora_plus_ratio", real),
    "loraplus_lr_embedding": No("ft has one learning rate for the embedding and A", "training.learning_rate"),
    **each(
        "freeze_trainable_layers freeze_trainable_modules freeze_extra_modules", No("ft freezes no layers")
    ),
    **each("pref_ftx ref_model", No("ft compares with the model before training, by the method's own loss")),
    **each(
        "use_galore use_apollo use_badam use_adam_mini use_muon use_llama_pro",
        No("ft trains with AdamW alone"),
    ),
    "use_dft_loss": To("sft.loss", dft),
    **each("use_asft_loss use_eaft_loss", No("ft has cross-entropy and DFT", "sft.loss: cross_entropy")),
    **each("mix_strategy interleave_probs", No("weights of sources mix them", "data.train: …: weight")),
    **each("streaming buffer_size", No("a source streams with max_samples", "whole files are fetched")),
    **each("tool_format default_system", No("the chat template and the rows say it")),
    "rope_scaling": No("ft takes the model's own positions"),
    **each(
        "freeze_vision_tower freeze_multi_modal_projector image_max_pixels video_max_pixels media_dir",
        No("ft trains text alone"),
    ),
    **each(
        "flash_attn use_unsloth use_unsloth_gc enable_liger_kernel shift_attn use_reentrant_gc upcast_layernorm",
        No(SPEED),
    ),
    **each(
        "overwrite_cache preprocessing_num_workers preprocessing_batch_size tokenized_path cache_dir",
        No("ft keeps tokens by itself"),
    ),
    **each("use_swanlab swanlab_project swanlab_run_name swanlab_mode", No(TRACKED)),
    **each("compute_accuracy include_effective_tokens_per_second", No(LOGS)),
    **each("create_new_adapter export_dir", No(OWN_FOLDER)),
    **each("quantization_method quantization_device_map", No("ft quantises with bitsandbytes or MLX")),
    **each("use_fast_tokenizer split_special_tokens", No("the model's own files say it")),
    "disable_shuffling": No("ft shuffles rows by the seed"),
    **each("ray_num_workers ray_run_name use_mca", No(SEVERAL)),
    **each(
        "hf_hub_token ms_hub_token om_hub_token", No("ft secrets set HF_TOKEN keeps tokens out of recipes")
    ),
    "low_cpu_mem_usage": No(LOADING),
}
