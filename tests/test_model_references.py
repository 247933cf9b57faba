"""Every command that takes a model takes the same ones: the starter, a model of the hub, adapters of any kind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ft.cli import main
from tests.serving import make_adapter, serving
from tests.tiny import make_family

pytestmark = pytest.mark.slow
ROW = {"prompt": "Say fox.", "completion": " fox"}


def adalora(model: Path, folder: Path) -> Path:
    """An AdaLoRA, whose singular values are drawn too."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    config = peft.AdaLoraConfig(
        r=4, init_r=4, target_r=4, total_step=10, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"
    )
    made = peft.get_peft_model(base, config)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if ".lora_" in name:
                weight.copy_(torch.randn(weight.shape, generator=draw) * 0.5)
    made.save_pretrained(folder, save_embedding_layers=False)
    return folder


def biased(model: Path, folder: Path) -> Path:
    """A LoRA that has trained the biases of its layers too, which PEFT keeps beside it."""
    import torch
    from safetensors.torch import load_file, save_file

    made = make_adapter(model, folder, 1, bias="lora_only")
    file = made / "adapter_model.safetensors"
    tensors = load_file(file)
    biases = [name for name in tensors if name.endswith(".bias")]
    assert biases
    save_file(tensors | {name: torch.full_like(tensors[name], 0.5) for name in biases}, file)
    return made


@pytest.fixture(scope="module")
def with_biases(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose attention has biases."""
    return make_family(tmp_path_factory.mktemp("llama"), tiny_model, "Llama", {"attention_bias": True})


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main([*words]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.parametrize("make", [adalora, biased])
def test_adapter_that_no_run_can_start_from_is_used_all_the_same(
    make: Callable[[Path, Path], Path], with_biases: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It answers, is scored, merged and exported, and the merged weights score as it does."""
    adapter = str(make(with_biases, folder / "adapter"))
    (folder / "rows.jsonl").write_text(json.dumps(ROW) + "\n")

    def loss(model: str) -> float:
        found: dict[str, Any] = json.loads(
            said(capsys, "evaluate", model, "--data", "rows.jsonl", "--metrics", "chrf", "--json")
        )
        return float(found["metrics"]["eval_loss"])

    ours = loss(adapter)
    assert ours != pytest.approx(loss(str(with_biases)), rel=1e-3)
    said(capsys, "generate", adapter, "--prompt", "Say fox.", "--max-tokens", "4")
    merged = said(capsys, "merge", adapter, "--dtype", "fp32").strip()
    assert loss(merged) == pytest.approx(ours, rel=1e-3)
    exported = Path(said(capsys, "export", adapter, "--format", "adapter").strip())
    assert json.loads((exported / "export.json").read_text())["proof"]["passed"]
    recipe = {
        "model": {"base": str(with_biases)},
        "data": {"train": "rows.jsonl"},
        "adapter": {"from": adapter},
    }
    (folder / "train.yml").write_text(json.dumps(recipe))
    assert main(["train", "train.yml"]) != 0
    assert "no run can start from this adapter" in capsys.readouterr().err


@pytest.fixture
def hub_id(tiny_model: Path, tmp_path: Path) -> str:
    """A model of the hub that is in its cache; the hub itself cannot be reached."""
    cached = tmp_path / "hf-home" / "hub" / "models--anna--tiny"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("0" * 40)
    shutil.copytree(tiny_model, cached / "snapshots" / ("0" * 40))
    return "anna/tiny"


def test_model_of_the_hub_is_taken_by_every_command(
    hub_id: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder.parent / "hf-home" / "hub"))
    (folder / "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    found = json.loads(
        said(capsys, "evaluate", hub_id, "--data", "rows.jsonl", "--metrics", "chrf", "--json")
    )
    assert found["model"] == hub_id
    said(capsys, "generate", hub_id, "--prompt", "Say fox.", "--max-tokens", "4")
    out = Path(
        said(capsys, "export", hub_id, "--format", "merged", "--set", "dtype=fp32", "--out", "out").strip()
    )
    assert json.loads((out / "export.json").read_text())["base"] == hub_id
    with serving(hub_id) as server:
        assert server.client.completions.create(model="tiny", prompt="Say", max_tokens=2).choices
    assert main(["push", hub_id, "--to", "anna/orders", "--dry-run"]) == 2
    assert "anna/tiny was not trained here" in capsys.readouterr().err


def test_model_that_is_nowhere_is_one_clear_message(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without network, a name of the hub that is not in the cache."""
    (folder / "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    for words in (
        ["evaluate", "anna/nowhere", "--data", "rows.jsonl"],
        ["generate", "anna/nowhere", "--prompt", "x"],
        ["export", "anna/nowhere", "--format", "merged"],
        ["merge", "anna/nowhere"],
    ):
        assert main(words) == 4, words
        told = capsys.readouterr().err
        assert "anna/nowhere is not in the cache" in told
        assert "Traceback" not in told
