"""transformers' TrainingArguments, which LLaMA-Factory and TRL take as their own; checked with transformers 5.17."""

from engine.config.migration import steps
from engine.config.migration.convert import is_off, number, real, switch, text, whole
from engine.config.migration.draft import Draft
from engine.config.migration.rules import By, No, Table, To, each

LOGS = "ft records every step, and shows it in the app, in ft attach and in ft runs show"
TRACKED = "ft track sends runs to trackers"
SEVERAL = "ft plans processes and devices itself"
SPEED = "a matter of speed, which ft decides by itself"
LOADING = "ft feeds rows by itself"
UPLOAD = "ft push uploads a run when it is done"
OWN_FOLDER = "a run's folder is its own: nothing in it is overwritten"
EVALUATION = ("evaluation.every",)
CHECKPOINTS = ("checkpoints.every",)
PRECISION = ("training.precision",)


def length(draft: Draft) -> None:
    """Epochs and steps."""
    steps.length(draft, "num_train_epochs", 3.0)


def warmup(draft: Draft) -> None:
    """Warm-up, which transformers' `constant` does not have."""
    length(draft)
    if draft.read("lr_scheduler_type", text, "") == "constant":
        for key in ("warmup_steps", "warmup_ratio"):
            if draft.has(key):
                draft.leave([key], "transformers' constant has no warm-up", "training.warmup_ratio: 0")
        draft.imply("training.warmup_ratio", 0.0, "constant has no warm-up there")
        return
    steps.warmup(draft, "warmup_steps", "warmup_ratio", 0.0)


def precision(draft: Draft) -> None:
    """The number format; where both switches are off, the machine decides."""
    for key in ("bf16", "fp16"):
        if draft.has(key) and draft.read(key, switch, False):
            draft.take("training.precision", key, key)
            return


def evaluation(draft: Draft, logged: float = 500.0) -> None:
    """Steps between evaluations, by default those between logs, whose default is `logged`.

    What is validated on is told by the keys of the data.
    """
    strategy = draft.first("eval_strategy", "evaluation_strategy")
    how = draft.read(strategy, text, "steps" if draft.has("eval_steps") else "no").lower()
    if how == "steps":
        usual = draft.read("logging_steps", number, logged)
        steps.interval(draft, "evaluation.every", "eval_steps", usual, strategy)
    elif how != "no":
        draft.leave([strategy], "ft counts steps between evaluations, not epochs", "evaluation.every: 50")


def checkpoints(draft: Draft) -> None:
    """Steps between checkpoints."""
    how = draft.read("save_strategy", text, "steps").lower()
    if how == "steps":
        steps.interval(draft, "checkpoints.every", "save_steps", 500, "save_strategy")
    elif how == "best":
        draft.leave(
            ["save_strategy", "save_steps"], "ft keeps the best besides others", "checkpoints.every: 50"
        )
    else:
        draft.leave(
            ["save_strategy", "save_steps"], "ft counts steps, and always saves", "checkpoints.every: 50"
        )


def publish(draft: Draft) -> None:
    """The checkpoint that is the result."""
    key = "load_best_model_at_end"
    if draft.has(key) and not is_off(draft.given[key]):
        draft.take("checkpoints.publish", "best", key)


def best(draft: Draft) -> None:
    """The metric that decides which is best."""
    key = "metric_for_best_model"
    if draft.has(key):
        name = draft.read(key, text, "loss")
        renamed = "loss of validation is eval_loss in ft" if name == "loss" else ""
        draft.take("checkpoints.best", "eval_loss" if name == "loss" else name, key, why=renamed)


def output(draft: Draft) -> None:
    """The folder of the run, unless something is in it already: a run wants one of its own."""
    name = draft.read("output_dir", text, "")
    if not name:
        return
    used = draft.places.found(name)
    if used is not None:
        draft.leave(
            ["output_dir"], "it is there already, and a run's folder has to be new", "one in the runs folder"
        )
        return
    seen = draft.places.folder(name)
    draft.take("output.dir", seen, "output_dir", why="" if seen == name else "as seen from the recipe")


