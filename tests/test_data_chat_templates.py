"""ft's own chat templates write what each family knows; tools and thoughts reach a template as it wants them."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from engine.data.formats.messages import messages_of, tools_of
from engine.data.tokenization.chat_template import ChatTemplate
from engine.data.tokenization.row_encoder import RowEncoder
from engine.data.tokenization.template_lookup import BUILT_IN, built_in
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Conversation
from tests.tiny import make_tokenizer

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": " Capital of France? "},
    {"role": "assistant", "content": "Paris."},
    {"role": "user", "content": "Of Peru?"},
    {"role": "assistant", "content": "Lima.\n"},
]
FAMILIES: dict[str, tuple[list[str], str]] = {
    # name: (special tokens, the first of them in front of a text; the conversation as the family writes it)
    "chatml": (
        ["<s>", "<|im_start|>", "<|im_end|>"],
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n Capital of France? <|im_end|>\n"
        "<|im_start|>assistant\n⟦Paris.<|im_end|>⟧\n<|im_start|>user\nOf Peru?<|im_end|>\n"
        "<|im_start|>assistant\n⟦Lima.\n<|im_end|>⟧\n",
    ),
    "llama3": (
        ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nCapital of France?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Paris.<|eot_id|>⟧"
        "<|start_header_id|>user<|end_header_id|>\n\nOf Peru?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦Lima.<|eot_id|>⟧",
    ),
    "alpaca": (
        ["<s>"],
        "<s>Be brief.\n\n### Instruction:\n Capital of France? \n\n### Response:\n⟦Paris.</s>⟧\n\n"
        "### Instruction:\nOf Peru?\n\n### Response:\n⟦Lima.\n</s>⟧",
    ),
    "mistral": (
        ["<s>", "[INST]", "[/INST]"],
        "<s>[INST] Be brief.\n\n Capital of France? [/INST]⟦ Paris.</s>⟧[INST] Of Peru?[/INST]⟦ Lima.</s>⟧",
    ),
    "gemma": (
        ["<bos>", "<start_of_turn>", "<end_of_turn>"],
        "<bos><start_of_turn>user\nBe brief.\n\nCapital of France?<end_of_turn>\n<start_of_turn>model\n"
        "⟦Paris.<end_of_turn>⟧\n<start_of_turn>user\nOf Peru?<end_of_turn>\n<start_of_turn>model\n"
        "⟦Lima.<end_of_turn>⟧\n",
    ),
    "phi": (
        ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"],
        "<|system|>\nBe brief.<|end|>\n<|user|>\n Capital of France? <|end|>\n<|assistant|>\n⟦Paris.<|end|>⟧\n"
        "<|user|>\nOf Peru?<|end|>\n<|assistant|>\n⟦Lima.\n<|end|>⟧\n",
    ),
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Weather of a place, <b>now</b>.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
CALLS = [
    {"role": "user", "content": "Is it raining in Lima?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "id": "a1b2c3d4e",
                "type": "function",
                "function": {"name": "get_weather", "arguments": {"city": "Lima", "ö": [1, None]}},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "a1b2c3d4e", "name": "get_weather", "content": '{"rain": false}'},
    {"role": "assistant", "content": "No.", "reasoning_content": "It is dry."},
]


def family(name: str, folder: Path) -> Path:
    """A model's folder with a tokenizer that has the tokens of a family, and puts its first one where it does."""
    make_tokenizer(folder)
    (folder / "chat_template.jinja").unlink()
    special = [*FAMILIES[name][0], "</s>"]
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.add_special_tokens(special)
    about: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"}
    if name not in ("chatml", "phi"):
        about["bos_token"] = special[0]
        backend.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"{special[0]} $A", special_tokens=[(special[0], backend.token_to_id(special[0]))]
        )
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return folder


def conversation(turns: list[dict[str, Any]], **more: Any) -> Conversation:
    return Conversation(messages_of(turns, "messages"), "x:1", tools_of(more))


