"""Continuous batching: rows that join, grow and leave together say what each says alone."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlx_lm.models.cache import ChunkedKVCache
from transformers import AutoModelForCausalLM

from engine.backends.alone_decoder import AloneDecoder
from engine.backends.base import Arrival, Decoder, Model
from engine.backends.mlx.causal_lm import MlxModel
from engine.backends.refilled import greedy_answers
from engine.backends.torch.causal_lm import TorchModel
from engine.backends.torch.decode import BatchDecoder
from engine.backends.torch.mixed_decode import MixedDecoder
from tests.tiny import VOCAB, change_model, make_family

FAMILIES: dict[str, dict[str, Any]] = {
    "Llama": {},
    "Qwen2": {},
    "Gemma3Text": {"sliding_window": 4, "head_dim": 8, "num_hidden_layers": 6},
    "Mistral": {"sliding_window": 4},
    "GPTNeoX": {"num_key_value_heads": None},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
}
"""Grouped and plain attention, windows that are shorter than the rows, rotated positions and learnt ones."""


def livened(source: Path, folder: Path) -> Path:
    """A copy of a model whose layers say more: with the small weights that a new model has, a token depends on hardly
    more than the one before it, and a mistake in attention would change no answer."""

    def louder(tensors: dict[str, Any]) -> dict[str, Any]:
        return {
            name: tensor * 8 if tensor.ndim == 2 and re.search(r"\.(h|layers)\.", name) else tensor
            for name, tensor in tensors.items()
        }

    return change_model(source, folder, louder)


@pytest.fixture(scope="module")
def lively(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return livened(tiny_model, tmp_path_factory.mktemp("lively") / "model")


def prompts_of(lengths: Sequence[int]) -> list[list[int]]:
    draw = np.random.default_rng(1)
    return [draw.integers(3, VOCAB, size=length).tolist() for length in lengths]


def answered(model: Model, prompts: Sequence[Sequence[int]], slots: int, tokens: int) -> list[list[int]]:
    """Greedy answers of `tokens` each; a prompt waits until a slot is free. The n-th answer is n tokens shorter."""
    found: list[list[int]] = [[] for _ in prompts]
    waiting, places = [*range(len(prompts))], dict[int, int]()
    with model.decoder(slots) as decoder:
        while waiting or places:
            taken, waiting = waiting[: slots - len(places)], waiting[slots - len(places) :]
            if taken:
                keys = decoder.add([Arrival(prompts[place]) for place in taken])
                places.update(zip(keys, taken, strict=True))
            chosen = decoder.likeliest()
            for key, token in [*chosen.items()]:
                found[places[key]].append(token)
                if len(found[places[key]]) == tokens - places[key]:
                    decoder.remove(key)
                    del chosen[key], places[key]
            if chosen or decoder.reading:
                decoder.step(chosen)
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_that_join_and_leave_answer_as_alone(family: str, tmp_path: Path, tiny_model: Path) -> None:
    plain = make_family(tmp_path / family, tiny_model, family, FAMILIES[family])
    model = TorchModel.open(livened(plain, tmp_path / "lively"), None)
    prompts = prompts_of((3, 17, 5, 30, 9, 1, 12))
    alone = [[*model.stream(prompt, 14 - place, ())] for place, prompt in enumerate(prompts)]
    assert answered(model, prompts, 3, 14) == alone
    assert model.decoder_type in (MixedDecoder, BatchDecoder), "the batch was not used"


class Alone:
    """transformers' own model: the logits that follow a text, without a cache and without neighbours."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def check(self, decoder: Decoder, row: int, tokens: Sequence[int]) -> None:
        with torch.no_grad():
            expected = self.model(torch.tensor([tokens]), use_cache=False).logits[0, -1].numpy()
        np.testing.assert_allclose(decoder.logits(row), expected, atol=1e-4 * np.abs(expected).max())


