"""The parity gate: exports that answer as the trained model pass, and every planted fault is caught."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data.types import Examples
from engine.export.mlx import MLX
from engine.parity import mlx_model, probes, torch_model
from engine.parity.divergence import SMALLEST, agreement, divergences
from engine.parity.exported import LIKELIEST, Distributions, log_softmax
from engine.parity.limits import LIMITS, limits_of, precision_of
from engine.parity.proof import Compared
from engine.runs.directory.trained_model import TrainedModel
from tests.parity_models import adapted, gate, merged, proof, sharp_model
from tests.tiny import CHAT_TEMPLATE, change_json, change_model


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """An adapter on a model with decided answers. Read only: it is shared."""
    folder = tmp_path_factory.mktemp("trained")
    return adapted(sharp_model(tiny_model, folder / "base"), folder / "adapter")


@pytest.fixture(scope="module")
def whole(trained: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same merged by PEFT. Read only: it is shared."""
    return merged(trained, tmp_path_factory.mktemp("whole") / "merged")


@pytest.mark.slow
def test_merged_folder_is_proved(trained: TrainedModel, whole: Path) -> None:
    found = proof(trained, torch_model.open_folder, whole)
    assert found.passed, found.failures
    assert (found.limits.precision, found.agreement.positions) == ("f32", probes.POSITIONS)
    assert found.agreement.top1 > 0.99
    assert found.agreement.kl_mean < 1e-6
    assert found.which_kl == "the whole vocabulary"
    assert found.tokens.conversations == 4
    assert found.reference == "adapter unmerged, fp32"


@pytest.mark.slow
def test_adapter_folder_is_proved(trained: TrainedModel) -> None:
    assert trained.adapter is not None
    found = proof(trained, torch_model.open_adapter, trained.adapter, dtype="float32")
    assert found.passed, found.failures


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["none", "8bit", "4bit"])
def test_mlx_folder_is_proved(trained: TrainedModel, whole: Path, tmp_path: Path, quantization: str) -> None:
    out = tmp_path / "mlx"
    out.mkdir()
    facts = MLX.export(TrainedModel(whole), out, {"quantization": quantization}, lambda: None)
    found = proof(trained, mlx_model.open_folder, out, **facts)
    assert found.limits.precision == {"none": "f32"}.get(quantization, quantization)
    if quantization == "4bit":  # random weights lose more than trained ones; see `benchmarks/parity.py`
        assert found.layers, "it says which layers differ most"
        assert all(0.02 < difference < 0.3 for _, difference in found.layers)
    else:
        assert found.passed, found.failures


@pytest.mark.slow
def test_base_without_its_adapter_is_caught(trained: TrainedModel) -> None:
    found = proof(trained, torch_model.open_folder, trained.base_folder())
    assert not found.passed
    assert found.agreement.kl_mean > 100 * found.limits.kl_mean
    assert len(found.layers) == 5
    assert all("proj" in name for name, _ in found.layers), "the layers that the adapter is on"


