"""Values that are each allowed and cannot work together."""

from collections.abc import Mapping

from engine.config import method_sections
from engine.config.adapters import FLOAT_ONLY, PROMPT_TYPES, misplaced
from engine.config.sections import Recipe
from engine.config.values import NO, YES
from engine.methods import method_named
from engine.metrics.registry import EVAL_LOSS, describe, own, reported

PERPLEXITY = "perplexity"
ALWAYS = (EVAL_LOSS, PERPLEXITY)
"""Metrics of every evaluation, asked for or not."""
GIVEN_TO_TEMPLATES = ("messages", "tools", "documents", "add_generation_prompt")


def impossible(config: Recipe) -> list[str]:
    """Problems of values that cannot work together, each line as `key: why, and what to do`."""
    return [
        *_model(config),
        *_data(config),
        *_adapter(config),
        *_method(config),
        *_training(config),
        *_evaluation(config),
    ]


def _model(config: Recipe) -> list[str]:
    found = []
    held, kind = config.model.quantization, config.adapter.type
    if kind == "none" and held != "none":
        found.append(
            f"model.quantization: {held} weights are frozen, so adapter.type: none "
            "would train nothing; use adapter.type: lora, or quantization: none"
        )
    if kind in FLOAT_ONLY and held != "none":
        found.append(
            f"model.quantization: adapter.type: {kind} cannot be put on {held} weights; "
            "use adapter.type: lora, or quantization: none"
        )
    tokens = config.model.add_tokens
    if len(set(tokens)) < len(tokens):
        twice = next(token for token in tokens if tokens.count(token) > 1)
        found.append(f"model.add_tokens: {twice} is named twice; leave one out")
    if any(not token.strip() for token in tokens):
        found.append(
            "model.add_tokens: a token of white space alone cannot be distinguished in a text; leave it out"
        )
    if tokens and kind not in ("lora", "dora", "none"):
        found.append(
            f"model.add_tokens: adapter.type: {kind} cannot hold the rows of new tokens; use adapter.type: lora, "
            "or none to train every weight"
        )
    found += _template_variables(config.model.template_variables or {})
    if config.model.base == "starter" and config.model.revision is not None:
        found.append("model.revision: only a model of the hub has revisions; base is starter")
    return found


def _template_variables(variables: Mapping[str, object]) -> list[str]:
    found = []
    for name, value in variables.items():
        key = f"model.template_variables.{name}"
        if name in GIVEN_TO_TEMPLATES or not name.isidentifier():
            found.append(f"{key}: a template gets this from ft, or could not read it; leave it out")
        elif isinstance(value, str) and value.lower() in (*YES, *NO):
            meant = "true" if value.lower() in YES else "false"
            found.append(f"{key}: {value} is a word, which a template takes for true; write {meant}")
    return found


def _data(config: Recipe) -> list[str]:
    data = config.data
    train = data.train if isinstance(data.train, list) else [data.train]
    listed = {
        f"data.train[{number}]" if len(train) > 1 else "data.train": one for number, one in enumerate(train)
    }
    found = []
    for key, part in {"data": data, **listed, "data.validation": data.validation}.items():
        if isinstance(part, str | float):
            continue
        if getattr(part, "streaming", False) and part.max_samples is None:
            found.append(f"{key}.streaming: max_samples has to say how many rows are read")
        if part.columns and part.template:
            found.append(f"{key}.columns: template names the columns itself; leave one of the two out")
        texts = {"": part.template} if isinstance(part.template, str) else part.template or {}
        for column, text in texts.items():
            if problem := _broken(text):
                found.append(f"{key}.template{column and f'.{column}'}: {problem}")
    validation = data.validation
    if not isinstance(validation, float | int | str) and validation.weight != 1:
        found.append("data.validation.weight: every validation row counts once; leave it out")
    return found


def _broken(template: str) -> str:
    """Problem of a Jinja template; empty where it can be read."""
    import jinja2  # at the one place that needs it: most recipes have no template of their own

    try:
        jinja2.Environment().parse(template)
    except jinja2.TemplateSyntaxError as error:
        return f"no Jinja template (line {error.lineno}): {error.message}"
    return ""


