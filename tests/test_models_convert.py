"""`ft models convert`: a folder that mlx-lm's own loader takes, with the logits of the model it was made of."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.utils import load
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from engine.backend_spec import Quantization
from engine.backends.mlx.convert import convert
from engine.backends.mlx.model import load_base
from engine.errors import ConfigError, ModelError, TrainingError
from engine.hardware.probe import probe
from engine.jobs.export import Export
from engine.jobs.registry import job
from engine.process.launcher import outcome, start
from engine.runs.directory import control
from engine.runs.directory.create_job import create_job
from engine.runs.directory.events import Started
from engine.runs.directory.run import Run
from ft.cli import main
from tests.run_fixtures import make_run
from tests.tiny import VOCAB, make_tokenizer
from tests.training import Job

IDS = mx.array([[1, 40, 50, 60, 70, 80, 90, 100]])


def converted(model: Path, out: Path, quantization: Quantization) -> tuple[Any, Any, dict[str, Any]]:
    """The model and tokenizer that mlx-lm loads from what was written, and its config.json."""
    out.mkdir()
    convert(model, out, quantization)
    loaded, tokenizer, *_ = load(str(out))
    return loaded, tokenizer, json.loads((out / "config.json").read_text())


def ours(model: Path, folder: Path, quantization: Quantization) -> Any:
    """The logits of the model as the MLX backend trains on it."""
    job = Job.make(model, folder, model={"quantization": quantization, "max_seq_length": 64})
    plan = job.plan.changed(backend="mlx", weights_dtype="fp32", compute_dtype="fp32")
    return load_base(plan, job.config, model)[0](IDS)


@pytest.mark.parametrize("quantization", ["none", "8bit", "4bit"])
def test_mlx_lm_computes_same_as_backend(
    tiny_model: Path, tmp_path: Path, quantization: Quantization
) -> None:
    loaded, tokenizer, config = converted(tiny_model, tmp_path / "out", quantization)
    assert np.allclose(loaded(IDS), ours(tiny_model, tmp_path, quantization), atol=1e-6)
    if quantization == "none":
        assert "quantization" not in config
    else:
        assert config["quantization"] == {"group_size": 64, "bits": int(quantization[0]), "mode": "affine"}
    assert tokenizer.decode(tokenizer.encode("The quick fox")) == "The quick fox"
    assert tokenizer.has_chat_template


def test_other_group_size_of_layer_is_recorded(tmp_path: Path) -> None:
    """96 inputs do not divide by 64, so that the layer's scales are shared by 32 weights."""
    source = tmp_path / "uneven"
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=VOCAB, **shape)).save_pretrained(source)
    make_tokenizer(source)
    loaded, _, config = converted(source, tmp_path / "out", "4bit")
    assert config["quantization"]["model.layers.0.mlp.down_proj"]["group_size"] == 32
    assert config["quantization"]["group_size"] == 64
    assert np.allclose(loaded(IDS), ours(source, tmp_path, "4bit"), atol=1e-6)


def test_weights_are_renamed_for_mlx_lm(tmp_path: Path) -> None:
    """GPT-2's names are not those of MLX-LM."""
    source = tmp_path / "gpt2"
    GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_embd=64, n_layer=2, n_head=4)).save_pretrained(source)
    make_tokenizer(source)
    loaded, _, _ = converted(source, tmp_path / "out", "none")
    assert np.allclose(loaded(IDS), ours(source, tmp_path, "none"), atol=1e-5)


def test_quantised_weights_are_not_quantised_again(tiny_model: Path, tmp_path: Path) -> None:
    converted(tiny_model, tmp_path / "out", "8bit")
    with pytest.raises(ModelError, match="held in few bits already"):
        convert(tmp_path / "out", tmp_path / "again", "4bit")


