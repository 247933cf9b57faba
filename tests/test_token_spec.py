"""Dependencies of tokens are one list: previews, plans and the token cache all notice a change of any part of it."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from engine.config.schema import TrainConfig
from engine.data.cache import Inputs
from engine.data.preview.previews import Previews
from engine.data.preview.values import View
from engine.data.token_spec import TokenSpec
from engine.models.local import TEMPLATE, TOKEN_FILES, TOKENIZERS, VOCABULARIES
from engine.planning.cached import CachedPlanner
from tests.test_data_prepare import chats, recipe, write
from tests.tiny import CHAT_TEMPLATE, make_tiny_model

WORDS = "These are quite a lot of words in front of a conversation."
OTHER_TEMPLATE = WORDS + CHAT_TEMPLATE


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model that has its chat template in tokenizer_config.json, as most on the hub do."""
    folder = make_tiny_model(tmp_path / "model")
    (folder / TEMPLATE).unlink()
    set_template(folder, CHAT_TEMPLATE)
    return folder


def set_template(model: Path, template: str) -> None:
    file = model / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))


def test_preview_follows_tokenizer_config_chat_template(model: Path, tmp_path: Path) -> None:
    source, view = write(tmp_path / "rows.jsonl", chats(3)), View(model=str(model))
    previews = Previews()
    assert previews.wait_for(str(source), 0, view)
    before = "".join(piece.text for piece in previews.show(str(source), [0], view)[0].pieces)
    set_template(model, OTHER_TEMPLATE)
    after = "".join(piece.text for piece in previews.show(str(source), [0], view)[0].pieces)
    assert WORDS not in before
    assert WORDS in after


def test_plan_follows_tokenizer_config_chat_template(model: Path, tmp_path: Path) -> None:
    text = f"model: {{base: {model}}}\ndata: {{train: {write(tmp_path / 'rows.jsonl', chats(3))}, validation: 0}}\n"
    planner = CachedPlanner()
    before = planner.plan(text, tmp_path / "train.yml")
    set_template(model, OTHER_TEMPLATE)
    assert planner.plan(text, tmp_path / "train.yml").work.longest > before.work.longest


@pytest.mark.parametrize(
    "name", [*TOKEN_FILES, TEMPLATE, "additional_chat_templates/tool_use.jinja", "own.jinja"]
)
def test_changed_tokenizer_file_is_noticed(name: str, model: Path, tmp_path: Path) -> None:
    """Previews and the cache notice it."""
    config = recipe(write(tmp_path / "rows.jsonl", chats(3)))
    template = str(model / "own.jinja") if name == "own.jinja" else "auto"
    (model / "own.jinja").write_text(CHAT_TEMPLATE)
    config = config.model_copy(update={"model": config.model.model_copy(update={"chat_template": template})})
    previews, view = Previews(), View(model=str(model), chat_template=template)

    def key() -> str:
        return Inputs(config, model, [], False, None).key

    encoder, kept = previews.encoder(view), key()
    assert previews.encoder(view) is encoder
    file = model / name
    file.parent.mkdir(exist_ok=True)
    text = file.read_text() if file.is_file() else CHAT_TEMPLATE if name.endswith(".jinja") else "{}"
    file.write_text(text + "\n")
    assert previews.encoder(view) is not encoder
    assert key() != kept


def test_token_keys_come_from_the_recipe() -> None:
    """A key that `of` forgets would be shown and cached as its default."""
    config = TrainConfig.model_validate(
        {
            "model": {
                "base": "m", "revision": "r", "chat_template": "llama3", "max_seq_length": 77,
                "template_variables": {"enable_thinking": False}, "add_tokens": ["<note>"],
            },
            "data": {"train": "x.jsonl", "train_on": "last", "chunk_overlap": 3},
            "training": {"method": "kto"},
        }
    )  # fmt: skip
    spec, default = TokenSpec.of(config), TokenSpec()
    assert [
        field.name for field in fields(spec) if getattr(spec, field.name) == getattr(default, field.name)
    ] == []


def test_a_limit_alone_needs_no_other_encoder(model: Path) -> None:
    previews, view = Previews(), View(model=str(model))
    assert previews.encoder(view) is previews.encoder(replace(view, max_seq_length=9, format="chat"))


def test_every_tokenizer_file_counts_for_tokens() -> None:
    assert {*VOCABULARIES, *(name for names in TOKENIZERS for name in names)} <= set(TOKEN_FILES)
    assert {"merges.txt", "tokenizer.model", "sentencepiece.bpe.model", "config.json"} <= set(TOKEN_FILES)
