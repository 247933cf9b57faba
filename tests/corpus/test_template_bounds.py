"""A chat template that takes too much time or memory is an error of the model (reliability.md, 5)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.data import template_sandbox
from engine.data.preview.previews import Previews
from engine.data.preview.values import View
from engine.data.tokenization.chat_template import ChatTemplate
from engine.data.types import Message
from engine.errors import ModelError
from ft.cli import main
from tests.tiny import make_tiny_model
from tests.training import recipe_text, write_rows

ASKED = [Message("user", "Say fox."), Message("assistant", "fox")]
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
GROWING = {
    "written in loops": "{% for a in range(9999) %}{% for b in range(9999) %}fox and robot {% endfor %}{% endfor %}",
    "written by a macro": "{% macro m(n) %}"
    "{% for a in range(99999) %}{{ 'fox' * 999 }}{% endfor %}{% endmacro %}{{ m(1) }}",
    "a block that is set": "{% set x %}{% for a in range(99999) %}{{ 'fox' * 9999 }}{% endfor %}{% endset %}{{ x }}",
    "a product": "{{ 'fox' * 9999999999 }}",
    "a product of a list": "{{ [1] * 9999999999 }}",
    "a sum that doubles": "{% set n = namespace(s='fox') %}"
    "{% for a in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "a join that doubles": "{% set n = namespace(s='fox') %}"
    "{% for a in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "lists of lists": "{% set n = namespace(s=['fox']) %}"
    "{% for a in range(30) %}{% set n.s = [n.s, n.s, n.s] %}{% endfor %}{{ n.s }}",
    "lists of lists as json": "{% set n = namespace(s=['fox']) %}"
    "{% for a in range(30) %}{% set n.s = [n.s, n.s, n.s] %}{% endfor %}{{ n.s | tojson }}",
    "many long texts": "{% set s = 'fox' * 1000000 %}{% set n = namespace(l=[]) %}"
    "{% for a in range(99999) %}{% set n.l = n.l + [s.upper()] %}{% endfor %}",
    "many long texts by a filter": "{% set s = ['fox' * 1000000] * 99999 %}{{ s | map('upper') | list | length }}",
    "a join of one text": "{{ (['fox' * 999999] * 99999) | join }}",
    "a method that joins": "{{ 'fox'.join(['robot' * 999999] * 99999) }}",
    "a replacement": "{{ ('fox' * 99999) | replace('fox', 'robot' * 99999) }}",
    "a method that replaces": "{{ ('fox' * 99999).replace('fox', 'robot' * 99999) }}",
    "a width": "{{ 'fox' | center(9999999999) }}",
    "a method's width": "{{ 'fox'.ljust(9999999999) }}",
    "a format's width": "{{ '%9999999999d' % 1 }}",
    "a filter's format": "{{ '%9999999999d' | format(1) }}",
    "a method's format": "{{ '{:9999999999}'.format(1) }}",
    "a power": "{{ 9 ** (9 ** 9) }}",
    "a batch": "{{ [1] | batch(9999999999, 0) | list | length }}",
    "an indent": "{{ 'a\\nb' | indent(9999999999) }}",
    "json with an indent": "{{ [1] | tojson(indent=9999999999) }}",
    "a width that a value says": "{{ '%*d' % (999999999, 1) }}",
    "a format's width that a value says": "{{ '{:{w}}'.format(1, w=999999999) }}",
    "widths that add up": "{{ ('{0:9999999}' * 1000).format(1) }}",
    "a text in many fields": "{{ ('{0}' * 100000).format('fox' * 1000000) }}",
    "a text in many fields of a mapping": "{{ ('{a}' * 100000).format_map({'a': 'fox' * 1000000}) }}",
    "a text in many fields of the other format": "{{ ('%(a)s' * 100000) % {'a': 'fox' * 1000000} }}",
    "a translation": "{{ ('a' * 100000).translate({97: 'fox' * 1000000}) }}",
    "bytes": "{{ 'fox'.encode().ljust(9999999999) }}",
    "bytes of a number": "{{ (1).to_bytes(9999999999, 'big') }}",
    "squares": "{% set n = namespace(s=9) %}{% for a in range(40) %}{% set n.s = n.s * n.s %}{% endfor %}",
    "a sum of lists": "{{ ([[1] * 600] * 90000) | sum(start=[]) }}",
    "keys of tuples": "{% set n = namespace(s=(1,)) %}"
    "{% for a in range(60) %}{% set n.s = (n.s, n.s) %}{% endfor %}{{ {n.s: 1} }}",
}
DOUBLING = {
    "lists": "[n.{0}, n.{0}]",
    "mappings": "dict(a=n.{0}, b=n.{0})",
    "batches": "(n.{0} + n.{0}) | batch(2) | list",
}
GROWING |= {
    f"{name} that are compared": "{% set n = namespace(s=['fox'], t=['fox']) %}{% for a in range(50) %}"
    f"{{% set n.s = {made.format('s')} %}}{{% set n.t = {made.format('t')} %}}{{% endfor %}}{{{{ n.s == n.t }}}}"
    for name, made in DOUBLING.items()
}
LASTING = {
    "loops in loops": LOOPS,
    "loops that pass over all": "{% for a in range(99999) %}"
    "{% for b in range(99999) if b < 0 %}{% endfor %}{% endfor %}",
    "macros in macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "a loop that calls itself": "{% for a in [[0]] recursive %}"
    "{% if loop.depth < 60 %}{{ loop([a]) }}{{ loop([a]) }}{% endif %}{% endfor %}",
    "filters that follow each other": "{% set x = range(90000) | list %}" + "{% set y = x | sort %}" * 3000,
    "filters in a loop": "{% for a in range(99999) %}{% set x = range(99999) | map('string') | list %}{% endfor %}",
}
RENDERS = """
import json, resource, sys
from engine.data import template_sandbox
from engine.data.tokenization.chat_template import ChatTemplate
from engine.errors import ModelError
from tests.corpus.test_template_bounds import ASKED, GROWING

