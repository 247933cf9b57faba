"""The parity gate for GGUF: llama.cpp loads what was exported, and faults that it loads without a word are caught."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import ModelError
from engine.export.gguf_adapter_proof import open_adapter
from engine.export.registry import OWN
from engine.parity import llama_cpp
from engine.parity.exported import Probe
from engine.parity.proof import Proof
from engine.parity.torch_model import Reference
from engine.runs.directory.trained_model import TrainedModel
from tests.parity_models import adapted, proof, sharp_model

pytest.importorskip("xllamacpp")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("gguf-adapter" not in OWN, reason="there is no exporter to GGUF"),
]


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """An adapter on a model with decided answers. Read only: it is shared."""
    folder = tmp_path_factory.mktemp("trained")
    return adapted(sharp_model(tiny_model, folder / "base"), folder / "adapter")


def exported(model: TrainedModel, out: Path, form: str, quantization: str) -> Mapping[str, Any]:
    """Facts of an export into a new folder."""
    out.mkdir()
    return OWN[form].export(model, out, {"quantization": quantization}, lambda: None)


def proved(model: TrainedModel, out: Path, facts: Mapping[str, Any]) -> Proof:
    """The outcome of the gate for what lies in a folder now."""
    opened = open_adapter if "alpha" in facts else llama_cpp.open_model
    return proof(model, opened, out, **facts)


def rewrite(
    file: Path,
    fields: Mapping[str, Any],
    change: Callable[[str, Any], Any] = lambda name, values: values,
) -> None:
    """Write a GGUF file again with other values of fields (`...` leaves one out) and of tensors."""
    import gguf

    reader = gguf.GGUFReader(file)
    kept = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    kinds = {name: field.types for name, field in reader.fields.items()}
    tensors = [(tensor.name, np.array(tensor.data), tensor.tensor_type) for tensor in reader.tensors]
    del reader
    writer = gguf.GGUFWriter(file, str(kept.pop("general.architecture")))
    for name, value in (kept | dict(fields)).items():
        if value is not ...:
            kind, *inner = kinds[name]
            writer.add_key_value(name, value, kind, inner[-1] if inner else None)
    for name, values, kind in tensors:
        writer.add_tensor(name, np.ascontiguousarray(change(name, values)), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def unpermuted(heads: int, rows: Any) -> Any:
    """Rows of a query or key matrix as a converter leaves them that forgets llama.cpp's order."""
    pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
    return pairs.swapaxes(1, 2).reshape(rows.shape)


HEADS = {"attn_q": 4, "attn_k": 2}


