"""Chat templates that make up what is trained: cases that users of other tools met."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.corpus.reading import ft
from tests.families import make_model, make_weights, shipped

DATA = Path(__file__).parent / "data"
Model = Callable[[str], str]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def here(folder: Path, ft_home_with_starter: Path) -> Path:
    """A folder to stand in that has the cases' rows and templates."""
    (folder / "cases").symlink_to(DATA)
    return folder


@pytest.fixture
def model(here: Path, weights: Path) -> Model:
    """Gives the folder of a model whose template `trl` ships."""

    def of(family: str) -> str:
        shutil.copytree(weights, here / family)
        make_model(here / family, family, shipped()[family])
        return f"./{family}"

    return of


def shown(*arguments: str) -> str:
    """The text of the first row, `[]` around what is trained."""
    return str(ft("data", "preview", *arguments).stdout)


def findings(*arguments: str) -> list[dict[str, Any]]:
    """Findings of `ft data check`."""
    found: list[dict[str, Any]] = json.loads(ft("data", "check", *arguments, "--json").stdout)["findings"]
    return found


@pytest.mark.parametrize("rows", ["22_inline.jsonl", "27_hermes.jsonl"])
def test_reasoning_words_are_no_control_tokens(rows: str, model: Model) -> None:
    found = findings(f"cases/{rows}", "--model", model("qwen3"))
    assert [one["kind"] for one in found if one["kind"] == "special-tokens"] == []


@pytest.mark.parametrize("rows", ["22_inline.jsonl", "27_hermes.jsonl"])
def test_special_reasoning_words_are_no_control_tokens(rows: str, model: Model) -> None:
    settings = Path(model("qwen3"), "tokenizer.json")
    about = json.loads(settings.read_text())
    for token in about["added_tokens"]:
        token["special"] = True
    settings.write_text(json.dumps(about))
    assert findings(f"cases/{rows}", "--model", "./qwen3") == []


def test_control_token_in_text_is_error(here: Path, model: Model) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"{n}?<|im_end|>"}, {"role": "assistant", "content": "a"}]}
        for n in range(12)
    ]
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = findings("rows.jsonl", "--model", model("qwen3"))
    assert [one["severity"] for one in found if one["kind"] == "special-tokens"] == ["error"]


def examples(*arguments: str) -> str:
    """Line of `ft data stats` that counts rows and examples."""
    return next(
        line for line in ft("data", "stats", *arguments).stdout.splitlines() if line.startswith("rows")
    )


TEN_TURNS = "cases/28_ten_turns.jsonl"


SAID = "The apple at my market is mostly green, number 0."


@pytest.mark.parametrize(
    ("template", "answer"),
    [
        ("marks", f"assistant\n[{SAID}<|im_end|>]\n"),
        ("marks_with_prompt", f"assistant\n[{SAID}<|im_end|>]\n"),
        ("always_prompt", f"[{SAID}<|im_end|>]\n<|im_start|>assistant\n"),
        ("eos_last", f"[{SAID}<|im_end|>]\n"),
        ("no_end", f"assistant\n[{SAID}\n<|im_start|>]"),
        ("think_prompt", f"<think>\n[\n</think>\n\n{SAID}<|im_end|>]"),
        ("closes_alone", f"<think>[</think>{SAID}<|im_end|>]"),
        ("empty_thoughts", f"<|channel>thought\n<channel|>[{SAID}<|im_end|>]"),
        ("system_last", f"[INST] What colour is a ripe apple?[/INST][ {SAID}<|im_end|>]"),
    ],
)
def test_answer_is_trained_from_prompt_to_end(template: str, answer: str, here: Path) -> None:
    arguments = ("cases/20_plain.jsonl", "--set", f"model.chat_template=cases/min/{template}.jinja")
    assert answer in shown(*arguments)
    assert findings(*arguments) == []


@pytest.mark.parametrize("rows", ["22_field.jsonl", "22_inline.jsonl"])
@pytest.mark.parametrize(
    ("template", "answer"),
    [
        ("blank_line", "<think>\n\n[Doubling 0 makes 0.\n</think>\n\nIt is 0.<|im_end|>]"),
        ("closes_alone", "<think>[Doubling 0 makes 0.</think>It is 0.<|im_end|>]"),
        ("think_prompt", "<think>\n[Doubling 0 makes 0.\n</think>\n\nIt is 0.<|im_end|>]"),
    ],
)
def test_thoughts_stand_once_in_prompt_block(template: str, answer: str, rows: str, here: Path) -> None:
    text = shown(f"cases/{rows}", "--set", f"model.chat_template=cases/min/{template}.jinja")
    assert re.sub(r"</think>\s+", "</think>", answer) in re.sub(r"</think>\s+", "</think>", text)


def test_system_message_stands_in_every_prompt(here: Path) -> None:
    """The template shows it for a time only."""
    text = shown("cases/23_sys.jsonl", "--set", "model.chat_template=cases/min/system_last.jinja")
    assert text.startswith(f"[INST] Answer as a gardener.\n\nWhat colour is a ripe apple?[/INST][ {SAID}")


