"""axolotl's YAML; names and defaults from its schemas (utils/schemas, July 2026)."""

from engine.config.migration import axolotl_data, lora, steps
from engine.config.migration.convert import is_off, number, real, switch, text, whole, words
from engine.config.migration.draft import Draft
from engine.config.migration.preference import AXOLOTL
from engine.config.migration.rules import By, No, Table, To, each, named
from engine.config.migration.steps import on
from engine.config.migration.training_arguments import (
    LOADING,
    LOGS,
    OWN_FOLDER,
    SEVERAL,
    SPEED,
    TRACKED,
    UPLOAD,
    best,
    output,
    publish,
)

NAME = "axolotl"
SIGNS = named(
    "base_model sequence_len micro_batch_size num_epochs sample_packing eval_sample_packing val_set_size "
    "lora_target_linear lora_target_modules dataset_prepared_path special_tokens evals_per_epoch saves_per_epoch "
    "pad_to_sequence_len lr_scheduler train_on_inputs base_model_config flash_attention"
)
"""Keys that no other of the tools has."""


def adapter(draft: Draft) -> None:
    """`lora`, `qlora`, or nothing, which trains every weight."""
    name = draft.read("adapter", text, "")
    if name in ("lora", "qlora"):
        draft.take("adapter.type", "lora", "adapter", why="with 4-bit weights" if name == "qlora" else "")
        lora.strength(draft, "lora_r", "lora_alpha", "lora_dropout", (16, 32.0, 0.0))
        if on(draft, "lora_target_linear"):
            draft.take("adapter.target_modules", "all-linear", "lora_target_linear", "lora_target_modules")
        lora.targets(draft, "lora_target_modules", "lora_modules_to_save", "all-linear")
        lora.kind(draft, "peft_use_dora", "peft_use_rslora", "peft_init_lora_weights")
    elif name:
        draft.leave(["adapter"], "ft has no adapter of this name", "adapter.type: lora")
    else:
        draft.imply("adapter.type", "none", "without adapter, every weight is trained")


def quantization(draft: Draft) -> None:
    """Frozen weights in 4 or 8 bits: nf4 and double quantisation there too."""
    if on(draft, "load_in_4bit") or draft.given.get("adapter") == "qlora":
        draft.take("model.quantization", "4bit", "load_in_4bit")
    elif on(draft, "load_in_8bit"):
        draft.take("model.quantization", "8bit", "load_in_8bit")
    draft.expand("bnb_config_kwargs")
    for theirs, ours in {
        "bnb_4bit_quant_type": "quant_type",
        "bnb_4bit_use_double_quant": "double_quant",
    }.items():
        key = f"bnb_config_kwargs.{theirs}"
        if draft.has(key):
            draft.take(f"model.{ours}", draft.given[key], key)
    for key in [key for key in draft.given if key.startswith("bnb_config_kwargs.")]:
        draft.leave([key], SPEED)


def batch(draft: Draft) -> None:
    """`batch_size`, where it is set, is micro-batch times accumulation already."""
    packed = "sample_packing" if on(draft, "sample_packing") else ""
    if draft.has("batch_size") and not draft.has("gradient_accumulation_steps"):
        draft.take("training.effective_batch_size", draft.read("batch_size", whole, 1), "batch_size")
        draft.leave(["micro_batch_size"], "batch_size: auto takes what fits", "training.batch_size: auto")
        return
    steps.effective_batch(draft, "micro_batch_size", 1, "gradient_accumulation_steps", packed)


def length(draft: Draft) -> None:
    """Epochs and steps."""
    steps.length(draft, "num_epochs", 1.0)


def warmup(draft: Draft) -> None:
    """3 % of the steps where nothing is said, as in ft."""
    length(draft)
    steps.warmup(draft, "warmup_steps", "warmup_ratio", 0.03)


