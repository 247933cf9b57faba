"""mlx-lm's LoRA configuration; names and defaults from mlx_lm/lora.py 0.32."""

from typing import Any

from engine.config.migration import steps
from engine.config.migration.convert import Refused, real, switch, text, whole
from engine.config.migration.draft import Draft
from engine.config.migration.lora import KEPT
from engine.config.migration.rules import By, No, Table, To, each, named
from engine.config.migration.training_arguments import LOGS, OWN_FOLDER, SPEED, TRACKED
from engine.config.yaml_writer import inline

NAME = "mlx-lm"
SIGNS = named(
    "iters fine_tune_type lora_parameters num_layers lora_layers lr_schedule steps_per_eval steps_per_report "
    "val_batches test_batches save_every adapter_path grad_checkpoint mask_prompt resume_adapter_file optimizer_config "
    "grad_accumulation_steps hf_dataset clear_cache_threshold"
)
"""Keys that no other of the tools has."""
SCHEDULES = {"cosine_decay": "cosine", "linear_schedule": "linear"}
"""Ours by MLX's names."""


def model(draft: Draft) -> None:
    """The model; without one, mlx-lm trains a small one."""
    if draft.has("model"):
        draft.take("model.base", draft.places.model(draft.read("model", text, "")), "model")
    else:
        draft.imply("model.base", "Qwen/Qwen3-0.6B")


def data(draft: Draft) -> None:
    """A folder with train.jsonl and valid.jsonl, or datasets of the hub."""
    listed = draft.given.get("hf_dataset")
    if listed is not None:
        _hub(draft, listed)
        return
    name = draft.read("data", text, "mlx-community/WikiSQL")
    rows = draft.places.rows(name)
    draft.take("data.train", rows, "data")
    folder = draft.places.found(name)
    if folder is None or any((folder / each).exists() for each in ("valid.jsonl", "valid.json")):
        draft.take("data.validation", rows, "data", why="its rows for validation")
    else:
        draft.imply("data.validation", 0.0, "no valid.jsonl, so nothing is validated")


def _hub(draft: Draft, listed: Any) -> None:
    datasets = [one for one in (listed if isinstance(listed, list) else [listed]) if isinstance(one, dict)]
    found = [_source(one) for one in datasets if isinstance(one.get("path"), str)]
    if not found:
        draft.leave(["hf_dataset"], "no dataset in it has a path", "")
        return
    draft.take(
        "data.train",
        found[0] if len(found) == 1 else found,
        "hf_dataset",
        why="the whole split: ft has no parts of one such as train[:80%]",
    )
    draft.imply("data.validation", 0.1, "a tenth of the rows there too")


def _source(dataset: dict[str, Any]) -> dict[str, Any]:
    """Path, configuration, split and columns of a dataset."""
    names = {
        "prompt": "prompt_feature",
        "completion": "completion_feature",
        "text": "text_feature",
        "messages": "chat_feature",
    }
    found: dict[str, Any] = {"path": dataset["path"]}
    config = dataset.get("config")
    if isinstance(config, dict) and isinstance(config.get("name"), str):
        found["config"] = config["name"]
    split = dataset.get("train_split")
    found["split"] = split.partition("[")[0] or "train" if isinstance(split, str) else "train"
    columns = {
        ours: dataset[theirs] for ours, theirs in names.items() if isinstance(dataset.get(theirs), str)
    }
    columns = {ours: theirs for ours, theirs in columns.items() if ours != theirs}
    return found | ({"columns": columns} if columns else {})


def trained(draft: Draft) -> None:
    """All tokens, or those behind the last prompt."""
    if draft.read("mask_prompt", switch, False):
        draft.take("data.train_on", "last", "mask_prompt", why="mlx-lm masks all before the last answer")
    else:
        draft.take("data.train_on", "all", "mask_prompt")