def marked(tokenizer: Tokenizer, row: Conversation) -> str:
    """The text of a row, `⟦⟧` around what is trained."""
    encoder = RowEncoder(tokenizer, "assistant")
    [encoded] = encoder.encode(encoder.render(row))
    parts, at = [], 0
    for start, end in encoded.spans:
        parts += [encoded.ids[at:start], encoded.ids[start:end]]
        at = end
    texts = [tokenizer.decode(part, skip_special=False) for part in [*parts, encoded.ids[at:]]]
    return "".join(f"⟦{text}⟧" if number % 2 else text for number, text in enumerate(texts))


@pytest.mark.parametrize("name", FAMILIES)
def test_chat_template_writes_familys_conversation(name: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(family(name, tmp_path), name)
    assert marked(tokenizer, conversation(CHAT)) == FAMILIES[name][1]


@pytest.mark.parametrize("name", FAMILIES)
def test_chat_template_ends_turns_with_own_token(name: str, tmp_path: Path) -> None:
    folder = family(name, tmp_path)
    tokenizer = Tokenizer.load(folder, name)
    ends = {tokenizer.added[id_] for id_ in tokenizer.stop_ids}
    assert ends == {"</s>", BUILT_IN[name] or "</s>"}
    assert tokenizer.shape().end
    prompt = tokenizer.decode(tokenizer.prompt_ids(messages_of(CHAT[:2], "messages")), skip_special=False)
    assert prompt == FAMILIES[name][1].partition("⟦")[0], "an answer is trained after just this prompt"


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "chatml"])
def test_model_without_familys_token_uses_own(name: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(family("alpaca", tmp_path), name)
    assert {tokenizer.added[id_] for id_ in tokenizer.stop_ids} == {"</s>"}
    assert marked(tokenizer, conversation(CHAT)).count("</s>⟧") == 2


@pytest.mark.parametrize("name", FAMILIES)
def test_chat_template_renders_as_in_transformers(name: str, tmp_path: Path) -> None:
    """The same tokens are masked."""
    from transformers import AutoTokenizer

    folder = family(name, tmp_path)
    tokenizer = Tokenizer.load(folder, name)
    names = {
        "turn_end": BUILT_IN[name] or "</s>",
        "text_start": tokenizer.decode(tokenizer.prefix_ids, False),
    }
    want = AutoTokenizer.from_pretrained(folder).apply_chat_template(
        CHAT,
        chat_template=built_in(name),
        return_dict=True,
        return_assistant_tokens_mask=True,
        **names,
    )
    encoder = RowEncoder(tokenizer, "assistant")
    [got] = encoder.encode(encoder.render(conversation(CHAT)))
    assert got.ids == want["input_ids"]
    trained = {place for start, end in got.spans for place in range(start, end)}
    assert [int(place in trained) for place in range(len(got.ids))] == want["assistant_masks"]


@pytest.mark.parametrize("name", ["chatml", "llama3"])
def test_tools_and_calls_render_as_in_transformers(name: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = family(name, tmp_path)
    tokenizer = Tokenizer.load(folder, name)
    row = conversation(CALLS, tools=TOOLS)
    names = {"turn_end": BUILT_IN[name], "text_start": tokenizer.decode(tokenizer.prefix_ids, False)}
    theirs = AutoTokenizer.from_pretrained(folder)
    for turns, system in ((CALLS, False), ([CHAT[0], *CALLS], True)):
        want = theirs.apply_chat_template(
            turns, tools=TOOLS, chat_template=built_in(name), tokenize=False, **names
        )
        text = tokenizer.template().render(messages_of(turns, "messages"), tools=row.tools)
        assert text == want
        assert json.dumps(TOOLS[0], ensure_ascii=False) in text
        assert text.count("Be brief.") == system
        assert text.count("system") == 1
    said = [part.partition("⟧")[0] for part in marked(tokenizer, row).split("⟦")[1:]]
    assert '{"name": "get_weather", "' in said[0]
    assert '{"city": "Lima", "ö": [1, null]}' in said[0]
    assert said[1].endswith(f"No.{BUILT_IN[name]}")


THINKS = (Path(__file__).parent / "golden" / "drops_thinking.jinja").read_text(encoding="utf-8")
WILD = {
    # templates as models bring them, each wants calls or thoughts in its own way
    "arguments as an object": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{% for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}"
        "{% for k, v in (m.tool_calls[0].function.arguments if m.tool_calls else {}).items() %}<{{ k }}>{% endfor %}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        'get_weather{"city": "Lima", "ö": [1, null]}<city><ö><|im_end|>',
    ),
    "arguments as text": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
        "{% for c in m['tool_calls'] %}{{ c['function']['name'] + '(' + c['function']['arguments'] + ')' }}"
        "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        'get_weather({"city": "Lima", "ö": [1, null]})<|im_end|>',
    ),
}


