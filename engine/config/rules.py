"""The schema in words: what a key may hold, and which key was probably meant."""

import ast
import difflib
import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

from engine import python_source
from engine.config.adapters import Adapter
from engine.config.method_sections import section_model
from engine.config.schema import TrainConfig
from engine.config.sections import Recipe
from engine.methods import installed_methods

Path = Sequence[str | int]
JsonSchema = dict[str, Any]

ELSEWHERE = {
    "lr": "training.learning_rate",
    "num_train_epochs": "training.epochs",
    "num_epochs": "training.epochs",
    "iters": "training.max_steps",
    "per_device_train_batch_size": "training.batch_size",
    "micro_batch_size": "training.batch_size",
    "gradient_accumulation_steps": "training.effective_batch_size",
    "lr_scheduler": "training.scheduler",
    "lr_scheduler_type": "training.scheduler",
    "warmup_steps": "training.warmup_ratio",
    "optim": "training.optimizer",
    "bf16": "training.precision",
    "fp16": "training.precision",
    "dtype": "training.precision",
    "lora_r": "adapter.rank",
    "lora_alpha": "adapter.alpha",
    "lora_dropout": "adapter.dropout",
    "lora_target_modules": "adapter.target_modules",
    "use_rslora": "adapter.rslora",
    "use_dora": "adapter.type",
    "peft_type": "adapter.type",
    "init_lora_weights": "adapter.init",
    "target_r": "adapter.rank",
    "init_r": "adapter.initial_rank",
    "num_virtual_tokens": "adapter.virtual_tokens",
    "encoder_hidden_size": "adapter.encoder_size",
    "oft_block_size": "adapter.block_size",
    "boft_block_size": "adapter.block_size",
    "base_model": "model.base",
    "model_name_or_path": "model.base",
    "load_in_4bit": "model.quantization",
    "load_in_8bit": "model.quantization",
    "sequence_len": "model.max_seq_length",
    "max_length": "model.max_seq_length",
    "cutoff_len": "model.max_seq_length",
    "dataset": "data.train",
    "datasets": "data.train",
    "val_set_size": "data.validation",
    "eval_steps": "evaluation.every",
    "save_steps": "checkpoints.every",
    "save_total_limit": "checkpoints.keep",
    "load_best_model_at_end": "checkpoints.publish",
    "output_dir": "output.dir",
}
"""Names of our keys in other trainers, for people who come from them."""


@cache
def recipe_schema() -> JsonSchema:
    """JSON Schema of a recipe, with every key's help as its description."""
    schema = TrainConfig.model_json_schema() | {"additionalProperties": False}
    for kind in (Recipe, Adapter):
        _describe(kind.__module__, schema["$defs"] | {Recipe.__name__: schema})
    sections = schema["properties"]
    after = list(sections)[list(sections).index("training") + 1 :]
    for method in installed_methods():
        if method.config is not None:
            _add_section(schema, method.name, method.config)
    for name in after:  # the methods' sections stand behind the one that chooses among them
        sections[name] = sections.pop(name)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "ft recipe"}


def _add_section(schema: JsonSchema, name: str, config: type) -> None:
    """Add the section of a training method."""
    section = section_model(config).model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
    inner = section.pop("$defs", {})
    _describe(config.__module__, {config.__name__: section, **inner})
    section |= {"additionalProperties": False, "description": inspect.getdoc(config) or ""}
    schema["$defs"] |= {name: section} | {f"{name}.{key}": value for key, value in inner.items()}
    schema["properties"][name] = {"$ref": f"#/$defs/{name}"}


def _describe(module: str, sections: Mapping[str, JsonSchema]) -> None:
    """Put the text under each field in the source of a module into the schemas of its classes."""
    for section in python_source.parse(inspect.getsource(sys.modules[module])).body:
        if isinstance(section, ast.ClassDef) and section.name in sections:
            for key, help_ in _texts_under_fields(section):
                sections[section.name]["properties"][key].setdefault("description", help_)


def _texts_under_fields(section: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(section.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(text))):
                yield key.rstrip("_"), inspect.cleandoc(text)  # `from` is a word of Python's


