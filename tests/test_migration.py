"""`ft init --from`: a file of another trainer becomes a recipe that means the same, and says what does not."""

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine.config.load import load_recipe
from ft.cli import main
from tests.migrated import made, recipe, report, without_equal

AXOLOTL = """\
base_model: mistralai/Mistral-7B-v0.3
load_in_8bit: false
load_in_4bit: true
datasets:
  - path: tickets.jsonl
    type: chat_template
    field_messages: turns
  - {path: OWNER/notes, type: completion, field: body, name: en}
val_set_size: 0.05
output_dir: ./out
adapter: qlora
lora_model_dir:
sequence_len: 1024
sample_packing: true
lora_r: 24
lora_alpha: 48
lora_dropout: 0.1
lora_target_linear: true
gradient_accumulation_steps: 3
micro_batch_size: 2
max_steps: 300
optimizer: paged_adamw_32bit
lr_scheduler: constant_with_warmup
learning_rate: 3e-4
bf16: auto
gradient_checkpointing: offload
warmup_steps: 10
evals_per_epoch: 4
save_steps: 25
wandb_project: tickets
special_tokens: {pad_token: "<pad>"}
made_up_key: 7
"""
LLAMA_FACTORY = """\
model_name_or_path: Qwen/Qwen2.5-3B
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 12
lora_target: q_proj,v_proj
quantization_bit: 4
dataset: own, chats, nowhere
dataset_dir: data
template: llama3
cutoff_len: 900
max_samples: 50
mask_history: true
neat_packing: true
per_device_train_batch_size: 2
gradient_accumulation_steps: 5
num_train_epochs: 2.0
warmup_ratio: 0.2
val_size: 0.1
eval_strategy: steps
eval_steps: 40
"""
REGISTRY = {
    "own": {"file_name": "own.json", "columns": {"prompt": "question", "response": "answer"}},
    "chats": {
        "hf_hub_url": "OWNER/chats",
        "formatting": "sharegpt",
        "columns": {"messages": "turns"},
        "tags": {"user_tag": "kundin", "assistant_tag": "gpt"},
    },
}
MLX = """\
model: mlx-community/SmolLM2-360M-Instruct
train: true
fine_tune_type: dora
data: corpus
num_layers: 8
batch_size: 2
grad_accumulation_steps: 4
iters: 600
learning_rate: 1e-5
mask_prompt: true
lora_parameters: {keys: [self_attn.q_proj, self_attn.v_proj], rank: 4, scale: 10.0, dropout: 0.0}
lr_schedule: {name: cosine_decay, warmup: 15, warmup_init: 1e-7, arguments: [2e-5, 600, 1e-7]}
steps_per_eval: 100
adapter_path: adapters
"""
UNSLOTH: dict[str, Any] = {
    "model_name": "unsloth/Qwen2.5-1.5B",
    "max_seq_length": 1536,
    "load_in_4bit": True,
    "r": 32,
    "target_modules": ["q_proj", "k_proj", "embed_tokens", "lm_head"],
    "use_gradient_checkpointing": "unsloth",
    "SFTConfig": {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 8,
        "max_steps": 80,
        "warmup_steps": 4,
        "optim": "adamw_8bit",
        "report_to": "none",
    },
}
TRL = """\
model_name_or_path: OWNER/base
dataset_name: OWNER/rows
dataset_config: small
use_peft: true
lora_r: 4
learning_rate: 1.0e-4
per_device_train_batch_size: 4
lr_scheduler_type: constant
warmup_steps: 7
assistant_only_loss: true
bf16: true
"""
PEFT: dict[str, Any] = {
    "peft_type": "LORA",
    "base_model_name_or_path": "OWNER/base",
    "r": 6,
    "lora_alpha": 9,
    "lora_dropout": 0.05,
    "target_modules": ["model.layers.0.self_attn.q_proj", "up_proj"],
    "modules_to_save": ["lm_head", "score"],
    "use_rslora": True,
    "init_lora_weights": "pissa_niter_4",
    "task_type": "CAUSAL_LM",
    "bias": "all",
}


