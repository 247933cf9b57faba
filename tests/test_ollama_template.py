"""Templates for Ollama: the same prompts as the chat template of every family, by Go's own rules."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import jinja2
import pytest

from engine.data.tokenization.template_lookup import BUILT_IN
from engine.data.tokenization.tokenizer import Tokenizer
from engine.data.types import Message
from engine.errors import ModelError
from engine.export.ollama.derive import OllamaTemplate, derive
from engine.export.ollama.go_syntax import GoSyntaxError
from engine.export.ollama.go_template import render
from engine.export.ollama.modelfile import stops_of
from engine.export.ollama.values import values_of
from tests.families import make_model, shipped
from tests.test_data_templates import with_template

TEMPLATES = {name: text for name, text in shipped().items() if not name.endswith("_training")}
DAY = date(2026, 11, 29)

RULES: dict[str, tuple[str, dict[str, Any], str]] = {
    "text": ("a b\n c", {}, "a b\n c"),
    "trim marks": ("a \n {{- .X -}} \n\t b", {"X": "x"}, "axb"),
    "a minus without a space is a number": ("{{-1}}", {}, "-1"),
    "one side alone": ("a  {{ .X -}}  b", {"X": "x"}, "a  xb"),
    "a comment": ("a{{/* no {{ x }} */}}b", {}, "ab"),
    "a comment that trims": ("a {{- /* no */ -}} b", {}, "ab"),
    "constants": (
        '{{ "\\"q\\" {{ }} \\u200b\\n" }}{{ `r\\n` }}{{ 12 }}{{ true }}',
        {},
        '"q" {{ }} \u200b\nr\\n12true',
    ),
    "if": ("{{ if .X }}yes{{ else }}no{{ end }}", {"X": ""}, "no"),
    "an empty list is false": ("{{ if .X }}yes{{ end }}.", {"X": []}, "."),
    "zero is false": ("{{ if 0 }}yes{{ else }}no{{ end }}", {}, "no"),
    "else if": ('{{ if eq .X "a" }}A{{ else if eq .X "b" }}B{{ else }}C{{ end }}', {"X": "b"}, "B"),
    "nested": ("{{ if .X }}{{ if .Y }}both{{ else }}X{{ end }}{{ end }}", {"X": "x", "Y": ""}, "X"),
    "range": ("{{ range .L }}<{{ .N }}>{{ end }}", {"L": [{"N": "a"}, {"N": "b"}]}, "<a><b>"),
    "range over nothing": ("{{ range .L }}x{{ else }}none{{ end }}", {"L": []}, "none"),
    "range with index": ("{{ range $i, $e := .L }}{{ $i }}{{ $e }} {{ end }}", {"L": ["a", "b"]}, "0a 1b "),
    "range with element alone": ("{{ range $e := .L }}{{ $e }}{{ end }}", {"L": ["a", "b"]}, "ab"),
    "the data from within": ("{{ range .L }}{{ $.X }}{{ . }}{{ end }}", {"L": ["a"], "X": "x"}, "xa"),
    "with": ("{{ with .X }}{{ . }}{{ else }}none{{ end }}", {"X": "x"}, "x"),
    "a variable that is set within": (
        "{{ $f := true }}{{ range .L }}{{ if $f }}first {{ $f = false }}{{ end }}{{ . }}{{ end }}",
        {"L": ["a", "b"]},
        "first ab",
    ),
    "a variable that is declared within": (
        "{{ $f := 1 }}{{ if true }}{{ $f := 2 }}{{ $f }}{{ end }}{{ $f }}",
        {},
        "21",
    ),
    "eq with several": ('{{ if eq .X "a" "b" }}yes{{ end }}', {"X": "b"}, "yes"),
    "ne and not": ('{{ if ne .X "a" }}1{{ end }}{{ if not .Y }}2{{ end }}', {"X": "b", "Y": ""}, "12"),
    "and gives its first empty argument": ("{{ and .X .Y }}|{{ and .Y .X }}", {"X": "", "Y": "y"}, "|"),
    "or gives its first full argument": ("{{ or .X .Y }}", {"X": "", "Y": "y"}, "y"),
    "parentheses": (
        "{{ range $i, $e := .L }}{{ if eq (len (slice $.L $i)) 1 }}last {{ end }}{{ $e }}{{ end }}",
        {"L": ["a", "b"]},
        "alast b",
    ),
    "index and slice": (
        "{{ index .L 1 }}{{ len (slice .L 1 2) }}{{ slice .X 1 3 }}",
        {"L": ["a", "b"], "X": "word"},
        "b1or",
    ),
    "len of text counts bytes": ("{{ len .X }}", {"X": "é"}, "2"),
}
"""Templates of the language's documentation (https://pkg.go.dev/text/template), data, and what they give."""


