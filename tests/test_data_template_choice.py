"""Choice among a model's chat templates: the recipe's, the model's own, the one for rows with tools."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.backends.files import copy_tokenizer_files
from engine.data.formats.registry import FORMATS
from engine.data.tokenization.row_encoder import RowEncoder
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Conversation, Message
from engine.errors import ModelError
from tests.test_data_templates import LLAMA3, PLAIN, encode, messages, trained, with_template


@pytest.mark.parametrize("known", [True, False])
def test_chatml_serves_model_without_template(known: bool, tiny_model: Path, tmp_path: Path) -> None:
    folder = with_template(tiny_model, tmp_path / "m", "")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template") as caught:
        Tokenizer.load(folder).prompt_ids(messages("one turn"))
    assert "chatml" in caught.value.hint

    if not known:  # a base model that knows no ChatML: its own end token closes the turns
        text = (folder / "tokenizer.json").read_text().replace("<|im_end|>", "<|bye|>")
        (folder / "tokenizer.json").write_text(text)
        config = (folder / "tokenizer_config.json").read_text().replace("<|im_end|>", "<|bye|>")
        (folder / "tokenizer_config.json").write_text(config)
    tokenizer = Tokenizer.load(folder, "chatml")
    end = "<|im_end|>" if known else "<|bye|>"
    got = encode(tokenizer, Conversation(messages("one turn"), "x:1"))
    assert trained(tokenizer, got) == ["4" + end]
    assert tokenizer.shape().end


def test_template_may_be_file_or_name(tiny_model: Path, tmp_path: Path) -> None:
    """A name chooses among the templates that the model has."""
    folder = with_template(tiny_model, tmp_path / "m", "file")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "settings"}]
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": named}))
    own = tmp_path / "own.jinja"
    own.write_text("recipe")
    assert Tokenizer.load(folder, str(own)).template().source == "recipe"
    assert Tokenizer.load(folder).template().source == "file"
    (folder / "chat_template.jinja").unlink()
    assert Tokenizer.load(folder).template().source == "settings"


TOOL = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}},
}


WITH_TOOLS = (
    "<|im_start|>system\n{% for t in tools %}{{ t.function | tojson }}\n{% endfor %}<|im_end|>\n"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls %}"
    "{{ c.function | tojson }}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


NAMED = {"default": PLAIN, "tool_use": WITH_TOOLS, "rag": "documents"}


def named_templates(model: Path, folder: Path, where: str) -> Path:
    """A model that has templates by name: in its settings, in files, or both in a file and its settings."""
    with_template(model, folder, PLAIN)
    if where == "files":
        (folder / "additional_chat_templates").mkdir()
        for name in ("tool_use", "rag"):
            (folder / "additional_chat_templates" / f"{name}.jinja").write_text(NAMED[name])
        return folder
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    listed = [{"name": name, "template": text} for name, text in NAMED.items()]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": listed}))
    if where == "settings":
        (folder / "chat_template.jinja").unlink()
    return folder


@pytest.mark.parametrize("where", ["settings", "files", "a file before settings"])
@pytest.mark.parametrize("with_tools", [False, True])
def test_tool_template_renders_rows_with_tools(
    where: str, with_tools: bool, tiny_model: Path, tmp_path: Path
) -> None:
    """As in Transformers."""
    from transformers import AutoTokenizer

    folder = named_templates(tiny_model, tmp_path / "m", where)
    call = {"type": "function", "function": {"name": "look_up", "arguments": {"what": "tea"}}}
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": "Which tea?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "green"},
        {"role": "assistant", "content": "Green."},
    ]
    tools = [TOOL] if with_tools else []
    turns = turns if with_tools else [turns[0], turns[-1]]
    theirs = AutoTokenizer.from_pretrained(folder)
    tokenizer = Tokenizer.load(folder)
    row = FORMATS["chat"].read({"messages": turns, "tools": tools}, "x:1")
    assert isinstance(row, Conversation)
    want = theirs.apply_chat_template(turns, tools=tools or None, tokenize=False)
    assert ("look_up" in want) == (with_tools and where != "a file before settings")
    assert tokenizer.template(row.tools).render(row.messages, tools=row.tools) == want
    asked = theirs.apply_chat_template(
        turns[:-1], tools=tools or None, add_generation_prompt=True, return_dict=True
    )
    assert tokenizer.prompt_ids(row.messages[:-1], row.tools) == asked["input_ids"]
    encoder = RowEncoder(tokenizer, "assistant")
    if "look_up" in want:
        [rendered] = encoder.render(row)
        assert encoder.encode([rendered])[0].ids == theirs(want, add_special_tokens=False).input_ids
        assert rendered.unseen == ()


def test_model_with_only_tool_template_takes_tools(tiny_model: Path, tmp_path: Path) -> None:
    folder = named_templates(tiny_model, tmp_path / "m", "files")
    (folder / "chat_template.jinja").unlink()
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.template([TOOL]).source == WITH_TOOLS
    assert tokenizer.shape([TOOL]).end
    with pytest.raises(ModelError, match="no chat template"):
        tokenizer.template()


def test_tool_template_gets_arguments_it_takes(tiny_model: Path, tmp_path: Path) -> None:
    folder = named_templates(tiny_model, tmp_path / "m", "files")
    text = WITH_TOOLS.replace(
        "{{ c.function | tojson }}", "{{ c.function.name + ' ' + c.function.arguments }}"
    )
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text(text)
    call = {"function": {"name": "look_up", "arguments": {"what": "tea"}}}
    turns = (Message("user", "Which?"), Message("assistant", "", more={"tool_calls": [call]}))
    shown = Tokenizer.load(folder).template([TOOL]).render(turns, tools=[TOOL])
    assert 'look_up {"what": "tea"}' in shown


def test_saved_model_keeps_templates_by_name(tiny_model: Path, tmp_path: Path) -> None:
    folder = named_templates(tiny_model, tmp_path / "m", "files")
    saved = tmp_path / "saved"
    saved.mkdir()
    copy_tokenizer_files(folder, saved)
    assert Tokenizer.load(saved).template([TOOL]).source == WITH_TOOLS


def test_recipe_template_serves_rows_with_tools(tiny_model: Path, tmp_path: Path) -> None:
    folder = named_templates(tiny_model, tmp_path / "m", "files")
    chosen = Tokenizer.load(folder, "chatml")
    assert chosen.template([TOOL]) is chosen.template()


def test_end_token_of_either_template_stops_model(tiny_model: Path, tmp_path: Path) -> None:
    folder = named_templates(tiny_model, tmp_path / "m", "files")
    more = folder / "additional_chat_templates" / "tool_use.jinja"
    assert Tokenizer.load(folder).stop_ids == {2}
    more.write_text(WITH_TOOLS.replace("<|im_end|>", "<|im_start|>"))
    assert Tokenizer.load(folder).stop_ids == {1, 2}
    more.write_text(WITH_TOOLS.replace("<|im_end|>", ""))
    assert not Tokenizer.load(folder).shape([TOOL]).end


def test_every_end_token_stops_model(tiny_model: Path, tmp_path: Path) -> None:
    folder = with_template(tiny_model, tmp_path / "m", LLAMA3)
    (folder / "generation_config.json").write_text('{"eos_token_id": [0, 7]}')
    assert Tokenizer.load(folder).stop_ids == {0, 2, 7}