@pytest.mark.slow
def test_layer_that_was_not_merged_is_named(trained: TrainedModel, whole: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    name = "model.layers.1.mlp.up_proj.weight"
    base = load_file(trained.base_folder() / "model.safetensors")
    out = change_model(whole, tmp_path / "out", lambda tensors: tensors | {name: base[name]})
    found = proof(trained, torch_model.open_folder, out)
    assert not found.passed
    assert found.layers[0][0] == name
    assert found.layers[0][1] > 100 * found.layers[1][1]


@pytest.mark.slow
def test_merge_into_four_bit_weights_is_caught(trained: TrainedModel, whole: Path, tmp_path: Path) -> None:
    """Its files are in 32 bits, and its values have passed through 4."""
    from bitsandbytes import functional

    def through_four_bits(tensors: dict[str, Any]) -> dict[str, Any]:
        return {
            name: functional.dequantize_4bit(*functional.quantize_4bit(value, quant_type="nf4"))
            if "proj" in name
            else value
            for name, value in tensors.items()
        }

    out = change_model(whole, tmp_path / "out", through_four_bits)
    found = proof(trained, torch_model.open_folder, out)
    assert not found.passed
    assert all(0.05 < difference < 0.2 for _, difference in found.layers), found.layers


@pytest.mark.slow
def test_other_chat_template_is_caught(trained: TrainedModel, whole: Path, tmp_path: Path) -> None:
    out = change_model(whole, tmp_path / "out")
    (out / "chat_template.jinja").write_text(CHAT_TEMPLATE.replace("'<|im_start|>'", "'<|im_start|> '"))
    found = proof(trained, torch_model.open_folder, out)
    assert found.failures == ("4 texts and prompts become other tokens",)
    assert found.tokens.different[0].startswith("a conversation of user: ")
    (out / "chat_template.jinja").write_text("{{ raise_exception('no system turns') }}")
    found = proof(trained, torch_model.open_folder, out)
    assert "the exported template refuses it: no system turns" in found.tokens.different[0]


@pytest.mark.slow
def test_other_pre_tokenizer_is_caught(trained: TrainedModel, whole: Path, tmp_path: Path) -> None:
    """One that splits off single digits, as some families' do; English without figures stays as it was."""
    out = change_model(whole, tmp_path / "out")
    before = json.loads((out / "tokenizer.json").read_text())["pre_tokenizer"]
    digits = {"type": "Digits", "individual_digits": True}
    punctuation = {
        "type": "Split",
        "pattern": {"Regex": "'s|'t|'re|'ve"},
        "behavior": "Isolated",
        "invert": False,
    }
    change_json(
        out / "tokenizer.json",
        pre_tokenizer={"type": "Sequence", "pretokenizers": [digits, punctuation, before]},
    )
    found = proof(trained, torch_model.open_folder, out)
    assert found.failures, "texts become other tokens"
    assert found.agreement.top1 == 1.0, "the weights are the same"
    assert any("instead of" in one for one in found.tokens.different)


def test_divergence_is_that_of_the_formula() -> None:
    """KL(p ‖ q) = Σ p ln(p / q), here 0.5 ln(0.5 / 0.25) + 0.25 ln(0.25 / 0.5) + 0."""
    p, q = (
        Distributions(np.log(np.array([each], np.float32))) for each in ([0.5, 0.25, 0.25], [0.25, 0.5, 0.25])
    )
    assert divergences(p, q)[0] == pytest.approx(0.25 * math.log(2), rel=1e-6)
    assert divergences(p, p)[0] == 0.0
    assert agreement(p, q).top1 == 0.0


def test_near_ties_are_told_apart_from_decided_places() -> None:
    near, clear, other = np.log([0.5, 0.48, 0.02]), np.log([0.7, 0.2, 0.1]), np.log([0.48, 0.5, 0.02])
    found = agreement(
        Distributions(np.array([near, clear, clear], np.float32)),
        Distributions(np.array([other, clear, other], np.float32)),
    )
    assert (found.top1, found.decided, found.top1_decided) == (pytest.approx(1 / 3), 2, 0.5)


def test_divergence_over_likeliest_tokens_is_no_larger_than_whole() -> None:
    """And the same where only one token is not among them."""
    random = np.random.default_rng(0)
    p, q = (log_softmax(random.normal(size=(50, 40)).astype(np.float32) * 2) for _ in range(2))
    whole = divergences(Distributions(p), Distributions(q))
    last = np.zeros(50)
    for n in (1, 5, 20, 39):
        ids = np.argsort(-q, axis=1)[:, :n].astype(np.int32)
        found = divergences(Distributions(p), Distributions(np.take_along_axis(q, ids, axis=1), ids))
        assert (found <= whole + 1e-4).all()
        assert (found >= last - 1e-4).all(), "more tokens say more"
        last = found
    assert last == pytest.approx(whole, rel=1e-4)


def test_union_of_both_models_likeliest_tokens_sees_what_the_exports_alone_would_hide() -> None:
    """The trained model's favourite is far down in the export's list: as one of the rest, it would not show."""
    p, q = np.full((1, 2000), 1e-5, np.float32), np.full((1, 2000), 1e-5, np.float32)
    p[0, 1500], q[0, 3] = 1 - 1999e-5, 1 - 1999e-5
    trained, whole = Distributions(np.log(p)), Distributions(np.log(q))
    alone = np.arange(LIKELIEST, dtype=np.int32)
    places = [alone, np.append(alone, 1500).astype(np.int32)]
    only, both = (agreement(trained, Distributions.of_places([(ids, np.log(q[0, ids]))])) for ids in places)
    assert both.kl_mean > 2 * only.kl_mean
    assert both.kl_mean == pytest.approx(agreement(trained, whole).kl_mean, rel=1e-3)
    assert (both.top_n, agreement(trained, whole).top_n) == (LIKELIEST, None)


def test_places_with_fewer_tokens_are_filled_up_without_a_trace() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 30)).astype(np.float32)
    p, q = log_softmax(logits), log_softmax(logits[::-1])
    few, more = np.arange(5, dtype=np.int32), np.arange(9, dtype=np.int32)
    parts = [Distributions.of_places([(ids, q[row, ids])]) for row, ids in enumerate((few, more))]
    found = divergences(Distributions(p), Distributions.joined(parts))
    alone = [divergences(Distributions(p[row : row + 1]), part)[0] for row, part in enumerate(parts)]
    assert found == pytest.approx(alone, rel=1e-6)


