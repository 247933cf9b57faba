"""Several models as one, against their weighted sum: computed unmerged, each adapter's outputs by PEFT itself."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.export.merged import MERGED, summed
from engine.parity import torch_model
from engine.parity.proof import Proof
from engine.parity.summed import NoSumError, Summed, SummedReference
from engine.runs.directory.trained_model import TrainedModel
from tests.parity_models import gate, sharp_model
from tests.peft_adapters import IDS
from tests.test_merging import LLAMA, model_of, trained
from tests.tiny import change_model

pytestmark = pytest.mark.slow
ALL: dict[str, Any] = {"target_modules": LLAMA}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "LoRA": (ALL, {"target_modules": ["q_proj", "down_proj"], "r": 2}),
    "rsLoRA and DoRA": (ALL | {"use_rslora": True}, ALL | {"use_dora": True}),
    "trained embedding": (ALL, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}),
    "rows of tokens": (
        ALL | {"trainable_token_indices": {"embed_tokens": [7, 9]}},
        ALL | {"trainable_token_indices": {"embed_tokens": [9, 11]}},
    ),
    "output layer": (ALL, {"target_modules": ["lm_head", "q_proj"]}),
}


def two(base: Path, folder: Path, kind: str) -> list[TrainedModel]:
    """Two adapters with different values, on one base."""
    return [
        trained(base, folder / f"adapter{seed}", seed=seed, **settings)[0]
        for seed, settings in enumerate(KINDS[kind])
    ]


def proved(models: Sequence[TrainedModel], out: Path, against: Summed | None = None, **options: Any) -> Proof:
    """The gate's outcome for a merge of these models, held against what it says to be made of."""
    first, *others = models
    options |= {"models": [str(model.adapter or model.base) for model in others]}
    out.mkdir()
    facts = MERGED.export(first, out, options, lambda: None)
    held = replace(gate(first), summed=against or summed(first, options))
    return held.prove(torch_model.open_either, out, facts, lambda *_: None, lambda: None)


@pytest.mark.parametrize("weights", [[0.7, 0.3], [1.0, 0.5]])
@pytest.mark.parametrize("kind", KINDS)
def test_merge_of_two_answers_as_their_weighted_sum(
    kind: str, weights: list[float], tiny_model: Path, tmp_path: Path
) -> None:
    models = two(sharp_model(tiny_model, tmp_path / "base"), tmp_path, kind)
    found = proved(models, tmp_path / "out", weights=weights)
    assert found.passed, found.failures
    assert found.agreement.kl_mean < 1e-6
    assert found.reference == "weighted sum of 2 models, fp32"


def test_sum_is_that_of_the_weights(tiny_model: Path, tmp_path: Path) -> None:
    """Of PEFT's own merges, added by hand; and not the sum of the logits."""
    models = two(tiny_model, tmp_path, "LoRA")
    import peft

    base = model_of(tiny_model)
    state = {name: value.clone() for name, value in base.state_dict().items()}
    made = {name: value.clone() for name, value in state.items()}
    for model, weight in zip(models, (0.6, 0.9), strict=True):
        whole = peft.PeftModel.from_pretrained(model_of(tiny_model), model.adapter).merge_and_unload()
        for name, value in whole.state_dict().items():
            made[name] += weight * (value - state[name])
    base.load_state_dict(made)
    reference = SummedReference(Summed(tuple(models), (0.6, 0.9), True), tiny_model, False, lambda: None)
    with torch.no_grad():
        expected = base(torch.tensor(IDS)).logits
        found = reference.network(input_ids=torch.tensor(IDS)).logits
    assert (found - expected).abs().max() < 1e-5


def test_merge_with_other_weights_is_caught(tiny_model: Path, tmp_path: Path) -> None:
    models = two(sharp_model(tiny_model, tmp_path / "base"), tmp_path, "LoRA")
    other = Summed(tuple(models), (0.3, 0.7), True)
    found = proved(models, tmp_path / "out", other, weights=[0.7, 0.3])
    assert not found.passed
    assert found.limits is not None
    assert found.agreement.kl_mean > 10 * found.limits.kl_mean


def test_one_adapter_of_several_is_held_against_their_sum(tiny_model: Path, tmp_path: Path) -> None:
    models = two(sharp_model(tiny_model, tmp_path / "base"), tmp_path, "LoRA")
    found = proved(models, tmp_path / "out", adapter=True)
    assert found.passed, found.failures
    assert found.agreement.kl_mean < 1e-6


def test_other_methods_are_reported_and_not_failed(tiny_model: Path, tmp_path: Path) -> None:
    """TIES is not the sum, and is not meant to be."""
    base = sharp_model(tiny_model, tmp_path / "base")
    models = [trained(base, tmp_path / f"adapter{seed}", seed=seed, **ALL)[0] for seed in (1, 2)]
    found = proved(models, tmp_path / "out", method="ties")
    assert found.passed
    assert found.limits is None
    assert found.agreement.kl_mean > 1e-3
    assert "no limit: it is not meant to answer as the sum does" in "\n".join(found.lines())


def test_average_of_whole_models_is_proved(tiny_model: Path, tmp_path: Path) -> None:
    first = sharp_model(tiny_model, tmp_path / "a")
    second = change_model(first, tmp_path / "b", lambda tensors: {n: v * 1.2 for n, v in tensors.items()})
    models = [TrainedModel(first), TrainedModel(second)]
    found = proved(models, tmp_path / "out")
    assert found.passed, found.failures
    assert proved(models, tmp_path / "c", Summed(tuple(models), (1.0, 0.0), True)).passed is False


def test_experts_have_no_sum_of_outputs(tmp_path: Path, tiny_model: Path) -> None:
    from tests.tiny import make_family

    settings = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 8}
    base = make_family(tmp_path / "moe", tiny_model, "Qwen3Moe", settings)
    names = {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj"]}
    models = [trained(base, tmp_path / f"m{seed}", seed=seed, **names)[0] for seed in (0, 1)]
    with pytest.raises(NoSumError, match="experts"):
        SummedReference(Summed(tuple(models), (0.5, 0.5), True), base, False, lambda: None)