@pytest.mark.parametrize("rule", RULES)
def test_template_follows_go(rule: str) -> None:
    source, data, wanted = RULES[rule]
    assert render(source, data) == wanted


@pytest.mark.parametrize(
    "source",
    ["{{ if .X }}a", "{{ end }}", "{{ .X", "{{ .X | printf }}", "{{ (len .X }}", "{{ if }}a{{ end }}"],
)
def test_what_is_not_known_of_go_is_an_error(source: str) -> None:
    with pytest.raises((GoSyntaxError, TypeError)):
        render(source, {"X": "x"})


def says(*texts: str, system: str = "") -> list[Message]:
    turns = [Message("assistant" if at % 2 else "user", text) for at, text in enumerate(texts)]
    return [Message("system", system), *turns] if system else turns


CHATS: Mapping[str, Sequence[Message]] = {
    "one turn": says("What's 2+2?"),
    "a conversation": says(
        "Hi", "Hello!", "2+2?", "It's 4.", "And {{ .Role }}?", 'A "quoted"\n\nblock', "ok"
    ),
    "with system": says("Hi", system="Be brief: <b>&\nalways."),
    "with system, later": says(
        "Hi", "Hello!", "北京 👍🏽?", "x < y && y > z", "ok", system="You're {terse}."
    ),
}
"""Others than those with which a template is proved as it is made."""