def test_wanted_tokens_are_listed_however_unlikely(
    trained: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp is asked for more of its list where a token that the trained model likes is not in it."""
    monkeypatch.setattr(llama_cpp, "LIKELIEST", 4)
    monkeypatch.setattr(llama_cpp, "LISTED", 8)
    tokens = np.arange(3, 40, dtype=np.int32)
    facts = exported(trained, tmp_path / "out", "gguf", "f32")
    places = (Probe(tokens, np.array([20, 30], np.int32)),)
    whole = Reference(trained, trained.base_folder(), False, lambda: None).next_tokens(places).logps
    least = np.argsort(whole, axis=1)[:, :2].astype(np.int32)
    with llama_cpp.open_model(trained, tmp_path / "out", facts, lambda: None) as found:
        listed = found.next_tokens([replace(places[0], wanted=least)])
    assert listed.ids is not None
    assert listed.ids.shape == (2, 6)
    for row, (ids, logps) in enumerate(zip(listed.ids, listed.logps, strict=True)):
        assert set(ids) == {*np.argsort(-whole[row])[:4], *least[row]}
        np.testing.assert_allclose(logps, whole[row, ids], atol=2e-2)


@pytest.mark.parametrize("quantization", ["f32", "f16", "bf16", "q8_0"])
def test_model_file_is_proved_by_llama_cpp(trained: TrainedModel, tmp_path: Path, quantization: str) -> None:
    found = proved(trained, tmp_path / "out", exported(trained, tmp_path / "out", "gguf", quantization))
    assert found.passed, found.failures
    assert found.limits.precision == quantization
    assert (found.tokens.texts, found.tokens.conversations) == (18, 4)
    assert found.which_kl == "the whole vocabulary", "all of it is among the likeliest that are asked for"


def test_adapter_file_is_proved_on_its_base(trained: TrainedModel, tmp_path: Path) -> None:
    found = proved(trained, tmp_path / "out", exported(trained, tmp_path / "out", "gguf-adapter", "f16"))
    assert found.passed, found.failures
    assert found.agreement.kl_mean < 1e-4
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_missing_alpha_is_caught(trained: TrainedModel, tmp_path: Path) -> None:
    """llama.cpp applies the update at scale 1, a quarter of what was trained."""
    facts = exported(trained, tmp_path / "out", "gguf-adapter", "f16")
    rewrite(tmp_path / "out" / facts["file"], {})
    assert proved(trained, tmp_path / "out", facts).passed, "rewriting alone changes nothing"
    rewrite(tmp_path / "out" / facts["file"], {"adapter.lora.alpha": ...})
    found = proved(trained, tmp_path / "out", facts)
    assert not found.passed
    assert found.agreement.kl_mean > 10 * found.limits.kl_mean
    assert not found.tokens.different


@pytest.mark.parametrize("form", ["gguf", "gguf-adapter"])
def test_unpermuted_queries_and_keys_are_caught(trained: TrainedModel, tmp_path: Path, form: str) -> None:
    """llama.cpp loads them, and turns the wrong pairs."""

    def as_in_transformers(name: str, values: Any) -> Any:
        part = next((part for part in HEADS if f".{part}.weight" in name), None)
        return values if part is None or name.endswith("lora_a") else unpermuted(HEADS[part], values)

    facts = exported(trained, tmp_path / "out", form, "f16")
    rewrite(tmp_path / "out" / facts["file"], {}, as_in_transformers)
    found = proved(trained, tmp_path / "out", facts)
    assert not found.passed
    assert found.agreement.kl_mean > 10 * found.limits.kl_mean
    if form == "gguf":
        assert all("q_proj" in name or "k_proj" in name for name, _ in found.layers[:4]), found.layers


def test_wrong_pre_tokenizer_is_caught(trained: TrainedModel, tmp_path: Path) -> None:
    """The weights are right, and English hardly differs."""
    facts = exported(trained, tmp_path / "out", "gguf", "f16")
    rewrite(tmp_path / "out" / facts["file"], {"tokenizer.ggml.pre": "qwen2"})
    found = proved(trained, tmp_path / "out", facts)
    assert found.agreement.top1_decided > 0.99
    assert len(found.failures) == 1
    assert "become other tokens" in found.failures[0]


def test_other_template_is_caught(trained: TrainedModel, tmp_path: Path) -> None:
    facts = exported(trained, tmp_path / "out", "gguf", "f16")
    other = (
        "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}{% endfor %}<|im_start|>assistant"
    )
    rewrite(tmp_path / "out" / facts["file"], {"tokenizer.chat_template": other})
    found = proved(trained, tmp_path / "out", facts)
    assert found.failures == ("4 texts and prompts become other tokens",)
    assert found.tokens.different[0].startswith("a conversation of user: ")


def test_file_that_llama_cpp_does_not_load_is_an_error_of_the_model(
    trained: TrainedModel, tmp_path: Path
) -> None:
    facts = exported(trained, tmp_path / "out", "gguf", "f16")
    file = tmp_path / "out" / facts["file"]
    file.write_bytes(file.read_bytes()[:-4096])
    with pytest.raises(ModelError, match=r"llama\.cpp does not run the exported model"):
        proved(trained, tmp_path / "out", facts)
