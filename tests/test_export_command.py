"""`ft export`: what is written is marked and proved, replaced only when asked for, and never left half-written."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine import plugins
from engine.errors import CheckFailed, ConfigError, MachineError, ModelError
from engine.export.base import Exporter
from engine.export.output import MARK
from engine.export.registry import OWN, refuse_unsupported
from engine.jobs import export as jobs
from engine.jobs.base import JobContext
from engine.jobs.export import Export
from engine.parity import limits
from engine.runs.directory.control import Control
from engine.runs.directory.events import Warned
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel
from ft.cli import main
from ft.commands.trained import reference_of
from tests.parity_models import adapted, sharp_model
from tests.plugin_package import RUN, ft, install
from tests.tiny import change_json, change_model
from tests.training import recipe_text, write_rows

MODULE = '''
import time

from engine.export.base import Exporter


def write(model, out, options, heartbeat):
    """Merge by PEFT; `fault` leaves the adapter out, fails at the end, or takes for ever."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    fault = options.get("fault")
    base = model.base_folder()
    network = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if fault != "unmerged":
        network = PeftModel.from_pretrained(network, str(model.adapter)).merge_and_unload()
    network.save_pretrained(out)
    AutoTokenizer.from_pretrained(base).save_pretrained(out)
    while fault == "endless":
        heartbeat()
        time.sleep(0.02)
    if fault == "late":
        raise OSError(28, "No space left on device", str(out / "last"))
    return {"dtype": "float32"}


def unlike(config):
    return f"models of the kind {config['model_type']} have no such form."


