"""Arguments of TRL's trainers and of Unsloth; names and defaults from TRL 1.14, transformers 5.17, Unsloth 2026.8.

There is no file format of theirs: the arguments stand side by side, or in mappings named after what takes them, as
`SFTConfig`, `LoraConfig`, `from_pretrained` and `get_peft_model`.
"""

from collections.abc import Mapping
from typing import Any

from engine.config.migration import lora, steps, training_arguments
from engine.config.migration.convert import is_off, real, switch, text, whole
from engine.config.migration.draft import Draft
from engine.config.migration.preference import TRL
from engine.config.migration.rules import By, No, Table, To, each, named
from engine.config.migration.steps import on
from engine.config.migration.training_arguments import LOADING, SEVERAL, SPEED
from engine.config.migration.training_arguments import TABLE as ARGUMENTS

NAME = "TRL"
UNSLOTH = "Unsloth"
SECTIONS: Mapping[str, str] = {
    "SFTConfig": "sft",
    "DPOConfig": "dpo",
    "KTOConfig": "kto",
    "ORPOConfig": "orpo",
    "CPOConfig": "cpo",
    "TrainingArguments": "sft",
    "UnslothTrainingArguments": "sft",
    "LoraConfig": "",
    "PeftConfig": "",
    "ModelConfig": "",
    "ScriptArguments": "",
    "BitsAndBytesConfig": "",
    "FastLanguageModel": "",
    "FastModel": "",
    "from_pretrained": "",
    "get_peft_model": "",
}
"""Mappings whose keys are arguments, and the method that their name means."""
SIGNS = (
    named(
        "per_device_train_batch_size num_train_epochs lr_scheduler_type optim warmup_steps load_in_4bit lora_r r "
        "max_seq_length max_length use_peft dataset_name dataset_text_field assistant_only_loss completion_only_loss "
        "use_gradient_checkpointing random_state full_finetuning model_name finetune_language_layers"
    )
    | SECTIONS.keys()
)
"""Keys that tell it from a file of no tool; LLaMA-Factory has some of them too, and more of its own."""
UNSLOTHS = named(
    "use_gradient_checkpointing random_state full_finetuning load_in_16bit from_pretrained get_peft_model "
    "FastLanguageModel FastModel UnslothTrainingArguments finetune_language_layers"
)
"""Keys that Unsloth alone has."""
DPO = named("beta reference_free precompute_ref_log_probs")