def packing(draft: Draft) -> None:
    """Examples end to end in a row, each by itself."""
    if draft.has("sample_packing"):
        draft.take("data.packing", draft.read("sample_packing", switch, False), "sample_packing")


def longest(draft: Draft) -> None:
    """Longer rows are left out there, unless it says otherwise."""
    draft.take("model.max_seq_length", draft.read("sequence_len", whole, 512), "sequence_len")
    strategy = draft.read("excess_length_strategy", text, "drop")
    if strategy == "truncate":
        draft.leave(["excess_length_strategy"], "ft always does this", "longer rows are cut")
    elif draft.has("excess_length_strategy"):
        draft.leave(["excess_length_strategy"], "ft neither drops nor refuses longer rows", "they are cut")
    else:
        draft.note(
            "axolotl leaves out rows that are longer than sequence_len", "they are cut, and the run says so"
        )


def template(draft: Draft) -> None:
    """The chat template by its name, or as a file."""
    name = draft.read("chat_template", text, "")
    jinja = draft.read("chat_template_jinja", text, "")
    path = draft.places.found(jinja) if jinja else None
    if path is not None and path.suffix in (".jinja", ".jinja2", ".j2"):
        seen = draft.places.written(path, jinja)
        draft.take("model.chat_template", seen, "chat_template_jinja", "chat_template")
    elif jinja:
        draft.leave(
            ["chat_template_jinja", "chat_template"],
            "ft reads templates from .jinja files",
            "the model's own",
        )
    elif name in axolotl_data.TEMPLATES:
        ours = axolotl_data.TEMPLATES[name]
        draft.take(
            "model.chat_template", ours, "chat_template", why="" if ours == name else "ft's name of it"
        )
    elif name:
        draft.leave(["chat_template"], "ft has no template of this name", "the model's own, where it has one")


def evaluation(draft: Draft) -> None:
    """Steps between evaluations; axolotl counts within an epoch too."""
    steps.interval(draft, "evaluation.every", "eval_steps", 0, "eval_strategy")
    draft.leave(
        ["evals_per_epoch", "eval_strategy"],
        "ft counts steps between evaluations, not epochs",
        "evaluation.every: 50",
    )


def checkpoints(draft: Draft) -> None:
    """Steps between checkpoints; axolotl counts within an epoch too."""
    steps.interval(draft, "checkpoints.every", "save_steps", 0, "save_strategy")
    draft.leave(
        ["saves_per_epoch", "save_strategy"],
        "ft counts steps between checkpoints, not epochs",
        "checkpoints.every: 50",
    )
    draft.take("checkpoints.keep", draft.read("save_total_limit", whole, 4), "save_total_limit")


def precision(draft: Draft) -> None:
    """The number format of the arithmetic."""
    for key, ours in {
        "bf16": "bf16",
        "bfloat16": "bf16",
        "fp16": "fp16",
        "float16": "fp16",
        "float32": "fp32",
    }.items():
        if not draft.has(key) or is_off(draft.given[key]):
            continue
        auto = draft.given[key] == "auto"
        draft.take("training.precision", "auto" if auto else ours, key)
        return


def checkpointing(draft: Draft) -> None:
    """Recomputed activations."""
    key = "gradient_checkpointing"
    value = draft.given.get(key)
    if value in ("offload", "offload_disk", "unsloth"):
        why = "" if value == "offload" else "kept in the host's memory"
        draft.take("training.gradient_checkpointing", "offload", key, why=why)
    elif draft.has(key):
        draft.take("training.gradient_checkpointing", draft.read(key, switch, False), key)


def start(draft: Draft) -> None:
    """An adapter to go on with."""
    name = draft.read("lora_model_dir", text, "")
    if name:
        draft.take("adapter.from", draft.places.model(name), "lora_model_dir")
        draft.start_from_saved()


def base(draft: Draft) -> None:
    """The model: a folder, or a hub id."""
    if draft.has("base_model"):
        draft.take("model.base", draft.places.model(draft.read("base_model", text, "")), "base_model")