def adapter(draft: Draft) -> None:
    """Type, rank, and `scale`, by which the update is multiplied: alpha / rank in ft."""
    name = draft.read("fine_tune_type", text, "lora").lower()
    if name == "full":
        draft.take("adapter.type", "none", "fine_tune_type", why="ft's word for every weight")
        _layers(draft)
        return
    draft.take("adapter.type", name, "fine_tune_type")
    draft.expand("lora_parameters")
    rank = draft.read("lora_parameters.rank", whole, 8)
    scale = draft.read("lora_parameters.scale", real, 20.0)
    draft.take("adapter.rank", rank, "lora_parameters.rank")
    why = f"alpha / rank is the scale: {scale:g} x {rank}"
    draft.take("adapter.alpha", scale * rank, "lora_parameters.scale", why=why)
    dropout = draft.read("lora_parameters.dropout", real, 0.0)
    draft.take("adapter.dropout", dropout, "lora_parameters.dropout")
    _targets(draft)
    _layers(draft)


def _targets(draft: Draft) -> None:
    key = "lora_parameters.keys"
    names = draft.words(key)
    layers = list(dict.fromkeys(name.rpartition(".")[2] for name in names))
    linear = [name for name in layers if name not in KEPT]
    if linear:
        draft.take(
            "adapter.target_modules", linear, key, why="ft names layers by the last part of their paths"
        )
    else:
        draft.leave([key], "ft adapts linear layers", "adapter.target_modules: all-linear")


def _layers(draft: Draft) -> None:
    """`num_layers` counts blocks from the last; ft adapts all of them."""
    key = draft.first("num_layers", "lora_layers")
    count = draft.read(key, whole, 16)
    if count == -1:
        draft.leave([key], "all layers, as in ft", "all layers are trained")
    elif draft.has(key):
        draft.leave([key], f"ft has no choice of the last {count} layers", "all layers are trained")
    else:
        draft.note("mlx-lm trains the last 16 layers where num_layers is left out", "all layers are trained")


def batch(draft: Draft) -> None:
    """Examples of a step."""
    steps.effective_batch(draft, "batch_size", 4, "grad_accumulation_steps")