@pytest.fixture(scope="module", params=sorted(TEMPLATES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    name = request.param
    return Tokenizer.load(make_model(tmp_path_factory.mktemp(name), name, TEMPLATES[name]), day=DAY)


def same_prompts(tokenizer: Tokenizer, found: OllamaTemplate) -> list[str]:
    """Names of the chats that both render the same; all others fail."""
    same = []
    for name, messages in CHATS.items():
        if found.texts.system is None and messages[0].role == "system":
            continue
        wanted = tokenizer.template().render(messages, True)
        if found.adds_start:
            wanted = wanted.removeprefix(tokenizer.decode(tokenizer.prefix_ids, skip_special=False))
        assert render(found.template, values_of(messages, found.system)) == wanted
        same.append(name)
    return same


def test_prompts_of_family_are_those_of_its_chat_template(family: Tokenizer) -> None:
    found = derive(family)
    assert len(same_prompts(family, found)) >= 2
    assert "a system message and four questions" in found.same or found.texts.system is None


WITHOUT_SYSTEM = {"gemma"}
"""Families whose template refuses a system message."""


def test_every_family_has_template(tmp_path: Path) -> None:
    """The figures of docs/ollama.md."""
    found = {}
    for name, text in TEMPLATES.items():
        found[name] = derive(Tokenizer.load(make_model(tmp_path / name, name, text), day=DAY))
    assert {name for name, each in found.items() if each.texts.system is None} == WITHOUT_SYSTEM
    trimmed = [name for name, each in found.items() if any("trims" in note for note in each.notes)]
    tools = [name for name, each in found.items() if any("Tools are left out" in note for note in each.notes)]
    assert (len(found), len(trimmed), len(tools)) == (34, 12, 22)


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_own_templates_are_for_ollama_too(name: str, tiny_model: Path) -> None:
    tokenizer = Tokenizer.load(tiny_model, chat_template=name)
    found = derive(tokenizer)
    assert same_prompts(tokenizer, found)
    assert stops_of(found, tokenizer)


LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content + ' ' + eos_token }}{% endif %}{% endfor %}"
)
SYSTEM_LAST = (
    "{{ bos_token }}{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}[INST] "
    "{% if loop.last and messages[0].role == 'system' %}{{ messages[0].content }}\n\n{% endif %}{{ m.content }}[/INST]"
    "{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
INVISIBLE = (
    '{% for m in messages %}\u200b{{ m.role }}:\u00a0\U000e0061{{ \'{{\' }} """{{ m.content }}"""\r\n{% endfor %}'
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
OTHERS = {
    "llama 2": LLAMA2,
    "a system message in the last question": SYSTEM_LAST,
    "what a Modelfile drops": INVISIBLE,
}


@pytest.mark.parametrize("name", OTHERS)
def test_unusual_template_is_rendered_too(name: str, tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(with_template(tiny_model, tmp_path / "model", OTHERS[name]))
    found = derive(tokenizer)
    assert len(same_prompts(tokenizer, found)) == len(CHATS)


IMPOSSIBLE = {
    "counts turns": "{% for m in messages %}{{ loop.index }}. {{ m.content }}\n{% endfor %}",
    "shouts": "{% for m in messages %}{{ m.role }}: {{ m.content | upper }}\n{% endfor %}",
    "shows messages twice": "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
    "backwards": "{% for m in messages | reverse %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
    "refuses": "{{ raise_exception('never') }}",
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_template_that_go_cannot_render_is_refused(name: str, tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(with_template(tiny_model, tmp_path / "model", IMPOSSIBLE[name]))
    with pytest.raises(ModelError, match="cannot be written as Ollama's") as caught:
        derive(tokenizer)
    assert "llama-server --jinja" in caught.value.hint


def test_start_that_ollama_adds_is_not_in_template(tmp_path: Path) -> None:
    """A tokenizer that puts <bos> in front of every text: twice would be another prompt."""
    with_start = Tokenizer.load(make_model(tmp_path / "a", "gemma3", TEMPLATES["gemma3"], lead="<bos>"))
    without = Tokenizer.load(make_model(tmp_path / "b", "gemma3", TEMPLATES["gemma3"]))
    assert derive(with_start).adds_start
    assert "<bos>" not in derive(with_start).template
    assert not derive(without).adds_start
    assert "<bos>" in derive(without).template
    assert same_prompts(with_start, derive(with_start))


def test_template_of_thoughts_says_what_history_it_needs(tmp_path: Path) -> None:
    found = derive(Tokenizer.load(make_model(tmp_path, "qwen3", TEMPLATES["qwen3"])))
    assert [note for note in found.notes if "drops the thoughts of earlier answers" in note]
    assert [note for note in found.notes if "Tools are left out" in note and "ft serve" in note]
    assert "thoughts in earlier answers" not in found.same


def test_stop_words_end_turn_and_open_next(tmp_path: Path) -> None:
    for name, wanted in {
        "qwen2_5": ["<|im_end|>", "<|im_start|>"],
        "llama3_1": ["<|eot_id|>", "<|start_header_id|>"],
        "gemma3": ["<eos>", "<end_of_turn>", "<start_of_turn>"],
    }.items():
        tokenizer = Tokenizer.load(make_model(tmp_path / name, name, TEMPLATES[name]))
        assert set(stops_of(derive(tokenizer), tokenizer)) >= set(wanted) - {"<eos>"}, name


def test_alpaca_stops_at_next_instruction(tiny_model: Path) -> None:
    tokenizer = Tokenizer.load(tiny_model, chat_template="alpaca")
    assert "### Instruction:" in stops_of(derive(tokenizer), tokenizer)


def test_ollama_joins_messages_as_values_do() -> None:
    """Its template/template.go, `collate`."""
    talk = [
        Message("user", "a"),
        Message("user", "b"),
        Message("system", "s"),
        Message("system", "t"),
        Message("user", "c"),
    ]
    found = values_of(talk, "default")
    assert found["System"] == "default\n\ns\n\nt"
    assert [(each["Role"], each["Content"]) for each in found["Messages"]] == [
        ("system", "default"), ("user", "a\n\nb"), ("system", "s\n\nt"), ("user", "c"),
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")
def test_go_itself_renders_the_same(tiny_model: Path, tmp_path: Path) -> None:
    """Every rule, and every template on every chat."""
    tasks = [{"template": source, "data": data} for source, data, _ in RULES.values()]
    wanted = [text for _, _, text in RULES.values()]
    tokenizers = [
        Tokenizer.load(make_model(tmp_path / name, name, text), day=DAY) for name, text in TEMPLATES.items()
    ]
    tokenizers += [Tokenizer.load(tiny_model, chat_template=name) for name in BUILT_IN]
    tokenizers += [
        Tokenizer.load(with_template(tiny_model, tmp_path / f"other-{at}", text))
        for at, text in enumerate(OTHERS.values())
    ]
    for tokenizer in tokenizers:
        found = derive(tokenizer)
        for messages in CHATS.values():
            try:
                prompt = tokenizer.template().render(messages, True)
            except jinja2.TemplateError:
                continue
            if found.texts.system is None and messages[0].role == "system":
                continue
            if found.adds_start:
                prompt = prompt.removeprefix(tokenizer.decode(tokenizer.prefix_ids, skip_special=False))
            tasks.append({"template": found.template, "data": values_of(messages, found.system)})
            wanted.append(prompt)
    script = Path(__file__).parent / "go" / "render.go"
    environment = {
        "HOME": str(tmp_path),
        "GOCACHE": str(tmp_path / "cache"),
        "PATH": "/usr/bin:/bin:/usr/local/bin",
    }
    go = str(shutil.which("go"))
    done = subprocess.run(
        [go, "run", str(script)], input=json.dumps(tasks), capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    texts = json.loads(done.stdout)
    assert [text for text, own in zip(texts, wanted, strict=True) if text != own] == []