def rate(draft: Draft) -> None:
    """axolotl demands a learning rate."""
    if draft.has("learning_rate"):
        draft.take("training.learning_rate", draft.read("learning_rate", number, 2e-4), "learning_rate")


QUANTIZED = ("model.quantization", "model.quant_type", "model.double_quant")
SCHEDULE = By(lambda draft: steps.schedule(draft, "lr_scheduler", "cosine"), ("training.scheduler",))
TABLE: Table = {
    "base_model": By(base, ("model.base",)),
    "revision_of_model": To("model.revision", text),
    "trust_remote_code": To("model.trust_remote_code", switch),
    **each("load_in_4bit load_in_8bit bnb_config_kwargs", By(quantization, QUANTIZED)),
    **each("sequence_len excess_length_strategy", By(longest, ("model.max_seq_length",))),
    **each("chat_template chat_template_jinja", By(template, ("model.chat_template",))),
    "chat_template_kwargs": To("model.template_variables"),
    "tokens": To("model.add_tokens", words),
    **each("datasets pretraining_dataset", By(axolotl_data.train, axolotl_data.TRAIN)),
    **each("test_datasets val_set_size", By(axolotl_data.validation, ("data.validation",))),
    **each("train_on_inputs", By(axolotl_data.trained, ("data.train_on",))),
    **each("sample_packing", By(packing, ("data.packing",))),
    **each(
        "adapter lora_r lora_alpha lora_dropout lora_target_linear lora_target_modules lora_modules_to_save "
        "peft_use_dora peft_use_rslora peft_init_lora_weights",
        By(adapter, ("adapter.type", *lora.ADAPTER, *lora.TARGETS, "adapter.rslora", "adapter.init")),
    ),
    "lora_model_dir": By(start, ("adapter.from",)),
    **each(
        "rl rl_beta dpo_label_smoothing orpo_alpha simpo_gamma cpo_alpha kto_desirable_weight kto_undesirable_weight",
        By(axolotl_data.method, (*AXOLOTL.ours(), "dpo.loss", "dpo.length_normalised")),
    ),
    **each("micro_batch_size gradient_accumulation_steps batch_size", By(batch, steps.BATCH)),
    "num_epochs": By(length, steps.LENGTH),
    "max_steps": By(length, steps.LENGTH),
    "learning_rate": By(rate, ("training.learning_rate",)),
    "lr_scheduler": SCHEDULE,
    **each("warmup_steps warmup_ratio", By(warmup, steps.WARMUP)),
    "optimizer": By(lambda draft: steps.optimizer(draft, "optimizer"), ("training.optimizer",)),
    "weight_decay": To("training.weight_decay", number, 0.0),
    "max_grad_norm": By(steps.clipping, ("training.max_grad_norm",)),
    **each("bf16 bfloat16 fp16 float16 float32", By(precision, ("training.precision",))),
    "gradient_checkpointing": By(checkpointing, ("training.gradient_checkpointing",)),
    **each("eval_steps evals_per_epoch eval_strategy", By(evaluation, ("evaluation.every",))),
    **each(
        "save_steps saves_per_epoch save_strategy save_total_limit",
        By(checkpoints, ("checkpoints.every", "checkpoints.keep")),
    ),
    "early_stopping_patience": To("evaluation.early_stopping_patience", whole),
    "load_best_model_at_end": By(publish, ("checkpoints.publish",)),
    "metric_for_best_model": By(best, ("checkpoints.best",)),
    "seed": To("seed", whole),
    "output_dir": By(output, ("output.dir",)),
    **each("adam_beta1 adam_beta2 adam_epsilon", By(steps.moments, ())),
    **each(
        "lr_scheduler_kwargs cosine_min_lr_ratio cosine_constant_lr_ratio lr_quadratic_warmup lr_groups",
        No("ft's schedules have no settings of their own"),
    ),
    "loraplus_lr_ratio": To("training.lora_plus_ratio", real),
    **each(
        "loraplus_lr_embedding embedding_lr embedding_lr_scale",
        No("ft has one learning rate for all weights", "training.learning_rate"),
    ),
    "optim_args": No("ft's optimizers have no settings of their own"),
    **each("special_tokens eot_tokens", No("ft takes the tokens of the model's tokenizer and its template")),
    **each(
        "peft_layers_to_transform peft_layers_pattern lora_rank_pattern lora_alpha_pattern",
        No("one rank and alpha for all layers", "all of them get an adapter"),
    ),
    **each(
        "lora_target_parameters lora_fan_in_fan_out peft_layer_replication unfrozen_parameters",
        No("ft adapts linear layers by their names"),
    ),
    "default_system_message": No("a system message is in the rows, or in the template"),
    "neftune_noise_alpha": To("training.neftune_alpha", real),
    **each("shuffle_merged_datasets curriculum_sampling", No("ft shuffles all rows by the seed")),
    "roles_to_train": No("ft trains what the assistant says"),
    **each(
        "dataset_prepared_path dataset_processes dataset_num_proc dataset_keep_in_memory dataset_exact_deduplication",
        No("ft keeps tokens by itself; ft data check finds copies"),
    ),
    **each(
        "eval_sample_packing pad_to_sequence_len group_by_length eval_batch_size auto_find_batch_size",
        No(SPEED),
    ),
    **each("tf32 flash_attention sdp_attention xformers_attention flex_attention sage_attention", No(SPEED)),
    **each("attn_implementation torch_compile lora_mlp_kernel lora_qkv_kernel lora_o_kernel", No(SPEED)),
    **each(
        "gradient_checkpointing_kwargs activation_offloading plugins low_cpu_mem_usage gc_steps", No(SPEED)
    ),
    **each("dataloader_num_workers dataloader_pin_memory dataloader_prefetch_factor", No(LOADING)),
    **each(
        "model_type tokenizer_type tokenizer_config base_model_config tokenizer_use_fast",
        No("the model's own files say it"),
    ),
    **each("deepspeed fsdp fsdp_config ddp ddp_timeout device_map local_rank world_size", No(SEVERAL)),
    **each(
        "logging_steps debug loss_watchdog_threshold loss_watchdog_patience include_tokens_per_second",
        No(LOGS),
    ),
    **each(
        "wandb_project wandb_entity wandb_watch wandb_name wandb_run_id wandb_log_model use_wandb wandb_mode",
        No(TRACKED),
    ),
    **each("use_mlflow mlflow_experiment_name use_comet use_tensorboard use_trackio", No(TRACKED)),
    **each("hub_model_id hub_strategy hub_revision push_dataset_to_hub hf_use_auth_token", No(UPLOAD)),
    **each("save_safetensors save_only_model save_first_step", No(OWN_FOLDER)),
    **each(
        "resume_from_checkpoint auto_resume_from_checkpoints",
        No("ft train --resume RUN resumes a run of ft's"),
    ),
    **each(
        "liger_rope liger_rms_norm liger_glu_activation liger_layer_norm liger_fused_linear_cross_entropy "
        "liger_cross_entropy cut_cross_entropy use_kernels flash_attn_cross_entropy",
        No(SPEED),
    ),
    **each(
        "fsdp_version dp_shard_size dp_replicate_size context_parallel_size tensor_parallel_size "
        "sequence_parallel_degree ddp_find_unused_parameters",
        No(SEVERAL),
    ),
    **each("remove_unused_columns skip_prepare_dataset", No(LOADING)),
    **each("trl qat ebft reward_model num_labels", No("ft has no such training")),
    **each(
        "rpo_alpha dpo_use_weighting dpo_norm_loss dpo_loss_type",
        No("the method's own loss stands"),
    ),
    "strict": No("ft always refuses unknown keys"),
}
