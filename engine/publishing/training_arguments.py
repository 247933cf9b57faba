"""A run's recipe as transformers' TrainingArguments would say it, for people who continue with its Trainer."""

import json
import math
from typing import Any

from engine.config.schema import TrainConfig
from engine.metrics.registry import EVAL_LOSS, describe
from engine.planning.plan import Plan

NAME = "training_args.json"
OPTIMIZERS = {"adamw": "adamw_torch"}
"""Names of transformers where they are not ours."""
BETAS, EPSILON = (0.9, 0.999), 1e-8
"""AdamW's, as every backend has them."""


def training_arguments(config: TrainConfig, plan: Plan) -> str:
    """JSON of an object whose keys are fields of `transformers.TrainingArguments`.

    The batch is divided so that rows a device times accumulation is exactly the recipe's effective batch.
    """
    return json.dumps(_optimization(config, plan) | _looking(config), indent=2) + "\n"


def _optimization(config: TrainConfig, plan: Plan) -> dict[str, Any]:
    training = config.training
    whole = training.effective_batch_size
    rows = max(n for n in range(1, min(plan.micro_batch_rows, whole) + 1) if whole % n == 0)
    warmup = math.ceil(training.warmup_ratio * plan.steps)
    scheduler = training.scheduler
    return {
        "output_dir": config.name,
        "run_name": config.name,
        "num_train_epochs": training.epochs,
        "max_steps": training.max_steps or -1,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": whole // rows,
        "learning_rate": training.learning_rate,
        "lr_scheduler_type": "constant_with_warmup" if scheduler == "constant" and warmup else scheduler,
        "warmup_steps": warmup,
        "optim": OPTIMIZERS.get(training.optimizer, training.optimizer),
        "weight_decay": training.weight_decay,
        "adam_beta1": BETAS[0],
        "adam_beta2": BETAS[1],
        "adam_epsilon": EPSILON,
        "max_grad_norm": training.max_grad_norm or 0.0,
        "bf16": plan.decisions.compute_dtype == "bf16",
        "fp16": plan.decisions.compute_dtype == "fp16",
        "gradient_checkpointing": plan.gradient_checkpointing,
        "use_cpu": plan.device == "cpu",
        "seed": config.seed,
        "data_seed": config.seed,
    }


def _looking(config: TrainConfig) -> dict[str, Any]:
    """Evaluations, checkpoints and reports."""
    kept = {
        "logging_strategy": "steps",
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "steps",
        "save_steps": config.checkpoints.every,
        "save_total_limit": config.checkpoints.keep,
    }
    if config.data.validation == 0.0:
        return kept | {"eval_strategy": "no"}
    best, every = config.checkpoints.best, config.evaluation.every
    # transformers loads the best only where each checkpoint was evaluated.
    loads_best = config.checkpoints.publish == "best" and config.checkpoints.every % every == 0
    return kept | {
        "eval_strategy": "steps",
        "eval_steps": every,
        "eval_on_start": True,
        "metric_for_best_model": best if best == EVAL_LOSS else f"eval_{best}",
        "greater_is_better": describe(best).better == "higher",
        "load_best_model_at_end": loads_best,
    }