@pytest.mark.slow
def test_convert_writes_whole_model_and_describes_it(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made" / "here"
    words = ["models", "convert", str(tiny_model), "--out", str(out), "--quantization", "8bit", "--json"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {
        "folder": str(out),
        "model": str(tiny_model),
        "architecture": "llama",
        "quantization": {"group_size": 64, "bits": 8, "mode": "affine"},
        "bytes": sum(path.stat().st_size for path in out.iterdir()),
    }
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in out.iterdir()}
    assert list(out.parent.iterdir()) == [out]
    (listed,) = json.loads(listing(capsys, "--json"))
    assert (listed["kind"], listed["status"], listed["result"]) == ("export", "completed", None)
    assert "export" in listing(capsys, "--filter", "kind:export status:completed")
    assert main(["runs", "show", listed["id"]]) == 0
    assert str(out) in capsys.readouterr().out


def listing(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["runs", "list", *arguments]) == 0
    return capsys.readouterr().out


def conversion(model: Path, out: Path) -> tuple[Run, Path]:
    """A run that converts a model, and the folder that it fills."""
    job = Export(str(model), "mlx", out, {"quantization": "none"})
    run = job.create()
    return run, job.making(run)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.slow
def test_stopped_conversion_leaves_no_folder(tiny_model: Path, tmp_path: Path) -> None:
    run, _ = conversion(tiny_model, tmp_path / "made" / "here")
    engine = start(run)
    control.send(run, "stop")
    assert engine.supervisor.wait() == 0
    assert (run.state().status, run.kind) == ("stopped", "export")
    assert list((tmp_path / "made").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [False, True])
def test_killed_conversion_leaves_no_half_folder(tiny_model: Path, tmp_path: Path, whole_group: bool) -> None:
    run, making = conversion(tiny_model, tmp_path / "made" / "here")
    engine = start(run)
    until(making.is_dir)
    if whole_group:
        engine.kill()
    else:
        os.kill(next(event.pid for event in run.events() if isinstance(event, Started)), signal.SIGKILL)
    with pytest.raises(TrainingError, match=r"crashed|SIGKILL") as error:
        outcome(run, engine.since, engine.supervisor.wait() if not whole_group else None)
    assert "ft train --resume" not in error.value.hint
    assert list((tmp_path / "made").iterdir()) == []
    assert run.state().status == ("crashed" if whole_group else "failed")


@pytest.mark.slow
def test_conversion_run_is_locked_until_ended(tiny_model: Path, tmp_path: Path) -> None:
    """It can be removed then."""
    run, making = conversion(tiny_model, tmp_path / "here")
    engine = start(run)
    until(making.is_dir)
    with pytest.raises(ConfigError, match="is at work already"):
        start(run)
    assert engine.supervisor.wait() == 0
    run.remove()
    assert (tmp_path / "here" / "config.json").is_file()


def test_latest_run_prefers_training_to_conversion(ft_home: Path, tmp_path: Path) -> None:
    converted, _ = conversion(tmp_path, tmp_path / "out")
    assert Run.open().id == converted.id
    trained = make_run("20200101-000000-old")
    assert Run.open().id == trained.id
    assert Run.open(converted.folder).kind == "export"
    assert (Run.open().kind, Run.open().job) == ("train", {})


def test_unknown_kind_of_run_is_refused(ft_home: Path) -> None:
    assert create_job("sweep", "s p/aced", {}).id.endswith("-s-p-aced")
    with pytest.raises(ConfigError, match="no job of the kind 'sweep'"):
        job("sweep")


def test_existing_output_folder_is_refused(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    assert main(["models", "convert", str(tiny_model), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "exists already" in said
    assert "Give --out a new name" in said
    assert list((tmp_path / "out").iterdir()) == []


def test_model_unknown_to_mlx_lm_is_named(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "strange"
    shutil.copytree(tiny_model, source)
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"model_type": "strange"}))
    assert main(["models", "convert", str(source), "--out", str(tmp_path / "out")]) == 4
    assert "no code for models of the kind strange" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_convert_without_mlx_says_install(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without = replace(probe(), packages={})
    monkeypatch.setattr("engine.hardware.probe.probe", lambda: without)
    assert main(["models", "convert", str(tiny_model), "--out", str(tmp_path / "out")]) == 7
    said = capsys.readouterr().err
    assert "needs MLX, which is not installed here" in said
    assert "pip install mlx-lm" in said
