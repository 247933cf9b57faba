"""Model cards: what a finished run's result says of itself, to people, to the hub and to transformers."""

import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from huggingface_hub import ModelCard as HubCard

from engine.backends.files import copy_tokenizer_files
from engine.config.load import load_text
from engine.publishing.card import card_of, run_files, write_card
from engine.publishing.facts import BASE, model_card
from engine.publishing.loss_picture import loss_picture
from engine.publishing.model_card import AdapterFacts, Base, DataFacts, ModelCard, Score, TrainingFacts
from engine.publishing.public_recipe import public_recipe, public_source
from engine.publishing.render import render
from engine.runs.directory.card_mark import CARD, is_ours, marked
from engine.runs.directory.create_job import create_job
from engine.runs.directory.events import Eval, Finished, Saved, encode
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel
from tests.run_fixtures import STARTED, make_run, step
from tests.terminal import ft, write_recipe
from tests.training import Job

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The home folder of somebody with one finished run, whose model, rows and FT_HOME are all in it."""
    home = tmp_path_factory.mktemp("anna")
    model = shutil.copytree(tiny_model, home / "models" / "mine")
    (model / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Mine")
    recipe = write_recipe(home / "work", model, evaluation={"every": 4, "samples": []})
    done = ft("train", recipe, "--plain", FT_HOME=str(home / "ft"), HOME=str(home), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture
def result(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The adapter of that run, with its FT_HOME and home in force."""
    monkeypatch.setenv("FT_HOME", str(home / "ft"))
    monkeypatch.setenv("HOME", str(home))
    (run,) = (home / "ft" / "runs").iterdir()
    return run / "adapter"


def python_in(text: str) -> str:
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


@pytest.mark.slow
def test_finished_run_has_card_with_base_scores_and_recipe(result: Path) -> None:
    text = (result / CARD).read_text()
    card = HubCard.load(result / CARD)
    assert card.data.to_dict() == {
        "library_name": "peft",
        "license": "apache-2.0",
        "pipeline_tag": "text-generation",
        "tags": ["ft-studio", "sft", "lora"],
    }
    evaluations = Run.open(result.parent).evaluations()
    last = evaluations[-1]
    row = f"| validation loss ↓ | {evaluations[0].loss:.4f} | {last.loss:.4f} | validation rows of the run |"
    assert row in text
    assert "A LoRA adapter of rank 4 for `./mine`" in text
    assert "- weights of: step 12 of 12" in text
    assert "- source: `rows.jsonl`" in text
    assert str(Run.open(result.parent).provenance["data"]["fingerprint"]) in text
    assert "  rank: 4\n" in text
    assert "![Training and validation loss by step](loss.svg)" in text
    assert "peft 0." in text


@pytest.mark.slow
def test_card_and_its_files_name_no_folder_of_this_machine(result: Path, home: Path) -> None:
    for name in (CARD, "loss.svg", "training_args.json", "adapter_config.json"):
        text = (result / name).read_text()
        assert str(home) not in text
        assert home.name not in text


