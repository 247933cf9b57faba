"""The tables of `ft init --from`: their keys lead to ours, and those of the tools are the tools' own."""

import ast
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.config.load import load_text
from engine.config.migration import mlx_lm, peft_adapter, training_arguments
from engine.config.migration.found import TOOLS
from engine.config.migration.migrate import migrated
from engine.config.migration.rules import keys_set, named
from engine.config.rules import schema_of
from engine.errors import ConfigError

RENAMED = named(
    "warmup_ratio evaluation_strategy overwrite_output_dir save_safetensors group_by_length no_cuda logging_dir "
    "predict_with_generate plot_loss"
)
"""Arguments of older versions of transformers, or of programs around it."""


def tree_of(module: str) -> ast.Module:
    """An installed module's source, which is not imported: that would load torch."""
    package, *path = module.split(".")
    found = importlib.util.find_spec(package)
    assert found is not None
    assert found.origin is not None
    return ast.parse(Path(found.origin).parent.joinpath(*path).with_suffix(".py").read_text(encoding="utf-8"))


def fields_of(module: str, name: str) -> dict[str, Any]:
    """The fields of a dataclass in an installed module, each with its default where that is a constant."""
    [found] = [one for one in tree_of(module).body if isinstance(one, ast.ClassDef) and one.name == name]
    fields: dict[str, Any] = {}
    for one in found.body:
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            words = one.value.keywords if isinstance(one.value, ast.Call) else []
            default = next((word.value for word in words if word.arg == "default"), None)
            fields[one.target.id] = default.value if isinstance(default, ast.Constant) else ...
    return fields


@pytest.mark.parametrize("name", TOOLS)
def test_every_key_leads_to_a_key_of_ours(name: str) -> None:
    lost = [(key, ours) for key, ours in keys_set(TOOLS[name].table) if schema_of(ours.split(".")) is None]
    assert lost == []


def test_tables_know_what_mlx_lm_reads() -> None:
    [defaults] = [
        ast.literal_eval(one.value)
        for one in tree_of("mlx_lm.lora").body
        if isinstance(one, ast.Assign)
        and isinstance(one.targets[0], ast.Name)
        and one.targets[0].id == "CONFIG_DEFAULTS"
    ]
    assert defaults.keys() <= mlx_lm.TABLE.keys()
    assert (defaults["batch_size"], defaults["iters"], defaults["learning_rate"]) == (4, 1000, 1e-5)
    assert (defaults["num_layers"], defaults["optimizer"], defaults["seed"]) == (16, "adam", 0)
    assert defaults["lora_parameters"] == {"rank": 8, "dropout": 0.0, "scale": 20.0}
    assert (defaults["steps_per_eval"], defaults["save_every"], defaults["mask_prompt"]) == (200, 100, False)


def test_arguments_are_those_of_transformers() -> None:
    fields = fields_of("transformers.training_args", "TrainingArguments")
    assert training_arguments.TABLE.keys() - fields.keys() <= RENAMED
    wanted = {
        "num_train_epochs": 3.0,
        "lr_scheduler_type": "linear",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
    }
    wanted |= {"save_steps": 500, "per_device_train_batch_size": 8, "learning_rate": 5e-5, "seed": 42}
    assert {key: fields[key] for key in wanted} == wanted


def test_defaults_are_those_of_trl_and_peft() -> None:
    sft, dpo = (
        fields_of("trl.trainer.sft_config", "SFTConfig"),
        fields_of("trl.trainer.dpo_config", "DPOConfig"),
    )
    assert (sft["learning_rate"], sft["max_length"], dpo["learning_rate"]) == (2e-5, 1024, 1e-6)
    assert not sft["assistant_only_loss"]
    script = fields_of("trl.trainer.model_config", "ModelConfig")
    assert (script["lora_r"], script["lora_alpha"], script["lora_dropout"]) == (16, 32, 0.05)
    lora = fields_of("peft.tuners.lora.config", "LoraConfig")
    assert (lora["r"], lora["lora_alpha"], lora["lora_dropout"]) == (8, 8, 0.0)
    new = {"velora_config", "monteclora_config", "use_bdlora", "kasa_config"}
    assert lora.keys() - peft_adapter.TABLE.keys() <= new, "reported as keys that ft does not know"


KEYS = sorted({key for tool in TOOLS.values() for key in (*tool.table, *tool.signs)})
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**18, max_value=10**400),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["", "auto", "all", "1e-4", "lora", "cosine", "no", "steps", "../x", "~", "/", "starter", "\x00"]
    ),
    st.sampled_from([-1, 0, 1, 2, 0.5, 1e-4, 300]),
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3) | st.dictionaries(st.text(max_size=5), SCALARS, max_size=3)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    given=st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), VALUES, max_size=14),
    name=st.sampled_from([None, *TOOLS]),
)
def test_any_values_give_a_recipe_or_an_error(
    tmp_path: Path, given: dict[str, Any], name: str | None
) -> None:
    """Whatever stands under their keys, the recipe reads back, or there is one clear message."""
    source, target = tmp_path / "theirs.json", tmp_path / "train.yml"
    source.write_text(json.dumps(given))
    migration = refusal = None
    try:
        migration = migrated(source, target, name)
    except ConfigError as error:
        refusal = error.message
    if migration is None:
        assert name is None or "half a character" in str(refusal)
        return
    load_text(migration.text, target)
    told = [key for one in migration.entries for key in getattr(one, "source", {})]
    assert len(told) == len(set(told)), "no key is told twice"