@pytest.mark.parametrize("template", ["marks", "marks_with_prompt", "no_end", "always_prompt", "eos_last"])
def test_ten_turns_are_one_example(template: str, here: Path) -> None:
    assert "examples" not in examples(TEN_TURNS, "--set", f"model.chat_template=cases/min/{template}.jinja")


def test_template_marks_keep_dropped_thoughts_visible(here: Path) -> None:
    """Marks of what is trained must not hide that earlier thoughts are dropped."""
    text = shown("cases/21_reason.jsonl", "--set", "model.chat_template=cases/min/marks_think.jinja")
    assert "[<think>Doubling 0 makes 0.</think>It is 0.<|im_end|>]" in text
    assert "assistant\nIt is 0.<|im_end|>\n" in text, (
        "the second answer follows what the model will be given then"
    )
    assert "[<think>0 plus one is 1.</think>That is 1.<|im_end|>]" in text


@pytest.mark.parametrize(
    ("family", "turns", "what"),
    [
        ("gptoss", "24_parallel.jsonl", "calls of tools"),
        ("llama3_1", "26_say_call.jsonl", "text of an answer"),
        ("qwen3_5_nothink", "22_inline.jsonl", "reasoning"),
    ],
)
def test_template_leaving_out_answer_is_reported(family: str, turns: str, what: str, model: Model) -> None:
    [found] = [
        one for one in findings(f"cases/{turns}", "--model", model(family)) if one["kind"] == "not-shown"
    ]
    assert found["message"] == f"12 rows have {what}, which the chat template does not show"
    said = ft("data", "preview", f"cases/{turns}", "--model", f"./{family}").stderr
    assert f"The row has {what}, which the chat template does not show." in said


def test_report_names_template_that_shows_all(here: Path) -> None:
    [found] = findings("cases/46_anthropic.jsonl")
    assert "model.chat_template: chatml" in found["fix"]
    text = shown("cases/46_anthropic.jsonl", "--set", "model.chat_template=chatml")
    assert "[<think>\nhm\n</think>\n\nA apple.<|im_end|>]" in text


@pytest.mark.parametrize("rows", ["22_inline.jsonl", "22_field.jsonl"])
def test_template_cutting_last_thoughts_is_reported(rows: str, here: Path) -> None:
    arguments = (f"cases/{rows}", "--set", "model.chat_template=cases/min/cuts_thoughts.jinja")
    assert "[|assistant|][It is 0.<|im_end|>]" in shown(*arguments)
    assert [one["message"] for one in findings(*arguments)] == [
        "12 rows have reasoning, which the chat template does not show"
    ]


def test_rows_refused_by_template_name_another(model: Model) -> None:
    checked = ft("data", "check", "cases/23_sys.jsonl", "--model", model("gemma"))
    assert "System role not supported" in str(checked.exception)
    assert "model.chat_template: chatml" in checked.exception.hint
    taken = shown("cases/23_sys.jsonl", "--model", "./gemma", "--set", "model.chat_template=chatml")
    assert "Answer as a gardener." in taken


def test_template_gets_lists_of_parts(model: Model) -> None:
    name = model("idefics3")
    assert "Assistant:[ The apple at my market is mostly green" in shown(
        "cases/20_plain.jsonl", "--model", name
    )
    assert findings("cases/20_plain.jsonl", "--model", name) == []


@pytest.fixture
def llama3(here: Path, weights: Path) -> str:
    """A model whose tokenizer puts `<s>` in front of a text."""
    shutil.copytree(weights, here / "llama3")
    make_model(here / "llama3", "llama3", shipped()["llama3"], lead="<s>")
    return "./llama3"


@pytest.mark.parametrize(
    ("rows", "trained"),
    [
        ("29_text_bos.jsonl", "<s>·[<|start_header_id|>]·[u"),
        ("29_pc_bos.jsonl", "<s>·<|start_header_id|>·u"),
    ],
)
def test_rendered_text_begins_and_ends_once(rows: str, trained: str, llama3: str) -> None:
    text = shown(f"cases/{rows}", "--model", llama3, "--tokens")
    assert text.startswith(trained)
    assert text.count("<s>") == 1
    assert text.rstrip().endswith("[.]·[<|eot_id|>]")
    [found] = findings(f"cases/{rows}", "--model", llama3)
    assert (found["kind"], found["severity"]) == ("rendered", "warning")
    assert "`messages`" in found["fix"]


def test_text_keeps_its_own_end_token(here: Path) -> None:
    """Also where a line break follows it."""
    text = shown("cases/06_text_rendered.jsonl", "--tokens")
    assert text.rstrip().endswith("[0]·[.]·[<|im_end|>]·⏎")


def test_role_token_swallowing_space_is_not_trained(here: Path, weights: Path) -> None:
    shutil.copytree(weights, here / "phi3")
    make_model(here / "phi3", "phi3", shipped()["phi3"], swallows="<|assistant|>")
    text = shown("cases/47_lead_space.jsonl", "--model", "./phi3", "--tokens")
    assert "·<|assistant|>·[A]·" in text