template_sandbox.MOST_SECONDS = 2.0
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 30), -1))
said = {}
for name, source in GROWING.items():
    try:
        ChatTemplate(source, {}).render(ASKED)
    except Exception as error:
        said[name] = [type(error).__name__, str(error)]
print(json.dumps(said))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not enforced elsewhere")
def test_exploding_template_ends_within_a_gigabyte() -> None:
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", RENDERS], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {name: kind for name, (kind, _) in said.items() if kind != "ModelError"} == {}
    assert set(said) == set(GROWING)


@pytest.mark.parametrize("name", LASTING)
def test_endless_template_is_stopped(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(template_sandbox, "MOST_SECONDS", 0.2)
    chat = ChatTemplate(LASTING[name], {})
    with pytest.raises(ModelError, match="takes too much: it has not ended after") as error:
        chat.render(ASKED)
    assert "model.chat_template: chatml" in error.value.hint


def test_stopped_template_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_sandbox, "MOST_SECONDS", 0.2)
    chat = ChatTemplate(LOOPS, {})
    for _ in range(2):
        with pytest.raises(ModelError):
            chat.render(ASKED)
        monkeypatch.setattr(template_sandbox, "MOST_SECONDS", 10**6)


PLAIN = [
    "{{ 'a' + 'b' ~ 1 }} {{ 1 + 2 + 3 }} {{ [1] + [2, 3] }} {{ (1, 2) + (3,) }} {{ {'a': [1, 'x']} }}",
    "{{ 3 * 'ab' }} {{ [0] * 3 }} {{ 'ab' * 0 }} {{ 2 ** 10 }} {{ '%5d|%s' % (7, 'x') }} {{ 7 % 4 }}",
    "{{ 'a,b'.split(',') | join('-') }} {{ '-'.join(['a', 'b']) }} {{ 'aXb'.replace('X', '--') }} {{ 'x'.center(5) }}|",
    "{{ 'aXbX' | replace('X', '.', 1) }} {{ '%s=%s' | format('a', 1) }} {{ '{}-{:>4}'.format('a', 2) }}",
    "{{ [1, 2, 3] | map('string') | list }} {{ [3, 1] | sort | first }} {{ 'a\nb' | indent(2) }}",
    "{{ [1, 2] | batch(1) | list }}",
    "{% for a in [1, 2, 3] if a > 1 %}{{ loop.index }}/{{ loop.length }}{{ loop.last }} {% else %}none{% endfor %}",
    "{% macro m(a, b=2) %}{{ a }}{{ b }}{{ caller() if caller else '' }}{% endmacro %}"
    "{{ m('x' + 'y') }}{% call m(1) %}z{% endcall %}",
    "{% set ns = namespace(t='') %}{% for m in messages %}{% set ns.t = ns.t + m.role + '|' %}{% endfor %}{{ ns.t }}",
    "{{ '%-6s|%05.1f|%d%%' % ('x', 2.5, 3) }} "
    "{{ '{:>6}|{:{w}}'.format('a', 1, w=3) }} {{ '{a}'.format_map({'a': 2}) }} {{ 1700000000 * 2 }}",
    "{{ [[1], [2]] | sum(start=[]) }} {{ [1, 2] | sum }} {{ dict(a=1, b=[2]) }} {{ messages == messages[:] }}"
    "{{ 'ab'.translate({97: 'x'}) }} {{ 'é'.encode() }} {{ [1, 2, 3] | batch(2) | list }}"
    "{{ messages | groupby('role') }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 'a', k=2) }}",
    "{% for m in messages recursive %}{{ m.role if m is mapping else m }}"
    "{% if m is mapping %}{{ loop([1, 2]) }}{% endif %}{% endfor %}",
    "{{ missing }}{{ messages[0]['content'] + missing | default('d') }} "
    "{{ messages | selectattr('role', 'eq', 'user') | list }}",
]