@pytest.mark.parametrize("name", WILD)
def test_template_gets_call_arguments_it_wants(name: str, tmp_path: Path) -> None:
    template, said = WILD[name]
    make_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(template)
    tokenizer = Tokenizer.load(tmp_path)
    assert f"⟦{said}⟧" in marked(tokenizer, conversation(CALLS))
    written = copy.deepcopy(CALLS)  # as files often have it: an object in a text
    function = written[1]["tool_calls"][0]["function"]
    function["arguments"] = json.dumps(function["arguments"])
    assert marked(tokenizer, conversation(written)) == marked(tokenizer, conversation(CALLS))


@pytest.mark.parametrize("template", [WILD["arguments as an object"][0], THINKS], ids=["calls", "thoughts"])
def test_models_own_template_renders_tools(template: str, tmp_path: Path) -> None:
    """As in Transformers."""
    from transformers import AutoTokenizer

    make_tokenizer(tmp_path)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    mine = ChatTemplate("{{ tools | tojson(indent=2) }}" + template, {})
    for count in range(1, len(CALLS) + 1):
        for prompt in (False, True):
            want = theirs.apply_chat_template(
                CALLS[:count],
                tools=TOOLS,
                chat_template=mine.source,
                tokenize=False,
                add_generation_prompt=prompt,
            )
            assert mine.render(messages_of(CALLS[:count], "messages"), prompt, TOOLS) == want


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_template_gets_thoughts_under_known_name(name: str) -> None:
    template = ChatTemplate(
        "{% for m in messages %}{{ m.role }}:{% if m." + name + " %}({{ m['" + name + "'] }}){% endif %}"
        "{{ m.content }}\n{% endfor %}",
        {},
    )
    for spelling in ("reasoning_content", "reasoning", "thinking"):
        turns = messages_of([{"role": "assistant", "content": "a", spelling: "because"}], "messages")
        assert template.render(turns) == "assistant:(because)a\n"
    assert template.shows_reasoning


@pytest.mark.parametrize(("name", "tools", "calls"), [
    ("chatml", True, True), ("llama3", True, True), ("phi", False, False), ("gemma", False, False),
])  # fmt: skip
def test_parts_left_out_by_template_are_known(name: str, tools: bool, calls: bool, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(family(name, tmp_path), name)
    assert (tokenizer.template().shows_tools, tokenizer.template().shows_calls) == (tools, calls)
    row = conversation([CHAT[1], CALLS[3]], tools=TOOLS)
    seen = set() if name == "chatml" else {"reasoning"} if tools else {"tools", "reasoning"}
    assert set(RowEncoder(tokenizer, "assistant").render(row)[0].unseen) == seen


@pytest.mark.parametrize("name", ["mistral", "gemma"])
def test_alternating_template_refuses_two_questions_running(name: str, tmp_path: Path) -> None:
    from engine.data.formats.base import RowError

    encoder = RowEncoder(Tokenizer.load(family(name, tmp_path), name), "assistant")
    with pytest.raises(RowError, match="roles must alternate"):
        encoder.render(conversation([CHAT[1], *CHAT[1:]]))


def test_failing_template_gives_no_traceback(tmp_path: Path) -> None:
    from engine.data.formats.base import RowError

    make_tokenizer(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ messages[0].content + 3 }}{{ 1 / 0 }}")
    encoder = RowEncoder(Tokenizer.load(tmp_path), "assistant")
    with pytest.raises(RowError, match="the chat template refuses it: TypeError"):
        encoder.render(conversation(CHAT))