def _adapter(config: Recipe) -> list[str]:
    adapter, held = config.adapter, config.model.quantization
    found = [f"adapter.{key}: {why}" for key, why in misplaced(adapter)]
    if (
        adapter.type == "adalora"
        and adapter.initial_rank is not None
        and adapter.initial_rank <= adapter.rank
    ):
        found.append(
            f"adapter.initial_rank: {adapter.initial_rank} leaves nothing to prune down to rank {adapter.rank}; "
            "give a higher one, or leave it out"
        )
    if adapter.from_ is not None and adapter.type == "none":
        found.append(
            "adapter.from: adapter.type: none trains the weights themselves; leave one of the two out"
        )
    if adapter.init in ("pissa", "olora") and held != "none":
        found.append(
            f"adapter.init: {adapter.init} takes its start out of the weights, which {held} ones cannot give; "
            "use init: default, or quantization: none"
        )
    if adapter.init == "loftq" and held != "4bit":
        found.append("adapter.init: loftq starts from what 4-bit weights lost; use model.quantization: 4bit")
    if adapter.init == "orthogonal" and adapter.rank % 2:
        found.append(f"adapter.init: orthogonal needs an even rank; use rank: {adapter.rank + 1}")
    if adapter.type in PROMPT_TYPES and config.data.packing is True:
        found.append(
            f"data.packing: {adapter.type} puts its virtual tokens in front of a row, so every row holds one "
            "example; use packing: auto"
        )
    if adapter.type == "prefix" and config.training.gradient_checkpointing in (True, "offload"):
        found.append(
            "training.gradient_checkpointing: prefix comes into the layers by the cache, which a layer that "
            "is computed again does not have; use gradient_checkpointing: auto"
        )
    return found


def _method(config: Recipe) -> list[str]:
    name = config.training.method
    found = [f"{name}: {why}" for name, why in method_sections.misplaced(name, config.method_sections)]
    found += [f"{name}.{key}: {why}" for key, why in method_named(name).problems(config.method_config)]
    if method_named(name).samples != "supervised" and config.data.train_on == "all":
        found.append(
            f"data.train_on: {name} compares answers, and all would count the prompt as one; use train_on: assistant"
        )
    return found


def _training(config: Recipe) -> list[str]:
    found = []
    if config.training.lora_plus_ratio != 1 and config.adapter.type not in ("lora", "dora"):
        found.append(
            f"training.lora_plus_ratio: adapter.type: {config.adapter.type} has no matrices A and B; "
            "leave it out, or use adapter.type: lora"
        )
    rows, effective = config.training.batch_size, config.training.effective_batch_size
    if rows != "auto" and rows > effective:
        found.append(
            f"training.batch_size: {rows} examples at a time are more than the {effective} that make a step; "
            f"use batch_size: auto, or effective_batch_size: {rows}"
        )
    return found


def _evaluation(config: Recipe) -> list[str]:
    found = []
    best, asked = config.checkpoints.best, config.evaluation.metrics
    method = method_named(config.training.method)
    for name in (name for name in asked if "answers" in describe(name).needs):
        if config.data.format == "completion":
            found.append(
                f"evaluation.metrics: {name} needs rows with a question and an answer, "
                "and data.format: completion is text alone"
            )
        if config.data.validation == 0:
            found.append(
                f"evaluation.metrics: {name} asks validation prompts, and data.validation: 0 turns validation off"
            )
    of_others = set(reported()) - set(method.metrics)
    if method.samples != "supervised":
        of_others.add(PERPLEXITY)
    if best in of_others:
        found.append(
            f"checkpoints.best: training.method: {method.name} does not report {best}; "
            f"use {' or '.join((*method.metrics, EVAL_LOSS))}"
        )
    elif best in own() and describe(best).better is None:
        found.append(f"checkpoints.best: neither more nor less {best} is better; use {EVAL_LOSS}")
    elif best not in (*ALWAYS, *asked, *method.metrics):
        found.append(f"checkpoints.best: {best} is not evaluated; add it to evaluation.metrics")
    if config.data.validation == 0:
        if best != EVAL_LOSS:
            found.append(
                f"checkpoints.best: {best} is measured on validation rows, and data.validation: 0 turns validation off"
            )
        if config.evaluation.early_stopping_patience is not None:
            found.append(
                "evaluation.early_stopping_patience: watches validation rows, "
                "and data.validation: 0 turns validation off"
            )
        if config.checkpoints.publish == "best":
            found.append(
                "checkpoints.publish: the best checkpoint is found on validation rows, and with data.validation: 0 "
                "there are none; use publish: last, or give validation rows"
            )
    return found