@pytest.mark.parametrize("source", PLAIN)
def test_bounded_template_renders_like_jinja(source: str) -> None:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    given = {"messages": [{"role": m.role, "content": m.content} for m in ASKED]}
    plain = (
        ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(source).render(given)
    )
    assert ChatTemplate(source, {}).render(ASKED) == plain


def test_template_may_repeat_long_row() -> None:
    """The limit on a rendered text grows with the size of its row."""
    long = [Message("user", "fox " * 10_000_000)]
    source = "{% for n in range(5) %}{{ messages[0].content }}{% endfor %}"
    assert len(ChatTemplate(source, {}).render(long)) == 200_000_000


def model_with(template: str, folder: Path) -> Path:
    make_tiny_model(folder)
    (folder / "chat_template.jinja").write_text(template)
    return folder


@pytest.mark.parametrize("command", [["data", "check"], ["data", "preview"], ["plan"], ["train"]])
def test_every_command_blames_the_template(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    base = model_with("{{ messages[0].content }}{{ 'fox' * 9999999999 }}", tmp_path / "model")
    rows = write_rows(folder)
    (folder / "train.yml").write_text(recipe_text(base, rows))
    arguments = [*command, str(rows), "--set", f"model.base={base}"] if command[0] == "data" else command
    assert main(arguments) == ModelError.exit_code
    said = capsys.readouterr().err
    assert "the chat template takes too much" in said
    assert "model.chat_template: chatml" in said


def test_data_template_has_same_bounds(
    tiny_model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "rows.jsonl").write_text('{"a": "x"}\n' * 20)
    template = "{% for b in range(9999) %}{{ a * 9999999999 }}{% endfor %}"
    changes = [f"model.base={tiny_model}", f"data.template={json.dumps(template)}"]
    assert (
        main(["data", "check", "rows.jsonl", *(word for change in changes for word in ("--set", change))])
        == 3
    )
    assert (
        "data.template takes too long, or writes too much, for `text`: it writes more than"
        in capsys.readouterr().err
    )


def test_app_waits_once_for_endless_template(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_sandbox, "MOST_SECONDS", 0.2)
    rows = write_rows(folder)
    view = View(model=str(model_with(LOOPS, tmp_path / "model")))
    previews = Previews()
    with pytest.raises(ModelError, match="takes too much"):
        previews.show(str(rows), [0], view)
    monkeypatch.setattr(ChatTemplate, "render", lambda *_: pytest.fail("it was tried again"))
    with pytest.raises(ModelError, match="takes too much"):
        previews.show(str(rows), [1], view)
    assert previews.show(str(rows), [0], view, "raw")[0].raw