def length(draft: Draft) -> None:
    """Iterations are micro-batches: several of them make a step."""
    iters, times = draft.read("iters", whole, 1000), draft.read("grad_accumulation_steps", whole, 1)
    count = max(1, iters // times) if times > 0 else iters
    why = f"{iters} micro-batches, {times} to a step" if times > 1 else "iterations are steps"
    draft.take("training.max_steps", count, "iters", why=why)


def schedule(draft: Draft) -> None:
    """The learning rate: constant, or the first argument of a schedule, which takes the place of `learning_rate`."""
    length(draft)
    draft.expand("lr_schedule")
    arguments = draft.given.get("lr_schedule.arguments")
    name = draft.read("lr_schedule.name", text, "")
    if name in SCHEDULES and isinstance(arguments, list) and arguments:
        _scheduled(draft, name, arguments)
        return
    parts = [key for key in draft.given if key.startswith("lr_schedule.")]
    draft.leave(parts, "ft has constant, linear and cosine", "training.scheduler: constant")
    draft.imply("training.scheduler", "constant", "" if parts else "no lr_schedule")
    draft.imply("training.warmup_ratio", 0.0)
    draft.take("training.learning_rate", draft.read("learning_rate", real, 1e-5), "learning_rate")


def _scheduled(draft: Draft, name: str, arguments: list[Any]) -> None:
    total = draft.values.get("training.max_steps")
    ends = f"falls to zero at the last step, {total}; there by {name}{inline(arguments)}"[:200]
    draft.take("training.scheduler", SCHEDULES[name], "lr_schedule.name", why=ends)
    try:
        rate = real(arguments[0])
    except Refused:
        draft.leave(
            ["lr_schedule.arguments"], "the first of them is no number", "training.learning_rate: 1e-5"
        )
        rate = 1e-5
    peak = "the first argument is the peak"
    draft.take("training.learning_rate", rate, "lr_schedule.arguments", why=peak)
    draft.leave(["learning_rate"], "mlx-lm takes the first argument of lr_schedule instead", "nothing")
    steps.warmup(draft, "lr_schedule.warmup", "lr_schedule.warmup_ratio", 0.0)
    draft.leave(["lr_schedule.warmup_init"], "ft's warm-up rises from zero", "0")


def optimizer(draft: Draft) -> None:
    """Adam is AdamW without decay; neither corrects its bias in mlx-lm unless told to."""
    name = draft.read("optimizer", text, "adam").lower()
    draft.expand("optimizer_config")
    own = f"optimizer_config.{name}"
    draft.expand(own)
    if name == "adamw":
        draft.take(
            "training.optimizer", "adamw", "optimizer", why="with bias correction, which mlx-lm leaves out"
        )
        decay = draft.read(f"{own}.weight_decay", real, 0.01)
        draft.take("training.weight_decay", decay, f"{own}.weight_decay")
    elif name == "adam":
        draft.take("training.optimizer", "adamw", "optimizer", why="Adam is AdamW without weight decay")
        draft.imply("training.weight_decay", 0.0, "Adam has none")
    else:
        draft.leave(["optimizer"], "ft trains with AdamW alone", "adamw; its learning rate may differ")
    others = [key for key in draft.given if key.startswith("optimizer_config.") and key not in draft.told]
    for key in others:
        if draft.given[key] in ({}, None):
            draft.told.add(key)
        draft.leave([key], "not of the optimizer in use, or no key of ft's AdamW", "nothing")


def clipping(draft: Draft) -> None:
    """mlx-lm does not clip."""
    draft.imply("training.max_grad_norm", None, "mlx-lm does not clip gradients")


def start(draft: Draft) -> None:
    """The file of an adapter to go on with; ft names its folder."""
    name = draft.read("resume_adapter_file", text, "")
    path = draft.places.found(name)
    if path is not None and (path.parent / "adapter_config.json").is_file():
        why = "the folder of the adapter"
        seen = draft.places.written(path.parent, name.rpartition("/")[0] or name)
        draft.take("adapter.from", seen, "resume_adapter_file", why=why)
        draft.start_from_saved()
    elif name:
        draft.leave(["resume_adapter_file"], "there is no adapter_config.json beside it", "a new adapter")


TABLE: Table = {
    "model": By(model, ("model.base",)),
    "trust_remote_code": To("model.trust_remote_code", switch),
    "max_seq_length": To("model.max_seq_length", whole, 2048),
    **each("data hf_dataset", By(data, ("data.train", "data.validation"))),
    "mask_prompt": By(trained, ("data.train_on",)),
    **each(
        "fine_tune_type lora_parameters num_layers lora_layers",
        By(
            adapter,
            ("adapter.type", "adapter.rank", "adapter.alpha", "adapter.dropout", "adapter.target_modules"),
        ),
    ),
    "resume_adapter_file": By(start, ("adapter.from",)),
    **each("batch_size grad_accumulation_steps", By(batch, steps.BATCH)),
    "iters": By(length, ("training.max_steps",)),
    **each(
        "lr_schedule learning_rate",
        By(schedule, ("training.scheduler", "training.learning_rate", "training.warmup_ratio")),
    ),
    **each("optimizer optimizer_config", By(optimizer, ("training.optimizer", "training.weight_decay"))),
    "max_grad_norm": By(clipping, ("training.max_grad_norm",)),
    "grad_checkpoint": To("training.gradient_checkpointing", switch),
    "steps_per_eval": To("evaluation.every", whole, 200),
    "save_every": To("checkpoints.every", whole, 100),
    "seed": To("seed", whole, 0),
    "val_batches": No("ft validates on all validation rows"),
    **each("test test_batches", No("ft evaluate scores a run on rows of its own")),
    "train": No("ft train trains"),
    "adapter_path": No(f"{OWN_FOLDER}; ft export writes an adapter for mlx-lm", "one in the runs folder"),
    "steps_per_report": No(LOGS),
    **each("report_to project_name wandb swanlab", No(TRACKED)),
    "clear_cache_threshold": No(SPEED),
    "config": No("the name of this file"),
}