@pytest.fixture
def place(folder: Path) -> Path:
    (folder / "ours").mkdir()
    (folder / "theirs").mkdir()
    return folder


def test_axolotl_file_becomes_a_recipe(place: Path) -> None:
    (place / "theirs" / "tickets.jsonl").touch()
    config = made("qlora.yml", AXOLOTL, place)
    assert (config.model.base, config.model.quantization) == ("mistralai/Mistral-7B-v0.3", "4bit")
    assert config.model.max_seq_length == 1024
    first, second = config.data.train
    assert (first.path, first.columns) == (str(place / "theirs" / "tickets.jsonl"), {"messages": "turns"})
    assert (second.path, second.format, second.columns) == (
        "hf://datasets/OWNER/notes",
        "completion",
        {"text": "body"},
    )
    assert (second.config, config.data.validation, config.data.packing) == ("en", 0.05, True)
    adapter = config.adapter
    assert (adapter.rank, adapter.alpha, adapter.dropout) == (24, 48, 0.1)
    assert adapter.target_modules == "all-linear"
    training = config.training
    assert (training.effective_batch_size, training.max_steps, training.learning_rate) == (6, 300, 3e-4)
    assert (training.scheduler, training.optimizer) == ("constant", "adamw")
    assert (training.weight_decay, training.gradient_checkpointing) == (0.0, "offload")
    assert config.checkpoints.every == 25
    assert config.output.dir == str(place / "theirs" / "out")


def test_steps_of_warm_up_become_the_share_that_the_schedule_turns_back(place: Path) -> None:
    training = made("qlora.yml", AXOLOTL, place).training
    assert training.max_steps is not None
    assert math.ceil(training.warmup_ratio * training.max_steps) == 10


def test_every_key_is_told_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made("qlora.yml", AXOLOTL, place, "--json")
    body = report(capsys)
    told = [key for part in ("taken", "changed", "no_equal") for one in body[part] for key in one["source"]]
    keys = [line.partition(":")[0] for line in AXOLOTL.splitlines() if line[0].isalpha()]
    assert sorted(told) == sorted(set(keys) - {"lora_model_dir"}), "a key without a value is their default"
    assert body["tool"] == "axolotl"
    assert "base_model" in body["found_by"]
    assert without_equal(body)["evals_per_epoch"] == "evaluation.every: 50"
    assert without_equal(body)["made_up_key"] == "ft's default stands"