def alternatives(schema: JsonSchema) -> Iterator[JsonSchema]:
    """A schema's branches, references followed."""
    if "$ref" in schema:
        yield from alternatives(recipe_schema()["$defs"][schema["$ref"].rpartition("/")[2]])
    elif branches := schema.get("anyOf") or schema.get("oneOf"):
        for branch in branches:
            yield from alternatives(branch)
    else:
        yield schema


def schema_of(path: Path) -> JsonSchema | None:
    """The part of the schema that describes this key, or None where there is no such key."""
    schema: JsonSchema | None = recipe_schema()
    for step in path:
        inner = [_inside(branch, step) for branch in alternatives(schema or {})]
        schema = next((found for found in inner if found is not None), None)
    return schema


def _inside(branch: JsonSchema, step: str | int) -> JsonSchema | None:
    """Schema of an item, of a key, or of the value of any key where people choose the keys."""
    if isinstance(step, int):
        return branch.get("items")
    any_key = branch.get("additionalProperties")
    found: JsonSchema | None = branch.get("properties", {}).get(step)
    return found if found is not None or not isinstance(any_key, dict) else any_key


def keys_of(path: Path) -> list[str]:
    """The keys of a section."""
    schema = schema_of(path) or {}
    return [key for branch in alternatives(schema) for key in branch.get("properties", {})]


def rule(schema: JsonSchema) -> str:
    """The allowed values, as the end of the sentence "it has to be …"."""
    branches = list(alternatives(schema))
    single = [_words(branch) for branch in branches if branch.get("type") != "array"]
    for items in (branch["items"] for branch in branches if branch.get("type") == "array"):
        inner = [_words(branch) for branch in alternatives(items)]
        single.append("a list of these" if set(inner) <= set(single) else f"a list, each item {_list(inner)}")
    return _list(single)


def choices(schema: JsonSchema) -> list[str]:
    """The words that a value may be one of."""
    found = [
        branch.get("enum", [branch["const"]] if "const" in branch else []) for branch in alternatives(schema)
    ]
    return [str(word) for words in found for word in words]


def _words(schema: JsonSchema) -> str:
    match schema:
        case {"enum": [*words]}:
            return _list(words)
        case {"const": word}:
            return str(word)
        case {"patternErrorMessage": str(words)}:
            return words
        case {"properties": {**keys}}:
            return f"a mapping with {_list(list(keys), 'and')}"
        case {"type": "string", "minLength": 1}:
            return "some text"
        case {"type": "integer" | "number"}:
            return "a " + ("whole " if schema["type"] == "integer" else "") + f"number{_range(schema)}"
    return {"boolean": "true or false", "null": "null", "string": "text"}.get(
        schema.get("type", ""), "something else"
    )


def _range(schema: JsonSchema) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" from {_number(schema['minimum'])} to {_number(schema['maximum'])}"
    named = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "of at most",
        "exclusiveMaximum": "below",
    }
    limits = [f"{words} {_number(schema[key])}" for key, words in named.items() if key in schema]
    return " " + " and ".join(limits) if limits else ""


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _list(words: Sequence[object], last: str = "or") -> str:
    *front, end = [str(word) for word in words]
    return f"{', '.join(front)} {last} {end}" if front else end


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that this one was probably meant to be."""
    folded = {name.lower().replace("-", "_"): name for name in known}
    word = word.lower().replace("-", "_").replace(" ", "_")
    close = difflib.get_close_matches(word, folded, 1, 0.6)
    starts = [name for name in folded if word and (name.startswith(word) or word.startswith(name))]
    found = close or starts[:1]
    return folded[found[0]] if found else None


def nearest_key(path: Path) -> str | None:
    """The key that an unknown one was probably meant to be: beside it, another trainer's, elsewhere."""
    key = str(path[-1])
    if found := nearest(key, keys_of(path[:-1])):
        return found
    everywhere = {f"{top}.{name}" for top in keys_of(()) for name in keys_of((top,))}
    if key in ELSEWHERE:
        return ELSEWHERE[key]
    by_name = {full.partition(".")[2]: full for full in sorted(everywhere)}
    near = nearest(key, list(by_name))
    return by_name[near] if near else None