def test_rows_that_are_cut_are_counted_and_told() -> None:
    lengths = [300, 40, 257, 256]
    tokens = np.arange(sum(lengths), dtype=np.int32)
    rows = Examples(tokens, np.ones(len(tokens), np.bool_), np.cumsum([0, *lengths]))
    drawn = probes.of_rows(rows, count=400)
    assert max(len(probe.tokens) for probe in drawn) == probes.MOST_TOKENS
    found = Compared.of(drawn, "rows")
    assert (found.rows, found.cut) == (4, 2)
    inside = sum(len(probe.positions) for probe in drawn if int(probe.tokens[0]) in (0, 340))
    assert found.said == (
        f"2 of 4 rows are longer than 256 tokens, and were compared up to there (at {inside} places)"
    )
    assert Compared.of([probe for probe in drawn if not probe.cut], "rows").said == ""


def test_impossible_token_makes_divergence_large_not_infinite() -> None:
    p = Distributions(np.log(np.array([[0.5, 0.5]], np.float32)))
    q = Distributions(np.array([[0.0, -np.inf]], np.float32))
    assert divergences(p, q)[0] == pytest.approx(0.5 * math.log(0.5) + 0.5 * (math.log(0.5) - SMALLEST))


def test_padded_vocabulary_is_compared_on_what_both_have() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 10)).astype(np.float32)
    padded = np.concatenate([logits, np.zeros((3, 6), np.float32)], axis=1)
    found = divergences(Distributions(log_softmax(logits)), Distributions(log_softmax(padded)))
    assert found == pytest.approx(np.zeros(3), abs=1e-6)


def test_places_are_seeded_and_trained_ones_come_first() -> None:
    tokens = np.arange(40, dtype=np.int32)
    trained = np.zeros(40, np.bool_)
    trained[[5, 6, 7, 25, 26]] = True
    rows = Examples(tokens, trained, np.array([0, 20, 40]))
    found = probes.of_rows(rows, seed=3, count=5)
    places = sorted(int(probe.tokens[0]) + int(place) for probe in found for place in probe.positions)
    assert places == [4, 5, 6, 24, 25], "the tokens after them are the trained ones"
    again = probes.of_rows(rows, seed=3, count=12)
    assert sum(len(probe.positions) for probe in again) == 12
    assert [p.positions.tolist() for p in again] == [
        p.positions.tolist() for p in probes.of_rows(rows, seed=3, count=12)
    ]
    assert sum(len(probe.positions) for probe in probes.of_rows(rows)) == 38, "all but the last of each row"


def test_limits_are_looser_for_fewer_bits(tmp_path: Path) -> None:
    order = ["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q3_k_m", "q2_k"]
    assert sorted(order, key=lambda name: -LIMITS[name][0]) == order
    assert sorted(order, key=lambda name: LIMITS[name][1]) == order
    assert precision_of({"quantization": {"bits": 4}}, tmp_path) == "4bit"
    assert precision_of({"quantization": "Q4_K_M"}, tmp_path) == "q4_k_m"
    assert precision_of({"dtype": "bfloat16"}, tmp_path) == "bf16"
    assert limits_of("tq1_0").kl_mean == limits_of("f16").kl_mean, "strict with what is not known"


def test_texts_have_enough_places_for_tiny_and_large_vocabularies(tiny_model: Path) -> None:
    found = gate(TrainedModel(tiny_model))
    assert sum(len(probe.positions) for probe in found.probes) == probes.POSITIONS
    assert max(len(probe.tokens) for probe in found.probes) <= probes.MOST_TOKENS
    one_word_a_token = probes.of_text(lambda text: list(range(len(text.split()))))
    assert sum(len(probe.positions) for probe in one_word_a_token) == probes.POSITIONS