peft_merged = Exporter("peft-merged", write, prove="engine.parity.torch_model:open_folder", quantizations=("F32",))
huge = Exporter("huge", write, size=lambda model, options: 10**18)
strange = Exporter("strange", write, supports=unlike)
'''
NAMES = {"peft-merged": "peft_merged", "huge": "huge", "strange": "strange"}


@dataclass(frozen=True)
class Shell:
    """`ft` where a package has brought exporters, with a run that is trained: its latest one."""

    packages: Path
    home: Path
    folder: Path

    def ft(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return ft(self.packages, self.home, *arguments)

    def job(
        self,
        out: Path,
        options: dict[str, str],
        exporter: str = "peft-merged",
        checkpoint: str | None = None,
        **more: Any,
    ) -> None:
        """Export the trained run in this process."""
        run_job(Export(reference_of(None, checkpoint), exporter, out, options, **more))

    def export(self, out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.ft("export", "--format", "peft-merged", "-o", str(out), *arguments)


@pytest.fixture(scope="module")
def shell(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    folder = tmp_path_factory.mktemp("export")
    entries = {plugins.EXPORTERS: {name: f"ft_forms:{value}" for name, value in NAMES.items()}}
    install(folder / "packages", "ft_forms", MODULE, entries)
    base = sharp_model(tiny_model, folder / "base")
    training = {"epochs": 1, "max_steps": 6, "learning_rate": 3e-2}
    text = recipe_text(base, write_rows(folder), training=training, evaluation={"every": 3, "samples": []})
    (folder / "train.yml").write_text(text)
    made = Shell(folder / "packages", folder / "home", folder)
    done = made.ft("train", str(folder / "train.yml"), "--plain")
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def here(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """The same shell for jobs in this process."""
    monkeypatch.setenv("FT_HOME", str(shell.home))
    monkeypatch.syspath_prepend(str(shell.packages))
    plugins.installed.cache_clear()
    yield shell
    plugins.installed.cache_clear()


EARLIER = {"format": "peft-merged", "made": "earlier"}


def earlier_export(folder: Path) -> Path:
    """A folder that looks as if an export had made it."""
    (folder / "out").mkdir()
    (folder / "out" / MARK).write_text(json.dumps(EARLIER))
    return folder / "out"


def run_job(export: Export) -> None:
    """Do an export in this process."""
    run = export.create()
    jobs.run(JobContext(run, Control(run)))


def mark_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MARK).read_text())
    return found


def exports(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    monkeypatch.setenv("FT_HOME", str(shell.home))
    return [run for run in Run.all() if run.kind == "export"]


@pytest.mark.slow
def test_export_of_latest_run_is_proved_on_its_validation_rows(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = shell.export(tmp_path / "out", "--quantize", "f32")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'out'}\n"
    assert "tokens  22 of 22 texts and prompts equal" in done.stderr
    assert "top-1   " in done.stderr
    assert "nats over the whole vocabulary (limit of f32: 0.0001)" in done.stderr
    mark, run = mark_of(tmp_path / "out"), exports(shell, monkeypatch)[0]
    trained = Run.open()
    assert (mark["format"], mark["facts"], mark["step"]) == ("peft-merged", {"dtype": "float32"}, 6)
    assert mark["options"] == {"quantization": "F32"}
    assert (mark["run"], mark["not_proved"], mark["proof"]["passed"]) == (trained.id, None, True)
    assert mark["proof"]["rows"] == f"validation rows of {trained.id} and training rows of {trained.id}"
    assert mark["proof"]["positions"] == 256, "though the rows have fewer"
    assert json.loads((run.folder / "proof.json").read_text()) == mark["proof"]
    [proved] = [
        json.loads(line)
        for line in (run.folder / "events.jsonl").read_text().splitlines()
        if '"proved"' in line
    ]
    assert proved["metrics"]["kl_mean"] == mark["proof"]["kl_mean"] < 1e-6
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]


@pytest.mark.slow
def test_export_that_answers_otherwise_is_not_kept(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And does not replace an earlier one."""
    out = earlier_export(tmp_path)
    done = shell.export(out, "--force", "--set", "fault=unmerged")
    assert done.returncode == 1
    assert "The peft-merged export does not answer as the trained model" in done.stderr
    assert "Weights that differ most: model.layers." in done.stderr
    assert "keep it without proof: --no-prove" in done.stderr
    assert mark_of(out) == EARLIER
    assert list(tmp_path.iterdir()) == [out]
    run = exports(shell, monkeypatch)[0]
    report = json.loads((run.folder / "proof.json").read_text())
    assert (report["passed"], len(report["layers"])) == (False, 5)


@pytest.mark.slow
def test_unproved_export_replaces_earlier_one_and_says_so(here: Shell, tmp_path: Path) -> None:
    out = earlier_export(tmp_path)
    here.job(out, {"fault": "unmerged"}, prove=False, force=True)
    assert (mark_of(out)["proof"], mark_of(out)["not_proved"]) == (None, "asked for with --no-prove")
    assert (out / "model.safetensors").is_file()
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.slow
def test_export_that_fails_late_leaves_earlier_one(here: Shell, tmp_path: Path) -> None:
    out = earlier_export(tmp_path)
    with pytest.raises(MachineError, match=r"last: No space left on device"):
        here.job(out, {"fault": "late"}, force=True)
    assert mark_of(out) == EARLIER
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.slow
def test_interrupted_export_leaves_nothing(shell: Shell, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(shell.packages), "FT_HOME": str(shell.home)}
    words = ["export", "--format", "peft-merged", "-o", str(tmp_path / "out"), "--set", "fault=endless"]
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", RUN, *words], env=environment, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 60
    while not any(tmp_path.glob(".out.making-*/model.safetensors")):
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_checkpoint_and_own_rows_are_taken(here: Shell, tmp_path: Path) -> None:
    rows = tmp_path / "mine.jsonl"
    rows.write_text('{"prompt": "Say fox twice.", "completion": " fox fox"}\n' * 3)
    here.job(tmp_path / "out", {}, checkpoint="4", data=str(rows))
    mark = mark_of(tmp_path / "out")
    assert (mark["step"], mark["proof"]["rows"]) == (4, f"{rows} and the texts that come with ft")
    with pytest.raises(ConfigError, match="has no checkpoint 5") as error:
        reference_of(None, "5")
    assert error.value.hint == "It has checkpoints of the steps 3, 4, 6, and best and last."


@pytest.mark.slow
def test_base_that_changed_since_training_is_refused(here: Shell, tmp_path: Path) -> None:
    kept = shutil.move(here.folder / "base", here.folder / "kept")
    try:
        change_model(kept, here.folder / "base", lambda tensors: {k: v * 1.01 for k, v in tensors.items()})
        with pytest.raises(ModelError, match="have changed since"):
            here.job(tmp_path / "out", {})
    finally:
        shutil.rmtree(here.folder / "base")
        shutil.move(kept, here.folder / "base")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_full_disk_and_unsupported_model_are_refused_before_writing(here: Shell, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="the export needs about 1000000 TB"):
        here.job(tmp_path / "out", {}, exporter="huge")
    with pytest.raises(
        ModelError, match=r"Export to strange: models of the kind llama have no such form\."
    ) as error:
        here.job(tmp_path / "out", {}, exporter="strange")
    assert error.value.hint == f"This model can be exported to {', '.join(OWN)}."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_convert_is_another_name_for_export_to_mlx(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same bytes, in every file."""
    run_job(Export(str(tiny_model), "mlx", tmp_path / "a", {"quantization": "8bit"}))
    words = ["models", "convert", str(tiny_model), "--out", str(tmp_path / "b"), "--quantization", "8bit"]
    assert main(words) == 0
    assert "texts and prompts equal" in capsys.readouterr().err
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()}
    assert {MARK, "model.safetensors", "tokenizer.json"} <= files.keys()


def test_wrong_words_are_refused_before_an_engine_starts(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: str) -> str:
        assert main(["export", str(tiny_model), "--out", str(tmp_path / "out"), *words]) == 2
        return capsys.readouterr().err

    assert "hint: There are " in refused()
    assert "There is no exporter 'onnx'" in refused("--format", "onnx")
    error = refused("--format", "mlx", "--quantize", "q8_0")
    assert "Export to mlx has no quantisation q8_0." in error
    assert "hint: It has " in error
    assert "expected KEY=VALUE" in refused("--format", "mlx", "--set", "bits")
    assert main(["export", str(tmp_path / "nothing"), "--format", "mlx"]) == 2
    assert Run.all() == []


def test_unsupported_model_lists_other_formats() -> None:
    exporter = Exporter("odd", print, supports=lambda config: "it is odd." if config["odd"] else None)
    refuse_unsupported(exporter, {"odd": False})
    with pytest.raises(ModelError, match=r"Export to odd: it is odd\.") as error:
        refuse_unsupported(exporter, {"odd": True, "model_type": "llama"})
    assert "mlx" in error.value.hint


@pytest.mark.slow
@pytest.mark.parametrize("form", ["merged", "mlx"])
def test_quantised_model_is_proved_by_what_its_weights_stand_for(
    tiny_model: Path, tmp_path: Path, form: str
) -> None:
    """transformers cannot load them as they are."""
    (tmp_path / "four").mkdir()
    OWN["mlx"].export(TrainedModel(tiny_model), tmp_path / "four", {"quantization": "4bit"}, lambda: None)
    run_job(Export(str(tmp_path / "four"), form, tmp_path / "out"))
    proof = mark_of(tmp_path / "out")["proof"]
    assert (proof["passed"], proof["positions"]) == (True, 256)
    assert proof["kl_mean"] < 1e-6
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "ft-home") == ["four", "out"]


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("form", ["adapter", "mlx-adapter"])
def test_adapter_is_proved_on_the_quantised_base_that_it_was_trained_on(
    form: str, ft_home: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """Also where the unquantised model is here, which answers otherwise."""
    convert = pytest.importorskip("mlx_lm.convert").convert
    plain, base = sharp_model(tiny_model, tmp_path / "plain"), tmp_path / "four"
    convert(str(plain), str(base), quantize=True, q_bits=4, q_group_size=32)
    (base / "README.md").write_text(f"---\nbase_model: {plain}\n---\n")
    adapter = adapted(plain, tmp_path / "tuned").adapter
    assert adapter is not None
    change_json(adapter / "adapter_config.json", base_model_name_or_path=str(base))
    run_job(Export(str(adapter), form, tmp_path / "out"))
    proof = mark_of(tmp_path / "out")["proof"]
    assert proof["passed"]
    (run,) = Run.all()
    told = [event.message for event in run.events() if isinstance(event, Warned)]
    assert any("PEFT cannot load" in message for message in told) == (form == "adapter")


def test_several_merged_models_are_compared_with_their_sum(here: Shell, tmp_path: Path) -> None:
    other = reference_of(None, "4")
    run_job(Export(reference_of(None), "merged", tmp_path / "out", {"models": [other]}))
    proof = mark_of(tmp_path / "out")["proof"]
    assert (proof["passed"], proof["reference"]) == (True, "weighted sum of 2 models, fp32")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "with the trained model (weighted sum of 2 models, fp32)" in card


@pytest.mark.slow
def test_merge_by_another_method_says_how_far_it_is_from_the_sum(here: Shell, tmp_path: Path) -> None:
    options = {"models": [reference_of(None, "3")], "method": "linear"}
    run_job(Export(reference_of(None), "merged", tmp_path / "out", options))
    proof = mark_of(tmp_path / "out")["proof"]
    assert (proof["passed"], proof["limits"]) == (True, None)
    assert proof["kl_mean"] > 1e-4


@pytest.mark.slow
def test_rounding_over_a_limit_proposes_formats_that_lose_less(
    here: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not to quantise less: a merge does not quantise."""
    monkeypatch.setattr(limits, "LIMITS", {**limits.LIMITS, "bf16": (1.0, 0.0)})
    with pytest.raises(CheckFailed) as caught:
        run_job(Export(reference_of(None), "merged", tmp_path / "out", {"dtype": "bf16"}))
    assert "ft merge --dtype fp16 or fp32" in caught.value.hint
    assert "uantise" not in caught.value.hint


@pytest.mark.slow
def test_rows_that_were_cut_are_in_report_and_card(here: Shell, tmp_path: Path) -> None:
    rows = tmp_path / "long.jsonl"
    long, short = " fox" * 400, " fox fox"
    rows.write_text(
        "".join(json.dumps({"prompt": "Say it.", "completion": text}) + "\n" for text in (long, short, short))
    )
    run_job(Export(str(here.folder / "base"), "merged", tmp_path / "out", data=str(rows)))
    proof = mark_of(tmp_path / "out")["proof"]
    assert (proof["rows_compared"], proof["rows_cut"], proof["positions"]) == (3, 1, 256)
    places = f"(at {proof['places_in_cut_rows']} places)"
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"1 of 3 rows are longer than 256 tokens, and were compared up to there {places}" in card


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", ["adapter", "merged", "mlx", "mlx-adapter", "gguf", "gguf-adapter", "ollama"]
)
def test_every_format_of_a_trained_run_is_proved(here: Shell, tmp_path: Path, form: str) -> None:
    """With a card that has the figures."""
    if OWN[form].missing():
        pytest.skip(f"{form} is not installed")
    options = {"quantization": "q8_0"} if form in ("gguf", "ollama") else {}
    run_job(Export(reference_of(None), form, tmp_path / "out", options))
    mark = mark_of(tmp_path / "out")
    assert mark["proof"]["passed"]
    assert mark["proof"]["rows"].startswith("validation rows of ")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "same likeliest token: " in card
    assert "22 of 22 texts and prompts equal" in card
    assert "making" not in card
