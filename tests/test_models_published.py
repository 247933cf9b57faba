"""Published models are sized to the parameter from config.json alone, before a byte of weights is fetched."""

import json
from pathlib import Path

import pytest

from engine.models.sizing import shape_of
from tests.published_configs import MODELS


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(name: str, tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(MODELS[name].config))
    return tmp_path


def test_published_model_is_sized_from_config_alone(name: str, folder: Path) -> None:
    shape, expected = shape_of(folder), MODELS[name]
    assert shape.parameters == numel(folder)
    assert shape.parameters == expected.parameters
    assert shape.active_parameters == expected.active if expected.active else True
    assert 0 < shape.linear_parameters + shape.embedding_parameters <= shape.parameters


def numel(folder: Path) -> int:
    """Parameters that transformers gives the model, on torch's meta device."""
    import torch
    import transformers
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        if config.architectures:
            model = getattr(transformers, config.architectures[0])(config)
        else:
            model = transformers.AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())