def flattened(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments side by side; a section's name stays, with the method that it means."""
    found = {key: value for key, value in given.items() if key not in SECTIONS or not isinstance(value, dict)}
    for name, method in SECTIONS.items():
        inside = given.get(name)
        if isinstance(inside, dict):
            found |= {key: value for key, value in inside.items() if key not in found and key not in SECTIONS}
            found[name] = method or "arguments"
    return found


def is_unsloth(draft: Draft) -> bool:
    """True where Unsloth's functions take the arguments."""
    return looks_unsloth(draft.given)


def looks_unsloth(given: Mapping[str, Any]) -> bool:
    """True for arguments that Unsloth's functions take."""
    return bool(UNSLOTHS & given.keys()) or {"max_seq_length", "load_in_4bit"} <= given.keys()


def base(draft: Draft) -> None:
    """The model: a folder, or a hub id."""
    key = draft.first("model_name_or_path", "model_name", "base_model_name_or_path")
    if draft.has(key):
        draft.take("model.base", draft.places.model(draft.read(key, text, "")), key)


def quantization(draft: Draft) -> None:
    """4 bits unless it says otherwise in Unsloth; none in TRL."""
    unsloth = is_unsloth(draft)
    full = on(draft, "full_finetuning") or on(draft, "load_in_16bit") or on(draft, "load_in_8bit")
    if draft.read("load_in_4bit", switch, unsloth and not full):
        draft.take("model.quantization", "4bit", "load_in_4bit")
    elif on(draft, "load_in_8bit"):
        draft.take("model.quantization", "8bit", "load_in_8bit")
    elif draft.has("load_in_4bit"):
        draft.take("model.quantization", "none", "load_in_4bit")
    if draft.has("bnb_4bit_quant_type"):
        draft.take("model.quant_type", draft.given["bnb_4bit_quant_type"], "bnb_4bit_quant_type")
    nested = draft.first("use_bnb_nested_quant", "bnb_4bit_use_double_quant")
    if draft.has(nested):
        draft.take("model.double_quant", draft.read(nested, switch, True), nested)
    elif not unsloth and draft.values.get("model.quantization") == "4bit":
        draft.imply("model.double_quant", False)


def longest(draft: Draft) -> None:
    """The longest example: SFTConfig's, or the one that Unsloth's model is made for."""
    key = draft.first("max_seq_length", "max_length")
    usual = 2048 if is_unsloth(draft) else 1024
    draft.take("model.max_seq_length", draft.read(key, whole, usual), key)
    if key == "max_seq_length":
        draft.leave(["max_length"], "max_seq_length is the limit", "nothing")


def adapter(draft: Draft) -> None:
    """LoRA where any of its arguments is there, else every weight."""
    unsloth = is_unsloth(draft)
    script = draft.has("lora_r", "use_peft", "lora_target_modules")
    named = script or draft.has("r", "lora_alpha", "lora_dropout", "target_modules", "use_dora", "use_rslora")
    full = on(draft, "full_finetuning") or (draft.has("use_peft") and is_off(draft.given["use_peft"]))
    if full or not (named or unsloth):
        why = "every weight is trained" if full else "no argument of LoRA, so every weight is trained"
        draft.take("adapter.type", "none", "full_finetuning", "use_peft", why=why)
        return
    if draft.has("use_peft"):
        draft.take("adapter.type", "lora", "use_peft")
    usual: tuple[int, float | None, float] = (8, 8.0, 0.0)
    if unsloth:
        usual = (16, 16.0, 0.0)
    elif script:
        usual = (16, 32.0, 0.05)
    lora.strength(draft, draft.first("r", "lora_r"), "lora_alpha", "lora_dropout", usual)
    modules = draft.first("modules_to_save", "lora_modules_to_save")
    layers = "all-linear" if unsloth else ["q_proj", "v_proj"]
    lora.targets(draft, draft.first("target_modules", "lora_target_modules"), modules, layers)
    lora.kind(draft, "use_dora", "use_rslora", "init_lora_weights")


def data(draft: Draft) -> None:
    """The dataset of TRL's scripts. Trainers themselves get rows from a program, which no file names."""
    if not draft.has("dataset_name"):
        _text_column(draft)
        return
    about: dict[str, Any] = {"path": draft.places.rows(draft.read("dataset_name", text, ""))}
    for key, ours in (("dataset_config", "config"), ("dataset_train_split", "split")):
        if draft.has(key):
            about[ours] = draft.read(key, text, "")
    column = draft.read("dataset_text_field", text, "text")
    sources = ["dataset_name", "dataset_config", "dataset_train_split"]
    if column != "text":
        about["columns"] = {"text": column}
        sources.append("dataset_text_field")
    draft.take("data.train", about["path"] if len(about) == 1 else about, *sources)


def _text_column(draft: Draft) -> None:
    column = draft.read("dataset_text_field", text, "text")
    if column == "text":
        draft.leave(["dataset_text_field"], "ft's own name of it", "nothing")
    else:
        draft.take("data.columns", {"text": column}, "dataset_text_field")


def validation(draft: Draft) -> None:
    """The test split where it evaluates at all."""
    data(draft)
    how = draft.read(draft.first("eval_strategy", "evaluation_strategy"), text, "no")
    if how.lower() == "no" or not draft.has("dataset_name"):
        draft.take("data.validation", 0.0, "dataset_test_split", why="nothing is evaluated: eval_strategy")
        return
    split = draft.read("dataset_test_split", text, "test")
    source = {"path": draft.places.rows(draft.read("dataset_name", text, "")), "split": split}
    draft.take("data.validation", source, "dataset_test_split", why="of the dataset that is trained")


def trained(draft: Draft) -> None:
    """The completion of prompt and completion; all tokens of anything else, unless it says otherwise."""
    for key in ("assistant_only_loss", "completion_only_loss"):
        if on(draft, key):
            draft.take("data.train_on", "assistant", key)
            return
    if method_of(draft) == "sft":
        why = "of rows with prompt and completion TRL trains the completion alone: assistant"
        draft.take("data.train_on", "all", "assistant_only_loss", "completion_only_loss", why=why)


def method_of(draft: Draft) -> str:
    """The trainer: as a section's name says, or by arguments of DPO's."""
    named = [method for name, method in SECTIONS.items() if method and name in draft.given]
    return next(iter(named), "dpo" if draft.has(*DPO) else "sft")


def method(draft: Draft) -> None:
    """The training method."""
    name = method_of(draft)
    says = [
        key for key in (*SECTIONS, *sorted(DPO)) if key in draft.given and SECTIONS.get(key, name) == name
    ]
    if name != "sft":
        TRL.read(draft, says[0] if says else "loss_type", name)
    elif draft.read("loss_type", text, "nll") in ("nll", "dft"):
        loss = "dft" if draft.read("loss_type", text, "nll") == "dft" else "cross_entropy"
        draft.take("sft.loss", loss, "loss_type")
    else:
        draft.leave(["loss_type"], "ft has cross-entropy and DFT", "sft.loss: cross_entropy")
    draft.told.update(SECTIONS.keys() & draft.given.keys())  # what they hold is told key by key


def packing(draft: Draft) -> None:
    """Examples end to end in a row, isolated from each other."""
    if draft.has("packing"):
        strategy = draft.read("packing_strategy", text, "bfd")
        why = "isolated from each other, and none is cut in two" if strategy != "bfd" else ""
        draft.take(
            "data.packing", draft.read("packing", switch, False), "packing", "packing_strategy", why=why
        )


def batch(draft: Draft) -> None:
    """Examples of a step."""
    packed = "packing" if on(draft, "packing") else ""
    steps.effective_batch(draft, "per_device_train_batch_size", 8, "gradient_accumulation_steps", packed)


def rate(draft: Draft) -> None:
    """The learning rate, whose default depends on the trainer."""
    usual = 2e-5 if method_of(draft) == "sft" else 1e-6
    if draft.has("TrainingArguments", "UnslothTrainingArguments"):
        usual = 5e-5
    draft.take("training.learning_rate", draft.read("learning_rate", real, usual), "learning_rate")


def evaluation(draft: Draft) -> None:
    """Steps between evaluations; TRL logs every 10 steps where transformers does every 500."""
    plain = draft.has("TrainingArguments", "UnslothTrainingArguments")
    training_arguments.evaluation(draft, 500.0 if plain else 10.0)


def checkpointing(draft: Draft) -> None:
    """Recomputed activations; Unsloth's own way keeps them in the host's memory."""
    key = draft.first("use_gradient_checkpointing", "gradient_checkpointing")
    if draft.given.get(key) == "unsloth":
        draft.take("training.gradient_checkpointing", "offload", key, why="kept in the host's memory")
    elif draft.has(key):
        draft.take("training.gradient_checkpointing", draft.read(key, switch, True), key)


def seed(draft: Draft) -> None:
    """One seed for rows and adapter; Unsloth has another for the adapter."""
    if draft.has("seed"):
        draft.take("seed", draft.read("seed", whole, 42), "seed")
    elif draft.has("random_state"):
        draft.take(
            "seed", draft.read("random_state", whole, 3407), "random_state", why="for rows and dropout too"
        )
    draft.leave(["random_state"], "one seed fixes rows, adapter and dropout", "seed")


_OWN: Table = {
    **each("model_name_or_path model_name base_model_name_or_path", By(base, ("model.base",))),
    **each("model_revision revision", To("model.revision", text)),
    "trust_remote_code": To("model.trust_remote_code", switch),
    **each(
        "load_in_4bit load_in_8bit load_in_16bit bnb_4bit_quant_type use_bnb_nested_quant bnb_4bit_use_double_quant",
        By(quantization, ("model.quantization", "model.quant_type", "model.double_quant")),
    ),
    **each("max_seq_length max_length", By(longest, ("model.max_seq_length",))),
    **each(
        "dataset_name dataset_config dataset_train_split dataset_text_field",
        By(data, ("data.train", "data.columns")),
    ),
    "dataset_test_split": By(validation, ("data.validation",)),
    **each(
        "SFTConfig beta loss_type label_smoothing cpo_alpha simpo_gamma desirable_weight undesirable_weight",
        By(method, ("sft.loss", *TRL.ours())),
    ),
    **each("assistant_only_loss completion_only_loss", By(trained, ("data.train_on",))),
    **each("packing packing_strategy", By(packing, ("data.packing",))),
    **each(
        "full_finetuning use_peft r lora_r lora_alpha lora_dropout target_modules lora_target_modules modules_to_save "
        "lora_modules_to_save use_dora use_rslora init_lora_weights",
        By(adapter, ("adapter.type", *lora.ADAPTER, *lora.TARGETS, "adapter.rslora", "adapter.init")),
    ),
    **each("per_device_train_batch_size gradient_accumulation_steps", By(batch, steps.BATCH)),
    "learning_rate": By(rate, ("training.learning_rate",)),
    **each(
        "use_gradient_checkpointing gradient_checkpointing",
        By(checkpointing, ("training.gradient_checkpointing",)),
    ),
    **each("eval_strategy evaluation_strategy eval_steps", By(evaluation, training_arguments.EVALUATION)),
    **each("seed random_state", By(seed, ("seed",))),
}
TABLE: Table = {
    **_OWN,
    **{key: rule for key, rule in ARGUMENTS.items() if key not in _OWN},
    "chat_template_path": No("model.chat_template takes a .jinja file", "the model's own"),
    "loss_weights": No("ft's loss is the plain one of the method"),
    "precompute_ref_log_probs": No("ft always computes them once", "nothing"),
    **each("reference_free max_prompt_length ld_alpha use_weighting", No("ft's methods have no such key")),
    "disable_dropout": No("adapter.dropout is the recipe's own", "adapter.dropout"),
    **each(
        "bias layers_to_transform layers_pattern rank_pattern alpha_pattern exclude_modules finetune_last_n_layers",
        No("one rank and alpha for all layers, and no biases"),
    ),
    **each(
        "finetune_language_layers finetune_attention_modules finetune_mlp_modules finetune_vision_layers",
        No("adapter.target_modules names the layers"),
    ),
    **each("loftq_config task_type lora_task_type fan_in_fan_out inference_mode", No("ft needs no such key")),
    **each(
        "embedding_learning_rate", No("ft has one learning rate for all weights", "training.learning_rate")
    ),
    **each("eos_token pad_token", No("the model's own files say it")),
    **each("dataset_num_proc dataset_kwargs shuffle_dataset dataset_streaming eval_packing", No(LOADING)),
    "truncation_mode": No("ft cuts longer examples by one rule, and says how many"),
    **each(
        "padding_free pad_to_multiple_of activation_offloading attn_implementation fast_inference", No(SPEED)
    ),
    **each("gpu_memory_utilization max_lora_rank dtype torch_dtype bnb_4bit_compute_dtype", No(SPEED)),
    **each("device_map use_cache model_init_kwargs rope_scaling", No(SEVERAL)),
    "token": No("ft secrets set HF_TOKEN keeps tokens out of recipes"),
}


def as_unsloth(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments side by side, for Unsloth's functions."""
    return {"get_peft_model": "arguments"} | flattened(given)