TABLE: Table = {
    "num_train_epochs": By(length, steps.LENGTH),
    "max_steps": By(length, steps.LENGTH),
    "lr_scheduler_type": By(
        lambda draft: steps.schedule(draft, "lr_scheduler_type", "linear"), ("training.scheduler",)
    ),
    **each("warmup_steps warmup_ratio", By(warmup, steps.WARMUP)),
    "optim": By(lambda draft: steps.optimizer(draft, "optim"), ("training.optimizer",)),
    "weight_decay": To("training.weight_decay", number, 0.0),
    "max_grad_norm": By(steps.clipping, ("training.max_grad_norm",)),
    **each("bf16 fp16", By(precision, PRECISION)),
    "gradient_checkpointing": To("training.gradient_checkpointing", switch),
    **each("eval_strategy evaluation_strategy eval_steps", By(evaluation, EVALUATION)),
    **each("save_strategy save_steps", By(checkpoints, CHECKPOINTS)),
    "save_total_limit": To("checkpoints.keep", whole),
    "load_best_model_at_end": By(publish, ("checkpoints.publish",)),
    "metric_for_best_model": By(best, ("checkpoints.best",)),
    "seed": To("seed", whole),
    "output_dir": By(output, ("output.dir",)),
    **each("adam_beta1 adam_beta2 adam_epsilon", By(steps.moments, ())),
    "lr_scheduler_kwargs": No("ft's schedules have no settings of their own"),
    "optim_args": No("ft's optimizers have no settings of their own"),
    "data_seed": No("one seed fixes rows, adapter and dropout", "seed"),
    **each(
        "logging_steps logging_first_step logging_strategy logging_dir log_level disable_tqdm plot_loss",
        No(LOGS),
    ),
    "logging_nan_inf_filter": No("ft warns of a loss that is no number, and stops the run"),
    "run_name": No("a run is named by name, which has no spaces or slashes", "name: run"),
    **each("report_to project trackio_space_id", No(TRACKED)),
    **each(
        "push_to_hub hub_model_id hub_strategy hub_token hub_private_repo hub_always_push hub_revision",
        No(UPLOAD),
    ),
    **each(
        "deepspeed fsdp fsdp_config ddp_timeout ddp_backend ddp_find_unused_parameters local_rank",
        No(SEVERAL),
    ),
    **each("ddp_bucket_cap_mb parallelism_config accelerator_config use_cpu no_cuda", No(SEVERAL)),
    **each("tf32 torch_compile torch_compile_backend torch_compile_mode use_liger_kernel", No(SPEED)),
    **each("gradient_checkpointing_kwargs torch_empty_cache_steps group_by_length", No(SPEED)),
    **each(
        "train_sampling_strategy auto_find_batch_size per_device_eval_batch_size eval_accumulation_steps",
        No(SPEED),
    ),
    **each("dataloader_num_workers dataloader_pin_memory dataloader_prefetch_factor", No(LOADING)),
    **each("remove_unused_columns dataloader_drop_last label_names", No(LOADING)),
    **each("overwrite_output_dir save_only_model save_safetensors", No(OWN_FOLDER)),
    "resume_from_checkpoint": No("ft train --resume RUN resumes a run of ft's"),
    **each("do_train do_eval do_predict predict_with_generate", No("ft train trains, ft evaluate evaluates")),
    "eval_on_start": No("ft always evaluates before the first step"),
    "greater_is_better": No("ft knows the direction of each metric"),
    "neftune_noise_alpha": To("training.neftune_alpha", real),
    "label_smoothing_factor": No("ft's loss has no label smoothing", "trained without it"),
    "include_num_input_tokens_seen": No(LOGS),
    "average_tokens_across_devices": No("ft's loss is the mean over all trained tokens of a step"),
}
"""All but batch size and learning rate, whose defaults each tool sets anew."""