def test_a_long_prompt_is_read_in_parts_beside_answers_that_go_on(
    lively: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, alone = TorchModel.open(lively, None), Alone(lively)
    with model.decoder(2):
        monkeypatch.setattr("engine.backends.torch.mixed_decode.BESIDE_TOKENS", 4)
    short, long = prompts_of((3, 30))
    with model.decoder(2) as decoder:
        (first,) = decoder.add([Arrival(short)])
        decoder.step({})
        (second,) = decoder.add([Arrival(long)])
        steps = 0
        while second in decoder.reading:
            alone.check(decoder, first, short)
            short.append(decoder.likeliest()[first])
            decoder.step({first: short[-1]})
            steps += 1
        assert steps == 8
        for _ in range(4):
            alone.check(decoder, second, long)
            chosen = decoder.likeliest()
            long.append(chosen[second])
            decoder.step(chosen)


def test_a_prompt_is_read_from_where_it_differs_from_one_before(
    lively: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, alone = TorchModel.open(lively, None), Alone(lively)
    first, other = prompts_of((40, 12))
    with model.decoder(2) as decoder:
        assert isinstance(decoder, MixedDecoder)
        monkeypatch.setattr("engine.backends.torch.mixed_decode.ALONE_TOKENS", 4)
        monkeypatch.setattr(decoder.prefixes, "most_bytes", 1 << 20)
        steps = []
        for prompt in (first, first[:30] + other, first):
            (key,) = decoder.add([Arrival(prompt)])
            steps.append(0)
            while decoder.reading:
                decoder.step({})
                steps[-1] += 1
            text = [*prompt]
            for _ in range(4):
                alone.check(decoder, key, text)
                text.append(decoder.likeliest()[key])
                decoder.step({key: text[-1]})
            decoder.remove(key)
        assert steps == [10, 3, 1]
        monkeypatch.setattr(decoder.prefixes, "most_bytes", decoder.prefixes.bytes - 1)
        decoder.add([Arrival(other)])
        while decoder.reading:
            decoder.step({})
        assert decoder.prefixes.bytes <= decoder.prefixes.most_bytes


@pytest.mark.parametrize("family", ["Llama", "Gemma3Text"])
def test_rows_of_mlx_that_join_and_leave_answer_as_alone(
    family: str, tmp_path: Path, tiny_model: Path
) -> None:
    plain = make_family(tmp_path / family, tiny_model, family, FAMILIES[family])
    model = MlxModel.open(livened(plain, tmp_path / "lively"), None)
    prompts = prompts_of((3, 17, 5, 30, 9, 1, 12))
    alone = [[*model.stream(prompt, 14 - place, ())] for place, prompt in enumerate(prompts)]
    assert answered(model, prompts, 3, 14) == alone


def test_an_mlx_model_whose_caches_hold_one_row_is_answered_row_by_row(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MlxModel.open(tiny_model, None)
    prompts = prompts_of((4, 9, 6))
    alone = [[*model.stream(prompt, 8 - place, ())] for place, prompt in enumerate(prompts)]
    layers = len(model.network.layers)
    single = lambda: [ChunkedKVCache(1024) for _ in range(layers)]  # noqa: E731 - as mlx-lm's Llama 4 has it
    monkeypatch.setattr(model.network, "make_cache", single, raising=False)
    with model.decoder(2) as decoder:
        assert isinstance(decoder, AloneDecoder)
    assert answered(model, prompts, 2, 8) == alone


def test_a_model_whose_rows_mix_is_answered_row_by_row(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = TorchModel.open(tiny_model, None)
    forward = model.body.forward

    def mixing(**inputs: Any) -> Any:
        output = forward(**inputs)
        output.last_hidden_state = output.last_hidden_state + output.last_hidden_state.mean(0, keepdim=True)
        return output

    monkeypatch.setattr(model.body, "forward", mixing)
    with model.decoder(2) as decoder:
        assert isinstance(decoder, AloneDecoder)
    prompts = prompts_of((4, 9, 6))
    alone = [[*model.stream(prompt, 8 - place, ())] for place, prompt in enumerate(prompts)]
    assert answered(model, prompts, 2, 8) == alone


STRETCHED: dict[str, dict[str, Any]] = {
    "Llama": {
        "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
        "max_position_embeddings": 16,
    },
    "Phi3": {
        "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 16,
            "short_factor": [1.0] * 4, "long_factor": [8.0] * 4,
        },
        "original_max_position_embeddings": 16, "pad_token_id": 0, "bos_token_id": 1,
    },
}  # fmt: skip
"""Rotations that are stretched from 16 tokens on."""


@pytest.mark.parametrize("family", STRETCHED)
def test_a_long_row_does_not_stretch_the_rotation_of_a_short_one(
    family: str, tiny_model: Path, tmp_path: Path
) -> None:
    plain = make_family(tmp_path / "plain", tiny_model, family, STRETCHED[family])
    model = TorchModel.open(livened(plain, tmp_path / "model"), None)
    short, long = prompts_of((9, 40))
    alone = model.causal(torch.tensor([short])).logits[0, -1].tolist()
    with model.decoder(2) as decoder:
        keys = decoder.add([Arrival(short[:-1]), Arrival(long[:-1])])
        while decoder.reading:
            decoder.step({})
        decoder.step(dict(zip(keys, (short[-1], long[-1]), strict=True)))
        np.testing.assert_allclose(decoder.logits(keys[0]), alone, atol=1e-4)


def test_layers_of_llamas_shape_take_their_form_for_answers(tiny_model: Path, tmp_path: Path) -> None:
    plain = TorchModel.open(tiny_model, None)
    other = TorchModel.open(make_family(tmp_path / "gpt", tiny_model, "GPTNeoX", FAMILIES["GPTNeoX"]), None)
    assert plain.answering_form is not None
    assert plain.answering_form.layers is not None
    assert other.answering_form is not None
    assert other.answering_form.layers is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_that_answers_gets_its_own_weights_back_to_the_bit(
    family: str, tmp_path: Path, tiny_model: Path
) -> None:
    folder = make_family(tmp_path / family, tiny_model, family, FAMILIES[family])
    own = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    model = TorchModel.open(folder, None)
    ids = torch.tensor(prompts_of((9,)))
    packed = model.causal(ids).logits
    assert model.answering_form is not None
    model.answering_form.restore()
    torch.testing.assert_close(model.causal(ids).logits, packed)
    restored = model.causal.state_dict()
    assert all(torch.equal(restored[name], weight) for name, weight in own.items())


def test_files_in_bf16_are_computed_so_where_the_cpu_can(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = change_model(
        tiny_model,
        tmp_path / "half",
        lambda tensors: {name: tensor.bfloat16() for name, tensor in tensors.items()},
        dtype="bfloat16",
    )
    monkeypatch.setattr("engine.backends.torch.causal_lm.cpu_has_bf16", lambda: True)
    for folder, compute in ((tiny_model, "fp32"), (half, "bf16")):
        model = TorchModel.open(folder, None)
        model.narrow()
        assert model.compute == compute
        assert len(answered(model, prompts_of((3, 9)), 2, 4)[0]) == 4
        assert model.decoder_type is MixedDecoder


def test_many_prompts_share_few_slots(tiny_model: Path) -> None:
    model = TorchModel.open(tiny_model, None)
    prompts, most = prompts_of(range(1, 24)), [*range(23, 0, -1)]
    stop = {prompts[20][0], prompts[21][0], prompts[22][0]}
    alone = [[*model.stream(prompt, room, stop)] for prompt, room in zip(prompts, most, strict=True)]
    polled: list[None] = []
    found = dict(greedy_answers(model, prompts, most, stop, 5, lambda: polled.append(None)))
    assert [found[place] for place in range(23)] == alone
    assert len(polled) < sum(most) / 3


def test_the_cache_grows_and_forgets_what_no_row_needs(tiny_model: Path) -> None:
    model = TorchModel.open(tiny_model, None)
    with model.decoder(2) as decoder:
        assert isinstance(decoder, MixedDecoder)
        (first,) = decoder.add([Arrival(prompts_of((200,))[0])])
        for _ in range(100):
            decoder.step(decoder.likeliest())
        (second,) = decoder.add([Arrival(prompts_of((3,))[0])])
        decoder.remove(first)
        for _ in range(300):
            decoder.step(decoder.likeliest())
        assert decoder.cache.columns.width == 302
        assert decoder.cache.capacity <= 900
        decoder.remove(second)
        assert decoder.cache.columns.width == 0
        assert not decoder.rows


def test_training_attends_as_before_after_the_decoder(tiny_model: Path) -> None:
    model = TorchModel.open(tiny_model, None)
    before = model.causal.config._attn_implementation
    with model.decoder(2):
        pass
    assert model.causal.config._attn_implementation == before
