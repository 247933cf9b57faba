"""`ft export --format adapter`: a folder that PEFT loads, with tokenizer and template, and nothing of this machine."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from engine.errors import ConfigError, ModelError
from engine.export.adapter import ADAPTER
from engine.runs.directory.trained_model import TrainedModel
from tests.peft_adapters import config_of, make_adapter, peft_logits
from tests.training import Job

BESIDE = {
    "adapter_config.json", "adapter_model.safetensors",
    "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
}  # fmt: skip
"""Files of an adapter's folder."""
QUICK = {"evaluation": {"samples": []}, "training": {"max_steps": 4, "precision": "fp32"}}


@pytest.fixture
def trained(tiny_model: Path, tmp_path: Path) -> Job:
    """A run on a template that is not the model's own, with a token of its own."""
    (tmp_path / "job").mkdir()
    model = {"chat_template": "alpaca", "add_tokens": ["<note>"], "max_seq_length": 256}
    job = Job.make(tiny_model, tmp_path / "job", model=model, **QUICK)
    assert job.train() == "completed"
    return job


def export(model: TrainedModel, out: Path, **options: Any) -> dict[str, Any]:
    out.mkdir()
    return dict(ADAPTER.export(model, out, options, lambda: None))


@pytest.mark.parametrize("what", ["result", "checkpoint"])
def test_adapter_loads_in_peft_with_its_tokenizer_and_template(
    what: str, trained: Job, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    step = sorted((trained.run.folder / "checkpoints").glob("step-*"))[0]
    source = trained.run.adapter if what == "result" else step / "adapter"
    model = TrainedModel.find(trained.run.folder if what == "result" else step)
    facts = export(model, tmp_path / "out")
    written, own = (load_file(folder / "adapter_model.safetensors") for folder in (tmp_path / "out", source))
    assert written.keys() == own.keys()
    assert all(np.array_equal(value, own[name]) for name, value in written.items())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.tokenize("<note>") == ["<note>"]
    assert "### Instruction:" in tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} <= BESIDE
    told = config_of(tmp_path / "out")
    assert told["base_model_name_or_path"] == facts["base"] == f"./{trained.model.name}"
    assert "puts it at" in facts["notes"][0]
    everything = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert str(trained.model.parent).encode() not in everything


def test_exported_adapter_answers_as_before(tiny_model: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny_model, tmp_path / "peft", r=4, target_modules=["q_proj", "up_proj"])
    settings = config_of(adapter) | {"base_model_name_or_path": "some-org/tiny", "revision": "abc"}
    settings["corda_config"] = {"cache_file": str(tmp_path / "covariance.pt")}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    (adapter / "training_args.bin").write_bytes(b"a token")
    for name in ("tokenizer.json", "chat_template.jinja"):
        (adapter / name).write_bytes((tiny_model / name).read_bytes())
    named = {"name_or_path": str(tiny_model), "eos_token": "<|im_end|>"}
    (adapter / "tokenizer_config.json").write_text(json.dumps(named))
    facts = export(
        TrainedModel.find(adapter), tmp_path / "out"
    )  # the base is not on this machine, and not needed
    assert facts["base"] == "some-org/tiny"
    assert {path.name for path in (tmp_path / "out").iterdir()} == BESIDE
    about = config_of(tmp_path / "out")
    assert about["corda_config"] == {"cache_file": None}
    assert json.loads((tmp_path / "out" / "tokenizer_config.json").read_text()) == {"eos_token": "<|im_end|>"}
    del about["corda_config"]
    (tmp_path / "out" / "adapter_config.json").write_text(json.dumps(about))
    assert np.array_equal(peft_logits(tiny_model, tmp_path / "out"), peft_logits(tiny_model, adapter))


def test_whole_model_has_no_adapter_to_export(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="this model is whole") as caught:
        export(TrainedModel.find(tiny_model), tmp_path / "out")
    assert "--format merged" in caught.value.hint


def test_unknown_option_is_named(tiny_model: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny_model, tmp_path / "peft", r=4, target_modules=["q_proj"])
    with pytest.raises(ConfigError, match="has no option quantization"):
        export(TrainedModel.find(adapter), tmp_path / "out", quantization="4bit")