@pytest.mark.slow
def test_same_run_gives_same_card(result: Path) -> None:
    before = {name: (result / name).read_bytes() for name in (CARD, "loss.svg", "training_args.json")}
    run = result.parent
    write_card(result, render(model_card(TrainedModel.find(run), folder=result)), run)
    assert {name: (result / name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_training_args_are_what_transformers_takes(result: Path, tmp_path: Path) -> None:
    from transformers import TrainingArguments

    body = json.loads((result / "training_args.json").read_text())
    made = TrainingArguments(**body | {"output_dir": str(tmp_path)})
    assert made.max_steps == 12
    assert made.per_device_train_batch_size * made.gradient_accumulation_steps == 4
    assert made.learning_rate == 2e-4
    assert made.get_warmup_steps(12) == 1
    assert made.lr_scheduler_type == "cosine"
    assert (made.bf16, made.fp16) == (True, False) or (made.bf16, made.fp16) == (False, False)


@pytest.mark.slow
def test_python_in_card_answers_with_the_adapter(
    result: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = python_in((result / CARD).read_text())
    code = code.replace("path/to/the/base", str(home / "models" / "mine"))
    code = code.replace("path/to/this/folder", str(result)).replace("max_new_tokens=200", "max_new_tokens=3")
    scope: dict[str, Any] = {}
    exec(code, scope)
    assert type(scope["model"]).__name__ == "PeftModelForCausalLM"
    assert scope["answer"].shape[1] == scope["inputs"]["input_ids"].shape[1] + 3


@pytest.mark.slow
def test_card_that_a_person_changed_survives_resuming(tiny_model: Path, tmp_path: Path) -> None:
    job = Job.make(tiny_model, tmp_path)
    job.train()
    write_card(job.run.adapter, "ours", job.run.folder)
    assert is_ours((job.run.adapter / CARD).read_text())
    again = job.run.checkpoints / "step-000006"
    job.train(resume_from=again)
    assert not (job.run.adapter / CARD).exists()  # ours is made again at the run's end
    (job.run.adapter / CARD).write_text("My own words.")
    job.train(resume_from=again)
    assert (job.run.adapter / CARD).read_text() == "My own words."
    write_card(job.run.adapter, "ours", job.run.folder)
    assert (job.run.adapter / CARD).read_text() == "My own words."


def test_changed_card_is_told_from_ours() -> None:
    assert is_ours(marked("Text.\n"))
    assert not is_ours(marked("Text.\n").replace("Text", "Other text"))
    assert not is_ours("Text.\n")
    assert not is_ours(marked("Text.\n") + "More.")


def finished_run(name: str = "20261126-090000-orders", **options: Any) -> Run:
    """A run with a result, as it would lie there."""
    base = {"name": "someone/small", "revision": COMMIT, "licence": "llama3.2"}
    run = make_run(name, provenance={BASE: base}, **options)
    run.adapter.mkdir()
    (run.adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 16}')
    (run.adapter / "tokenizer_config.json").write_text('{"chat_template": "x"}')
    with run.events_file.open("ab") as file:
        file.write(encode(Saved(t=STARTED, step=20, path="adapter", kind="adapter")))
    return run


def test_card_of_hub_base_names_id_commit_and_licence() -> None:
    run = finished_run()
    text = render(model_card(TrainedModel.of(run), folder=run.adapter))
    data = HubCard(text).data
    assert (data.base_model, data.license, data.library_name) == ("someone/small", "llama3.2", "peft")
    assert data.base_model_relation == "adapter"
    assert f"at revision `{COMMIT}`" in text
    assert "AutoPeftModelForCausalLM" in text
    served = "--enable-lora --max-lora-rank 16 --lora-modules orders=path/to/this/folder"
    assert f"vllm serve someone/small --revision {COMMIT} {served}" in text


def test_licence_that_the_hub_does_not_know_is_other_by_name() -> None:
    card = ModelCard("x", "adapter", Base("someone/small", None, "Some Community License v2"))
    data = HubCard(render(card)).data
    assert (data.license, data.license_name) == ("other", "some-community-license-v2")
    assert HubCard(render(ModelCard("x", "adapter", Base("a/b", None, "MIT License")))).data.license == "mit"
    assert HubCard(render(ModelCard("x", "adapter", Base("a/b")))).data.license is None


def test_vllm_is_named_only_for_adapters_that_it_serves() -> None:
    def text(adapter: AdapterFacts, base: str = "a/b") -> str:
        return render(ModelCard("x", "adapter", Base(base), adapter=adapter))

    assert "vllm serve a/b" in text(AdapterFacts("lora", 12))
    assert "--max-lora-rank 16" in text(AdapterFacts("lora", 12))
    assert "vllm" not in text(AdapterFacts("dora", 12))
    assert "vllm" not in text(AdapterFacts("lora", 1024))
    assert "vllm" not in text(AdapterFacts("lora", 8, ("embed_tokens",)))
    assert "vllm" not in text(AdapterFacts("lora", 8, (), ("<note>",)))
    assert "vllm" not in text(AdapterFacts("lora", 8), "./mine")


@pytest.mark.parametrize(
    ("exporter", "files", "command"),
    [
        ("merged", ("model.safetensors",), "vllm serve path/to/this/folder"),
        ("gguf", ("orders-q8_0.gguf",), "llama-cli -m orders-q8_0.gguf"),
        ("gguf-adapter", ("lora.gguf",), "llama-cli -m path/to/base.gguf --lora lora.gguf"),
        ("mlx", ("model.safetensors",), "mlx_lm.generate --model path/to/this/folder"),
        (
            "mlx-adapter",
            ("adapters.safetensors",),
            "--model someone/small --adapter-path path/to/this/folder",
        ),
        ("ollama", ("m.gguf", "Modelfile"), "ollama create orders -f Modelfile"),
    ],
)
def test_card_of_export_has_the_command_for_its_files(
    exporter: str, files: tuple[str, ...], command: str, tmp_path: Path
) -> None:
    run = finished_run()
    for name in files:
        (tmp_path / name).touch()
    text = card_of(TrainedModel.of(run), exporter, {"quantization": "q8_0"}, None, tmp_path)
    assert command in text
    assert "AutoPeft" not in text
    assert "- quantization: `q8_0`" in text
    assert "Nothing was proved of these files" in text
    proved = card_of(TrainedModel.of(run), exporter, {}, {"top-1 agreement": 0.998, "KL": 1e-4}, tmp_path)
    assert "Nothing was proved" not in proved
    assert "- top-1 agreement: `0.998`" in proved


def test_card_without_a_run_says_what_the_folder_says(tmp_path: Path) -> None:
    folder = tmp_path / "bought"
    folder.mkdir()
    settings = {"peft_type": "LORA", "r": 8, "base_model_name_or_path": "someone/small", "use_dora": True}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    text = render(model_card(TrainedModel(base="someone/small", adapter=folder), folder=folder))
    assert "# bought" in text
    assert "A DoRA adapter of rank 8 for [someone/small]" in text
    assert "## Training" not in text
    assert "## Recipe" not in text


RECIPE = """\
name: secret-client
tags: [acme]
model: {{base: {home}/models/mine, chat_template: {home}/t.jinja}}
data:
  train:
    - {home}/private/rows.jsonl
    - path: "https://user:pa55word@example.com/rows.jsonl?token=abcdefgh12345678abcd"
      weight: 2
    - gdrive:1AbCdEfGhIjKlMnOpQrStUvWxYz
    - hf://datasets/someone/open
  validation: {home}/private/check.jsonl
adapter: {{from: {home}/old/adapter}}
output: {{dir: {home}/runs/one}}
"""


def test_recipe_in_card_has_no_folder_secret_or_tag(tmp_path: Path) -> None:
    (tmp_path / "old" / "adapter").mkdir(parents=True)
    recipe, _ = load_text(RECIPE.format(home=tmp_path), tmp_path / "train.yml").without_secrets()
    text = public_recipe(recipe.config, "./mine")
    assert str(tmp_path) not in text
    for secret in ("pa55word", "abcdefgh12345678abcd", "1AbCdEf", "acme", "${URL_"):
        assert secret not in text
    again = load_text(text, Path("/elsewhere/train.yml")).config
    assert again.data.validation == "/elsewhere/check.jsonl"
    assert again.model.base == "/elsewhere/mine"
    assert again.training == recipe.config.training
    assert "someone/open" in text


def test_sources_are_named_without_folders_and_secrets() -> None:
    assert public_source("/home/anna/private/*.jsonl") == "*.jsonl"
    assert public_source("hf://datasets/someone/open") == "someone/open"
    assert public_source("https://u:p@host/x.jsonl") == "https://***@host/x.jsonl"
    assert public_source("https://${URL_1A2B3C4D}@host/x.jsonl") == "https://host/x.jsonl"
    assert public_source("starter") == "starter"


def test_names_of_files_are_no_markdown() -> None:
    data = DataFacts(("a`b | <img src=x>.jsonl",), examples=3)
    text = render(ModelCard("x", "adapter", Base("a/b"), data=data, scores=(Score("m|<b>", 1.0, "r|<i>"),)))
    assert "``a`b | <img src=x>.jsonl``" in text
    assert "m\\|\\<b\\>" in text
    assert "r\\|\\<i\\>" in text


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("sft", "supervised fine-tuning"),
        ("dpo", "direct preference optimisation"),
        ("kto", "Kahneman-Tversky optimisation"),
        ("somebodys", "somebodys"),
    ],
)
def test_method_is_named_in_words(method: str, said: str) -> None:
    facts = TrainingFacts(method, 5, 5, 1.0, 4, 1e-4, "bf16 weights", "peft on cpu")
    text = render(ModelCard("x", "adapter", Base("a/b"), training=facts))
    assert f"trained by {said} with ft" in text
    assert method in HubCard(text).data.tags


def test_interval_stands_beside_its_score() -> None:
    scores = (Score("exact_match", 0.5, "rows", 0.25, (0.4, 0.6)), Score("chrf", 1.0, "rows"))
    text = render(ModelCard("x", "adapter", Base("a/b"), scores=scores))
    assert "| exact_match ↑ | 25.0% | 50.0% | 40.0% to 60.0% | rows |" in text


def test_later_evaluations_of_the_run_are_in_its_card() -> None:
    run = finished_run(exact=(0.25, 0.5))
    evaluated(run, "exact_match", 0.75, "/home/anna/private/test.jsonl")
    evaluated(finished_run("20261126-100000-other"), "exact_match", 0.9, None)
    text = render(model_card(TrainedModel.of(run)))
    assert "| exact_match ↑ | 50.0% | validation rows of the run |" in text
    assert "| exact_match ↑ | 75.0% | test.jsonl |" in text
    assert "90.0%" not in text


def test_intervals_and_base_of_an_evaluation_are_in_the_card() -> None:
    run = finished_run(exact=(0.25, 0.5))
    made = evaluated(run, "exact_match", 0.75, None)
    line = {"value": 0.75, "interval": [0.7, 0.8], "against": 0.125, "against_interval": [0.1, 0.2]}
    body = {"against": "base", "metrics": {"exact_match": line}, "fingerprint": "f" * 64}
    (made.folder / "evaluation.json").write_text(json.dumps(body))
    text = render(model_card(TrainedModel.of(run)))
    assert "| exact_match ↑ | 12.5% | 75.0% | 70.0% to 80.0% | validation rows of the run |" in text


PROOF = {
    "passed": True,
    "failures": [],
    "rows": "held-out rows of orders",
    "reference": "fp32 on cpu",
    "kl_over": "the 40 likeliest tokens and one class for the rest",
    "positions": 512,
    "top1": 0.998,
    "kl_mean": 0.00123,
    "kl_max": 0.2,
    "tokens": {"texts": 20, "conversations": 4, "different": []},
}


def test_figures_of_the_parity_gate_are_in_the_card_in_words() -> None:
    text = card_of(TrainedModel.of(finished_run()), "gguf", {}, PROOF)
    assert "Compared on held-out rows of orders with the trained model (fp32 on cpu):" in text
    assert "- same likeliest token: 99.8% of 512 places" in text
    assert "mean 0.0012, at most 0.2 nats a token, over the 40 likeliest tokens" in text
    assert "- tokens: 24 of 24 texts and prompts equal" in text


def evaluated(run: Run, metric: str, value: float, data: str | None) -> Run:
    """An `ft evaluate` run of a run's result, as it would lie there."""
    options = {"model": str(run.folder), "data": data, "metrics": [metric], "max_questions": None}
    found = create_job("evaluate", "evaluate-x", options)
    found.emit(Eval(step=20, loss=1.0, perplexity=2.7, metrics={metric: value}))
    found.emit(Finished(reason="completed", step=20))
    (found.folder / "lock").touch()
    return found


def test_picture_shows_both_losses_and_no_gap_breaks_it() -> None:
    run = make_run("20261126-090000-x", steps=240)
    with run.events_file.open("ab") as file:
        file.write(encode(step(241, float("nan"))) + encode(step(242, 2.0)))
    picture = loss_picture(run)
    assert picture
    root = ElementTree.fromstring(picture)
    drawn = root.findall("{http://www.w3.org/2000/svg}path[@fill='none'][@stroke-linejoin]")
    assert len(drawn) == 3  # as it was, smoothed, validation
    assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == 24
    assert "nan" not in picture


def test_recipe_of_a_base_is_not_taken_for_that_of_its_result(tiny_model: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny_model, tmp_path / "base")
    (base / "training_args.json").write_text("{}")
    (tmp_path / "made").mkdir()
    copy_tokenizer_files(base, tmp_path / "made")
    assert (tmp_path / "made" / "tokenizer.json").is_file()
    assert not (tmp_path / "made" / "training_args.json").exists()


def test_losses_of_a_short_run_are_shown_as_they_were() -> None:
    picture = loss_picture(make_run("20261126-090000-x", steps=40))
    assert picture
    assert "smoothed" not in picture
    assert picture.count('stroke-linejoin="round"') == 2


def test_run_without_steps_has_no_picture() -> None:
    run = make_run("20261126-090000-x", steps=0)
    assert loss_picture(run) is None
    assert "loss.svg" not in run_files(run.folder)
