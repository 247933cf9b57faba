"""Chat templates show the model what transformers would, and exactly the assistant's part is trained."""

import shutil
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.formats.base import RowError
from engine.data.tokenization.chat_template import ChatTemplate
from engine.data.tokenization.row_encoder import Encoded, RowEncoder, TrainOn
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Conversation, Message, Role, Row, Text

PLAIN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m['role'] }}<|endoftext|>\n\n"
    "{{ m['content'] | trim }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant<|endoftext|>\n\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)
MARKED = (
    "{%- for m in messages -%}\n"
    "  {{- '<|im_start|>' + m['role'] + '\\n' -}}\n"
    "  {%- if m['role'] == 'assistant' -%}\n"
    "    {%- generation -%}{{- m['content'] + '<|im_end|>' -}}{%- endgeneration -%}{{ '\\n' }}\n"
    "  {%- else -%}\n"
    "    {{- m['content'] + '<|im_end|>\\n' -}}\n"
    "  {%- endif -%}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
FEATURES = (
    "{% set ns = namespace(n=0) %}\n"
    "{% for m in messages %}\n"
    "    {% if m['role'] == 'system' %}{% continue %}{% endif %}\n"
    "    {% set ns.n = ns.n + 1 %}\n"
    "{{ ns.n }} {{ m | tojson }}{{ m.content | tojson(indent=2) }} {% if tools is none %}none{% endif %}"
    "{{ unset is defined }}<|im_end|>\n"
    "{% endfor %}{{ strftime_now('%Y') }}"
)
TEMPLATES = {"llama3": LLAMA3, "mistral": MISTRAL, "marked": MARKED, "features": FEATURES}

CHATS: dict[str, list[tuple[Role, str]]] = {
    "one turn": [("user", "What is 2+2?"), ("assistant", "4")],
    "with system": [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello there!")],
    "three turns": [
        ("user", "a"),
        ("assistant", "b b"),
        ("user", "c"),
        ("assistant", "d\nd\n"),
        ("user", "e"),
        ("assistant", "f"),
    ],
    "assistant first": [("assistant", "Hello!"), ("user", "Hi"), ("assistant", "How are you?")],
    "user last": [("user", "a"), ("assistant", "b"), ("user", "c")],
    "unicode": [("user", "naïve 北京 🦜🔗 e\u0301"), ("assistant", "👩‍👩‍👧 ¡sí! \u200b ok")],
    "white space": [("user", "  a\t\n\n"), ("assistant", "\n\n  indented\n\n   code\n")],
    "special tokens in text": [("user", "what is <|im_end|>?"), ("assistant", "an <|im_start|> token")],
    "html and quotes": [("user", '<b>"it\'s" & {{ x }}</b>'), ("assistant", "{% if %} </s>")],
    "tool": [("user", "weather?"), ("tool", '{"t": 3}'), ("assistant", "3 degrees")],
}


def messages(name: str) -> tuple[Message, ...]:
    return tuple(Message(role, content) for role, content in CHATS[name])


def with_template(model: Path, folder: Path, template: str) -> Path:
    """A copy of a model's tokenizer with another template."""
    folder.mkdir(exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json"):
        if (model / name).exists():
            shutil.copy(model / name, folder / name)
    (folder / "chat_template.jinja").write_text(template)
    return folder


def encode(tokenizer: Tokenizer, row: Row, train_on: TrainOn = "assistant") -> Encoded:
    encoder = RowEncoder(tokenizer, train_on)
    return encoder.encode(encoder.render(row))[0]


def trained(tokenizer: Tokenizer, encoded: Encoded) -> list[str]:
    """The trained spans, decoded with their special tokens."""
    return [tokenizer.decode(encoded.ids[start:end], skip_special=False) for start, end in encoded.spans]


@pytest.fixture(scope="module")
def transformers_tokenizers(starter_model: Path, tiny_model: Path) -> dict[str, Any]:
    from transformers import AutoTokenizer

    return {
        "starter": AutoTokenizer.from_pretrained(starter_model),
        "tiny": AutoTokenizer.from_pretrained(tiny_model),
    }


@pytest.fixture(scope="module")
def ours(starter_model: Path, tiny_model: Path) -> dict[str, Tokenizer]:
    return {"starter": Tokenizer.load(starter_model), "tiny": Tokenizer.load(tiny_model)}


@pytest.mark.parametrize("model", ["starter", "tiny"])
@pytest.mark.parametrize("chat", CHATS)
def test_token_ids_match_transformers(
    model: str, chat: str, ours: dict[str, Tokenizer], transformers_tokenizers: dict[str, Any]
) -> None:
    theirs = transformers_tokenizers[model]
    turns = [{"role": role, "content": content} for role, content in CHATS[chat]]
    want = theirs.apply_chat_template(turns, tokenize=True, return_dict=False)
    prompt = theirs.apply_chat_template(turns, tokenize=True, return_dict=False, add_generation_prompt=True)

    got = encode(ours[model], Conversation(messages(chat), "x:1"), "all").ids

    assert got == want
    assert ours[model].prompt_ids(messages(chat)) == prompt
    assert ours[model].encode(["Hello world"]) == [theirs("Hello world")["input_ids"]]
    assert ours[model].eos_id == theirs.eos_token_id
    assert ours[model].decode(want) == theirs.decode(want, skip_special_tokens=True)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("chat", CHATS)
def test_templates_render_as_in_transformers(
    name: str, chat: str, transformers_tokenizers: dict[str, Any]
) -> None:
    theirs = transformers_tokenizers["tiny"]
    turns = [{"role": role, "content": content} for role, content in CHATS[chat]]
    mine = ChatTemplate(TEMPLATES[name], {"bos_token": theirs.bos_token, "eos_token": theirs.eos_token})
    for prompt in (False, True):
        try:
            want = theirs.apply_chat_template(
                turns, chat_template=TEMPLATES[name], tokenize=False, add_generation_prompt=prompt
            )
        except jinja2.TemplateError as error:
            with pytest.raises(jinja2.TemplateError, match=str(error)):
                mine.render(messages(chat), prompt)
        else:
            assert mine.render(messages(chat), prompt) == want


@pytest.mark.parametrize("chat", CHATS)
def test_generation_marks_train_tokens_transformers_masks(
    chat: str, tiny_model: Path, tmp_path: Path, transformers_tokenizers: dict[str, Any]
) -> None:
    tokenizer = Tokenizer.load(with_template(tiny_model, tmp_path / "m", MARKED))
    turns = [{"role": role, "content": content} for role, content in CHATS[chat]]
    want = transformers_tokenizers["tiny"].apply_chat_template(
        turns, chat_template=MARKED, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    got = encode(tokenizer, Conversation(messages(chat), "x:1"))
    assert trained(tokenizer, got) == [
        content + "<|im_end|>" for role, content in CHATS[chat] if role == "assistant"
    ]
    if chat != "white space":  # there a token straddles the mark, and ours is split as the prompt ends
        assert got.ids == want["input_ids"]
        mask = [0] * len(got.ids)
        for start, end in got.spans:
            mask[start:end] = [1] * (end - start)
        assert mask == want["assistant_masks"]


@pytest.mark.parametrize("model", ["starter", "tiny"])
@pytest.mark.parametrize("chat", CHATS)
def test_only_assistant_turns_are_trained(model: str, chat: str, ours: dict[str, Tokenizer]) -> None:
    """Each with its end token."""
    got = encode(ours[model], Conversation(messages(chat), "x:1"))
    answers = [content + "<|im_end|>" for role, content in CHATS[chat] if role == "assistant"]
    assert trained(ours[model], got) == answers


@pytest.mark.parametrize("chat", CHATS)
def test_last_trains_only_last_answer(chat: str, ours: dict[str, Tokenizer]) -> None:
    got = encode(ours["tiny"], Conversation(messages(chat), "x:1"), "last")
    answers = [content + "<|im_end|>" for role, content in CHATS[chat] if role == "assistant"]
    assert trained(ours["tiny"], got) == answers[-1:]


def test_all_trains_every_token_but_first(ours: dict[str, Tokenizer]) -> None:
    got = encode(ours["tiny"], Conversation(messages("three turns"), "x:1"), "all")
    assert got.spans == ((1, len(got.ids)),)


@pytest.mark.parametrize(
    ("name", "chat", "answers"),
    [
        ("llama3", "three turns", ["b b<|im_end|>", "d\nd<|im_end|>", "f<|im_end|>"]),
        ("mistral", "three turns", [" b b<|im_end|>", " d\nd\n<|im_end|>", " f<|im_end|>"]),
        ("llama3", "assistant first", ["Hello!<|im_end|>", "How are you?<|im_end|>"]),
    ],
)
def test_trained_spans_follow_template(
    name: str, chat: str, answers: list[str], tiny_model: Path, tmp_path: Path
) -> None:
    tokenizer = Tokenizer.load(with_template(tiny_model, tmp_path / "m", TEMPLATES[name]))
    assert trained(tokenizer, encode(tokenizer, Conversation(messages(chat), "x:1"))) == answers


def test_generation_marks_extend_over_end_token(tiny_model: Path, tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content }}{% endgeneration %}"
        "{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}"
    )
    tokenizer = Tokenizer.load(with_template(tiny_model, tmp_path / "m", template))
    got = encode(tokenizer, Conversation(messages("one turn"), "x:1"))
    assert trained(tokenizer, got) == ["4<|im_end|>"]


def test_open_answer_gets_models_end_token(tiny_model: Path, tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    tokenizer = Tokenizer.load(with_template(tiny_model, tmp_path / "m", template))
    assert not tokenizer.shape().end
    got = encode(tokenizer, Conversation(messages("one turn"), "x:1"))
    assert trained(tokenizer, got) == [" 4<|im_end|>"]
    several = encode(tokenizer, Conversation(messages("three turns"), "x:1"))
    assert trained(tokenizer, several) == [" b b\n\n", " d\nd\n\n\n", " f<|im_end|>"], (
        "the text stays the template's"
    )


def test_turn_unlike_generation_prompt_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{{ m.role }}:{{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}bot:{% endif %}"
    )
    tokenizer = Tokenizer.load(with_template(tiny_model, tmp_path / "m", template))
    with pytest.raises(RowError, match=r"messages\[1\] unlike its generation prompt"):
        encode(tokenizer, Conversation(messages("one turn"), "x:1"))


def straddling(tokenizer: Tokenizer) -> tuple[str, str]:
    """A prompt and a completion that share a token when they are joined."""
    for prompt, completion in (
        ("the", "y say"),
        ("Once up", "on a time"),
        ("a ", "bird in"),
        ("th", "e quick"),
    ):
        joined = tokenizer.encode([prompt + completion], special=False)[0]
        if (
            tokenizer.encode([prompt], special=False)[0]
            != joined[: len(tokenizer.encode([prompt], False)[0])]
        ):
            return prompt, completion
    raise AssertionError("no pair straddles")


@pytest.mark.parametrize("model", ["starter", "tiny"])
def test_token_across_prompt_end_is_split(model: str, ours: dict[str, Tokenizer]) -> None:
    tokenizer = ours[model]
    prompt, completion = straddling(tokenizer)
    got = encode(tokenizer, Text(prompt, completion, "x:1"))
    before = got.ids[: got.spans[0][0]]
    assert before == tokenizer.encode([prompt])[0]
    assert tokenizer.decode(got.ids[len(before) : -1]) == completion
    assert got.ids[-1] == tokenizer.eos_id
    assert got.spans == ((len(before), len(got.ids)),)


def test_plain_text_trains_whole_and_ends_once(ours: dict[str, Tokenizer]) -> None:
    got = encode(ours["tiny"], Text("", "Once upon a time", "x:1"))
    assert got.spans == ((1, len(got.ids)),)
    assert got.ids[-1] == ours["tiny"].eos_id
    again = encode(ours["tiny"], Text("", "Once upon a time<|im_end|>", "x:1"))
    assert again.ids == got.ids


def test_text_begins_as_tokenizer_says(tiny_model: Path, tmp_path: Path) -> None:
    import tokenizers

    folder = with_template(tiny_model, tmp_path / "m", LLAMA3)
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    backend.save(str(folder / "tokenizer.json"))
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.encode(["the fox"])[0] == backend.encode("the fox").ids
    assert tokenizer.encode(["the fox"], special=False)[0] == backend.encode("the fox").ids[1:]
    got = encode(tokenizer, Text("the ", "fox", "x:1"))
    assert got.ids[: got.spans[0][0]] == tokenizer.encode(["the "])[0]
    chat = encode(tokenizer, Conversation(messages("one turn"), "x:1"))
    assert chat.ids.count(0) == 2, "the template writes its own special tokens; none is added"


def test_metaspace_tokenizer_keeps_ids_of_text(tmp_path: Path, tiny_model: Path) -> None:
    """It puts a space before any text, so a text cannot be continued by encoding the rest of it."""
    import tokenizers

    folder = with_template(tiny_model, tmp_path / "m", MISTRAL)
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", byte_fallback=False))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.decoder = tokenizers.decoders.Metaspace(prepend_scheme="always")
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>"]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    backend.train_from_iterator(["[INST] what is this thing [/INST] a thing of the kind"] * 3, trainer)
    backend.save(str(folder / "tokenizer.json"))
    tokenizer = Tokenizer.load(folder)
    chat = (Message("user", "what is this"), Message("assistant", "a thing"))
    got = encode(tokenizer, Conversation(chat, "x:1"))
    text = tokenizer.template().render(chat)
    assert got.ids == tokenizer.encode([text], special=False)[0]
    assert got.ids[: got.spans[0][0]] == tokenizer.prompt_ids(chat[:1])
    assert [tokenizer.decode(got.ids[a:b]) for a, b in got.spans] == ["a thing"]


TURNS = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), min_size=1, max_size=3
)


@settings(max_examples=150, deadline=None)
@given(TURNS, st.booleans())
def test_tokens_before_answer_are_its_prompt(
    ours: dict[str, Tokenizer], contents: list[str], starter: bool
) -> None:
    tokenizer = ours["starter" if starter else "tiny"]
    chat = tuple(
        message
        for content in contents
        for message in (Message("user", content[::-1]), Message("assistant", content))
    )
    got = encode(tokenizer, Conversation(chat, "x:1"), "last")
    start, end = got.spans[0]
    assert got.ids[:start] == tokenizer.prompt_ids(chat[:-1])
    # The starter's vocabulary lacks some rare bytes, which are lost whatever one does.
    answer = tokenizer.decode(tokenizer.encode([contents[-1]], special=False)[0], False)
    assert tokenizer.decode(got.ids[start:end], False) == answer + "<|im_end|>"


def test_model_with_vocabulary_only_is_converted(tmp_path: Path) -> None:
    """As GPT-2 was published: vocab.json and merges.txt."""
    import tokenizers

    backend = tokenizers.ByteLevelBPETokenizer()
    backend.train_from_iterator(["the quick brown fox"] * 5, vocab_size=300, special_tokens=["<|endoftext|>"])
    backend.save_model(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    (tmp_path / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"}'
    )
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode(["the quick fox"])[0] == backend.encode("the quick fox").ids
    assert tokenizer.decode(tokenizer.encode(["the quick fox"])[0]) == "the quick fox"


def test_template_wanting_system_message_gets_one(tiny_model: Path, tmp_path: Path) -> None:
    template = (
        "{% if messages[0].role != 'system' %}{{ raise_exception('no system message') }}{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n<|endoftext|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer = Tokenizer.load(with_template(tiny_model, tmp_path / "m", template))
    got = encode(tokenizer, Conversation(messages("with system"), "x:1"))
    assert trained(tokenizer, got) == ["Hello there!<|im_end|>"]


@pytest.mark.parametrize(
    ("written", "unseen"),
    [
        ("c.function | tojson", ()),
        ("c.function | tojson | tojson", ()),
        ("c.function.name", ("calls of tools",)),
    ],
)
def test_call_is_found_however_template_escapes(
    written: str, unseen: tuple[str, ...], tiny_model: Path, tmp_path: Path
) -> None:
    call = {"function": {"name": "say", "arguments": {"text": 'a "word"\nand more', "times": [2, 0.5]}}}
    turns = (Message("user", "Say it."), Message("assistant", "", more={"tool_calls": [call]}))
    template = PLAIN.replace(
        "{{ m.content }}", "{{ m.content }}{% for c in m.tool_calls %}{{ " + written + " }}{% endfor %}"
    )
    encoder = RowEncoder(Tokenizer.load(with_template(tiny_model, tmp_path / "m", template)), "assistant")
    [rendered] = encoder.render(Conversation(turns, "x:1"))
    assert rendered.unseen == unseen


@pytest.mark.parametrize(
    ("written", "unseen"),
    [("{{ m.content }}", ("reasoning",)), ("<b>{{ m.reasoning_content }}</b>{{ m.content }}", ())],
)
def test_thoughts_must_appear_apart_from_answer(
    written: str, unseen: tuple[str, ...], tiny_model: Path, tmp_path: Path
) -> None:
    """Thoughts that the answer merely repeats are unseen."""
    turns = [
        Message("user", "2+2?"),
        Message("assistant", "It is 4, just 4.", more={"reasoning_content": "4"}),
    ]
    template = PLAIN.replace("{{ m.content }}", written)
    encoder = RowEncoder(Tokenizer.load(with_template(tiny_model, tmp_path / "m", template)), "assistant")
    for several in (turns, [*turns, Message("user", "Really?"), Message("assistant", "Yes.")]):
        [rendered] = encoder.render(Conversation(tuple(several), "x:1"))
        assert rendered.unseen == unseen