def test_report_says_taken_changed_defaults_and_no_equal(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = recipe("qlora.yml", AXOLOTL, place).source
    told = capsys.readouterr()
    assert "  lora_r: 24 → adapter.rank: 24\n" in told.out
    assert (
        "  micro_batch_size: 2, gradient_accumulation_steps: 3 → training.effective_batch_size: 6\n"
        in told.out
    )
    assert "With sample_packing each of those held several examples" in told.out
    assert "\naxolotl's defaults, which are not ft's\n  training.weight_decay: 0.0\n" in told.out
    assert "  wandb_project: tickets\n    ft track sends runs to trackers\n" in told.out
    assert told.err.startswith("Wrote ours/train.yml from theirs/qlora.yml.\nNext:\n")
    assert "rank: 24                    # lora_r\n" in text
    assert "# axolotl's default\n" in text
    assert "#   made_up_key: no key that ft knows of axolotl; here: ft's default stands\n" in text
    assert max(map(len, text.splitlines())) < 160


def test_all_alpaca_rows_of_axolotl_get_alpacas_headings(place: Path) -> None:
    text = "base_model: a/b\nsequence_len: 512\ndatasets: [{path: a/rows, type: alpaca}]\n"
    config = made("full.yml", text, place)
    assert config.model.chat_template == "alpaca"
    assert config.adapter.type == "none", "no adapter there: every weight is trained"
    assert (config.data.validation, config.training.epochs, config.training.effective_batch_size) == (0, 1, 1)


def test_llama_factory_file_becomes_a_recipe(place: Path) -> None:
    (place / "theirs" / "data").mkdir()
    (place / "theirs" / "data" / "dataset_info.json").write_text(json.dumps(REGISTRY))
    config = made("sft.yaml", LLAMA_FACTORY, place)
    assert (config.model.base, config.model.quantization) == ("Qwen/Qwen2.5-3B", "4bit")
    assert (config.model.chat_template, config.model.max_seq_length) == ("llama3", 900)
    own, chats = config.data.train
    assert own.path == str(place / "theirs" / "data" / "own.json")
    assert own.columns == {"instruction": "question", "output": "answer"}
    assert (chats.path, chats.columns) == ("hf://datasets/OWNER/chats", {"conversations": "turns"})
    assert (chats.roles, chats.max_samples) == ({"kundin": "user"}, 50)
    assert (config.data.train_on, config.data.packing, config.data.validation) == ("last", True, 0.1)
    adapter = config.adapter
    assert (adapter.rank, adapter.alpha, adapter.target_modules) == (12, 24.0, ["q_proj", "v_proj"])
    training = config.training
    assert (training.effective_batch_size, training.epochs, training.warmup_ratio) == (10, 2, 0.2)
    assert (training.learning_rate, training.scheduler) == (5e-5, "linear")
    assert (config.evaluation.every, config.checkpoints.every) == (40, 500)


def test_dataset_without_registry_has_no_equal(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = made("sft.yaml", LLAMA_FACTORY, place, "--json")
    assert config.data.train == str(place / "ours" / "rows.jsonl")
    body = report(capsys)
    assert "a file name to fill in" in without_equal(body)["dataset"]
    assert any("does not say data.train" in one["why"] for one in body["no_equal"])


@pytest.mark.parametrize("registry", ["{", "[1]", '{"own": 5}', '{"own": {}}', "\udc80", "[" * 100_000])
def test_torn_registry_leaves_datasets_out(place: Path, registry: str) -> None:
    (place / "theirs" / "dataset_info.json").write_text(registry, errors="surrogateescape")
    assert made("sft.yaml", LLAMA_FACTORY, place).data.train == str(place / "ours" / "rows.jsonl")


def test_llama_factory_reads_json_too(place: Path) -> None:
    text = json.dumps({"model_name_or_path": "a/b", "finetuning_type": "full", "cutoff_len": 300})
    config = made("full.json", text, place)
    assert (config.adapter.type, config.model.max_seq_length) == ("none", 300)


def test_mlx_lm_file_becomes_a_recipe(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "theirs" / "corpus").mkdir()
    (place / "theirs" / "corpus" / "valid.jsonl").touch()
    config = made("lora.yaml", MLX, place, "--json")
    assert config.data.train == config.data.validation == str(place / "theirs" / "corpus")
    adapter = config.adapter
    assert (adapter.type, adapter.rank, adapter.alpha) == ("dora", 4, 40.0)
    assert adapter.target_modules == ["q_proj", "v_proj"]
    training = config.training
    assert (training.effective_batch_size, training.max_steps) == (8, 150), "iterations are micro-batches"
    assert (training.learning_rate, training.scheduler, training.warmup_ratio) == (2e-5, "cosine", 0.1)
    assert (training.weight_decay, training.max_grad_norm) == (0.0, None), "Adam, and no clipping"
    assert (config.data.train_on, config.seed, config.checkpoints.every) == ("last", 0, 100)
    told = without_equal(report(capsys))
    assert told["num_layers"] == "all layers are trained"
    assert {"learning_rate", "adapter_path", "lr_schedule.warmup_init"} <= told.keys()


def test_mlx_lm_defaults_are_written_out(place: Path) -> None:
    config = made("lora.yaml", "model: a/b\niters: 10\n", place)
    assert (config.adapter.rank, config.adapter.alpha) == (8, 160.0)
    training = config.training
    assert (training.learning_rate, training.scheduler, training.warmup_ratio) == (1e-5, "constant", 0.0)
    assert (training.effective_batch_size, config.data.train_on) == (4, "all")
    assert (config.data.train, config.evaluation.every) == ("hf://datasets/mlx-community/WikiSQL", 200)


def test_unsloth_arguments_become_a_recipe(place: Path) -> None:
    config = made("arguments.json", json.dumps(UNSLOTH), place)
    assert (config.model.base, config.model.quantization) == ("unsloth/Qwen2.5-1.5B", "4bit")
    assert config.model.max_seq_length == 1536
    adapter = config.adapter
    assert (adapter.rank, adapter.alpha) == (32, 16.0), "alpha's default is 16 whatever the rank"
    assert adapter.target_modules == ["q_proj", "k_proj"]
    assert adapter.modules_to_save == ["embed_tokens", "lm_head"]
    training = config.training
    assert (training.effective_batch_size, training.warmup_ratio) == (16, 0.05)
    assert (training.learning_rate, training.scheduler, training.optimizer) == (2e-5, "linear", "adamw_8bit")
    assert training.gradient_checkpointing == "offload"


def test_trl_arguments_become_a_recipe(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = made("sft.yaml", TRL, place, "--json")
    assert (config.data.train.path, config.data.train.config) == ("hf://datasets/OWNER/rows", "small")
    assert (config.data.validation, config.data.train_on) == (0.0, "assistant")
    adapter = config.adapter
    assert (adapter.rank, adapter.alpha, adapter.dropout) == (4, 32.0, 0.05)
    assert adapter.target_modules == ["q_proj", "v_proj"]
    training = config.training
    assert (training.scheduler, training.warmup_ratio, training.precision) == ("constant", 0.0, "bf16")
    assert config.model.max_seq_length == 1024
    body = report(capsys)
    assert without_equal(body)["warmup_steps"] == "training.warmup_ratio: 0"
    assert {"adapter.dropout", "model.max_seq_length"} <= {one["key"] for one in body["defaults"]}


def test_trl_without_adapter_trains_every_weight(place: Path) -> None:
    config = made("full.yml", "per_device_train_batch_size: 2\nnum_train_epochs: 1\n", place)
    assert config.adapter.type == "none"


def test_peft_adapter_becomes_a_recipe(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = made("adapter_config.json", json.dumps(PEFT), place, "--json")
    adapter = config.adapter
    assert (config.model.base, adapter.rank, adapter.alpha) == ("OWNER/base", 6, 9.0)
    assert (adapter.dropout, adapter.rslora, adapter.init) == (0.05, True, "pissa")
    assert adapter.target_modules == ["q_proj", "up_proj"]
    assert adapter.modules_to_save == []
    told = without_equal(report(capsys))
    assert {"bias", "modules_to_save"} <= told.keys()


@pytest.mark.parametrize(
    ("about", "ours"),
    [
        ({"peft_type": "IA3"}, {"type": "ia3"}),
        ({"peft_type": "LOKR", "r": 4, "alpha": 2}, {"type": "lokr", "rank": 4, "alpha": 2.0}),
        ({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 9}, {"type": "prompt", "virtual_tokens": 9}),
        ({"peft_type": "ADALORA", "target_r": 5, "init_r": 9}, {"type": "adalora", "initial_rank": 9}),
        ({"peft_type": "POLY"}, {"type": "lora"}),
    ],
)
def test_other_adapters_of_peft(place: Path, about: dict[str, Any], ours: dict[str, Any]) -> None:
    adapter = made("adapter_config.json", json.dumps(about), place).adapter
    assert {key: getattr(adapter, key) for key in ours} == ours


def test_value_that_the_schema_refuses_is_told_and_left_out(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "base_model: a/b\nsequence_len: 4\nlearning_rate: 7\nlora_r: many\nadapter: lora\nnum_epochs: -1\n"
    config = made("odd.yml", text, place, "--json")
    assert config.model.max_seq_length == 2048
    assert config.training.learning_rate == 2e-4
    told = {key: one["why"] for one in report(capsys)["no_equal"] for key in one["source"]}
    assert told["lora_r"] == "it is not a number"
    assert "it has to be a number above 0 and below 1" in told["learning_rate"]
    assert {"sequence_len", "num_epochs"} <= told.keys()


def test_values_that_do_not_go_together_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = made("odd.yml", "base_model: a/b\nsequence_len: 99\nload_in_4bit: true\n", place, "--json")
    assert (config.adapter.type, config.model.quantization) == ("none", "none")
    assert "load_in_4bit" in without_equal(report(capsys))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("q.yml", "base_model: a/b\nsequence_len: 99\nadapter: lora\nlora_r: 3\nlora_model_dir: ./before\n"),
        ("q.yaml", "model_name_or_path: a/b\nlora_rank: 3\nadapter_name_or_path: ./before\n"),
        ("lora.yaml", "model: a/b\niters: 3\nresume_adapter_file: before/adapters.safetensors\n"),
    ],
)
def test_saved_adapter_to_go_on_with(
    name: str, text: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "theirs" / "before").mkdir()
    for file in ("adapter_config.json", "adapters.safetensors"):
        (place / "theirs" / "before" / file).touch()
    adapter = made(name, text, place, "--json").adapter
    assert adapter.model_fields_set == {"from_"}, "rank and all else are the saved one's own"
    assert adapter.from_ == str(place / "theirs" / "before")
    told = without_equal(report(capsys))
    assert [key for key in told if told[key] == "what the saved adapter has"] or "rank: 3" not in text


def test_turns_with_other_keys_are_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        "base_model: a/b\nsequence_len: 99\ndatasets:\n"
        "  - {path: a/b, type: chat_template, message_property_mappings: {role: speaker}, roles: {user: [kunde]}}\n"
    )
    config = made("q.yml", text, place, "--json")
    assert config.data.train.roles == {"kunde": "user"}
    assert any("turns with other keys" in one["why"] for one in report(capsys)["no_equal"])


def test_columns_of_a_type_of_ones_own(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind = "{field_instruction: q, field_output: a, format: 'Q: {instruction}'}"
    text = f"base_model: a/b\nsequence_len: 99\ndatasets: [{{path: a/b, type: {kind}}}]\n"
    config = made("q.yml", text, place, "--json")
    assert config.data.train.columns == {"instruction": "q", "output": "a"}
    assert any("format of its type" in one["why"] for one in report(capsys)["no_equal"])


def test_axolotl_quantisation_settings(place: Path) -> None:
    text = (
        "base_model: a/b\nsequence_len: 99\nadapter: qlora\nload_in_4bit: true\n"
        "bnb_config_kwargs: {bnb_4bit_quant_type: fp4, bnb_4bit_use_double_quant: false}\n"
    )
    model = made("q.yml", text, place).model
    assert (model.quantization, model.quant_type, model.double_quant) == ("4bit", "fp4", False)


def test_trl_evaluates_as_often_as_it_logs(place: Path) -> None:
    text = "per_device_train_batch_size: 2\ndataset_name: a/b\neval_strategy: steps\n"
    config = made("sft.yaml", text, place)
    assert (config.evaluation.every, config.data.validation.split) == (10, "test")


def test_recipe_that_is_there_stays(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "ours" / "train.yml").write_text("name: mine\n")
    (place / "theirs" / "q.yml").write_text(AXOLOTL)
    assert main(["init", "ours", "--from", "theirs/q.yml"]) == 2
    assert "--force overwrites it" in capsys.readouterr().err
    assert (place / "ours" / "train.yml").read_text() == "name: mine\n"
    assert main(["init", "ours", "--from", "theirs/q.yml", "--force"]) == 0
    assert load_recipe(place / "ours" / "train.yml").config.adapter.rank == 24


def test_file_is_not_overwritten_by_its_own_recipe(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "train.yml").write_text(AXOLOTL)
    assert main(["init", "--from", "train.yml", "--force"]) == 2
    assert "train.yml is the file that is read" in capsys.readouterr().err
    assert (place / "train.yml").read_text() == AXOLOTL


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a mapping"),
        ("- a\n- b\n", "is not a mapping"),
        ("a: [", "theirs/junk.yml:2:1: this bracket is not closed"),
        ("iters: 1\niters: 2\n", "iters is given twice"),
        ("model: a/b\ntrain_dataset: d\npeft_config: {name: lora}\n", "LLaMA-Factory's new layout (v1)"),
        ("a: 1\n", "none of its keys tells which trainer it is for"),
        ("model: {base: starter}\ndata: {train: starter}\n", "is a recipe of ft's already"),
        ("base_model: a\niters: 3\n", "its keys are as much those of axolotl as of mlx-lm"),
        ('{"iters": "\\ud800"}', "half a character"),
        ('{"iters": ' + "[" * 60 + "]" * 60 + "}", "nested over 50 levels"),
        ("iters: " + "x" * 1_000_001, "larger than 1 MB"),
    ],
)
def test_junk_is_refused(text: str, said: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "theirs" / "junk.yml").write_text(text)
    assert main(["init", "--from", "theirs/junk.yml"]) == 2
    assert said in capsys.readouterr().err
    assert not (place / "train.yml").exists()


def test_file_that_cannot_be_read_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--from", "nowhere.yml"]) == 2
    assert main(["init", "--from", "theirs"]) == 2
    (place / "bytes.yml").write_bytes(b"a: \xff\n")
    assert main(["init", "--from", "bytes.yml"]) == 2
    os.mkfifo(place / "pipe.yml")
    assert main(["init", "--from", "pipe.yml"]) == 7
    told = capsys.readouterr().err
    for said in ("does not exist", "is a folder", "not UTF-8 text", "a named pipe"):
        assert said in told


def test_format_can_be_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = made("few.yml", "learning_rate: 1e-5\nbatch_size: 7\n", place, "--from-format", "mlx-lm")
    assert config.training.effective_batch_size == 7
    assert main(["init", "x.yml", "--from", "theirs/few.yml", "--from-format", "axolot"]) == 2
    assert "did you mean axolotl?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--json"],
        ["--from-format", "trl"],
        ["--from", "x", "--model", "y"],
        ["--from", "x", "--profile", "y"],
    ],
)
def test_options_that_do_not_go_together(
    words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", *words]) == 2
    assert "--from" in capsys.readouterr().err


def test_secrets_stay_in_the_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = f"{TRL}hub_token: hf_abcdefghijklmnop\nswanlab_api_key: sesame-open\n"
    written = recipe("sft.yaml", text, place).source
    assert main(["init", "again.yml", "--from", "theirs/sft.yaml", "--json"]) == 0
    told = capsys.readouterr()
    for secret in ("abcdefghijklmnop", "sesame"):
        assert secret not in written + told.out + told.err


def test_escapes_of_a_file_do_not_reach_the_recipes_comments(place: Path) -> None:
    text = json.dumps(
        {"base_model": "a/b", "sequence_len": 64, "made\nup\x1b[31m": "x\ny", "optimizer": "x\n: y"}
    )
    written = recipe("odd.json", text, place).source
    assert "\x1b" not in written
    assert "made up␛[31m" in written


def test_page_shows_what_the_command_prints(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docs = Path(__file__).parent.parent / "docs"
    shutil.copy(docs / "examples" / "axolotl.yml", folder)
    assert main(["init", "--from", "axolotl.yml"]) == 0
    told = capsys.readouterr()
    page = (docs / "migration.md").read_text(encoding="utf-8")
    assert f"$ ft init --from axolotl.yml\n{told.out}{told.err}```\n" in page


@pytest.mark.slow
def test_migrated_recipe_trains_a_step(tiny_model: Path, place: Path) -> None:
    row = '{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello %d"}]}\n'
    (place / "theirs" / "rows.jsonl").write_text("".join(row % number for number in range(8)))
    text = (
        f"base_model: {tiny_model}\nsequence_len: 64\nadapter: lora\nlora_r: 2\nlora_alpha: 4\n"
        "datasets: [{path: rows.jsonl, type: chat_template}]\nmicro_batch_size: 2\nmax_steps: 1\n"
        "optimizer: adamw_torch\nlearning_rate: 0.001\noutput_dir: run\n"
    )
    made("q.yml", text, place)
    assert main(["train", "ours/train.yml"]) == 0
    assert (place / "theirs" / "run" / "adapter" / "adapter_model.safetensors").is_file()
