"""`ft export --format ollama`: a GGUF file, and a Modelfile that says of it what training did."""

from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from engine.data.types import Message
from engine.export.ollama.exporter import OLLAMA
from engine.export.ollama.go_template import render
from engine.export.ollama.opened import opened
from engine.export.ollama.values import values_of
from engine.runs.directory.trained_model import TrainedModel
from tests.peft_adapters import make_adapter
from tests.tiny import change_json

LORA: dict[str, Any] = {"r": 4, "target_modules": ["q_proj", "v_proj", "down_proj"]}


def commands(modelfile: str) -> list[tuple[str, str]]:
    """Names and values of a Modelfile, read as Ollama's parser/parser.go does: a value in quotes goes over lines, and
    characters that are not printable are lost."""
    found, rest = [], modelfile
    while rest.strip():
        word, _, rest = rest.lstrip().partition(" ")
        value = ""
        while True:
            line, newline, rest = rest.partition("\n")
            value += "".join(char for char in line if char.isprintable() or char == "\t")
            text = value.strip()
            for quote in ('"""', '"'):
                if text.startswith(quote):
                    closed = len(text) >= 2 * len(quote) and text.endswith(quote)
                    break
            else:
                quote, closed = "", True
            if closed:
                found.append((word, text[len(quote) : len(text) - len(quote)]))
                break
            assert newline, "a quote is not closed"
            value += newline
    return found


def exported(model: TrainedModel, out: Path, **options: Any) -> dict[str, Any]:
    out.mkdir()
    return dict(OLLAMA.export(model, out, options, lambda: None))


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model with a default system message in its template, settings of generation and a licence."""
    folder = tmp_path / "model"
    folder.mkdir()
    for path in tiny_model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    template = (folder / "chat_template.jinja").read_text()
    default = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe \"nice\".\u200b<|im_end|>\n{% endif %}"
    (folder / "chat_template.jinja").write_text(default + template)
    change_json(
        folder / "generation_config.json", temperature=0.7, top_p=0.8, repetition_penalty=1.1, do_sample=True
    )
    (folder / "LICENSE").write_text('A licence\nof two """lines""".\n')
    return folder


def test_modelfile_says_what_training_did(model: Path, tmp_path: Path) -> None:
    facts = exported(TrainedModel(model, make_adapter(model, tmp_path / "peft", **LORA)), tmp_path / "out")
    said = commands((tmp_path / "out" / "Modelfile").read_text())
    values = {name: value for name, value in said if name != "PARAMETER"}
    assert values["FROM"] == f"./{facts['file']}"
    assert (tmp_path / "out" / facts["file"]).is_file()
    assert values["LICENSE"].splitlines() == ["A licence", "of two '''lines'''."]
    parameters = [value.split(" ", 1) for name, value in said if name == "PARAMETER"]
    stops = [value for name, value in parameters if name == "stop"]
    assert stops == ['"<|im_end|>"', '"<|im_start|>"']
    numbers = {name: float(value) for name, value in parameters if name != "stop"}
    assert numbers == {"temperature": 0.7, "top_p": 0.8, "repeat_penalty": 1.1}
    talk = [Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "2+2?")]
    wanted = TrainedModel(model).spec.tokenizer(model).template().render(talk, True)
    assert render(values["TEMPLATE"], values_of(talk)) == wanted  # what SYSTEM says, the template says too
    assert values["SYSTEM"].startswith('Be "nice".')
    assert facts["quantization"] == "q8_0"


def test_llama_cpp_gets_prompts_of_modelfile(model: Path, tmp_path: Path) -> None:
    """The parity gate's own view: tokens of the Modelfile's template by llama.cpp, and those of training."""
    trained = TrainedModel(model, make_adapter(model, tmp_path / "peft", **LORA))
    facts = exported(trained, tmp_path / "out", quantization="f16")
    talk = [Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "What's 2+2? 北京")]
    wanted = trained.spec.tokenizer(model).prompt_ids(talk)
    with opened(trained, tmp_path / "out", facts, lambda: None) as found:
        assert found.prompt_ids(talk) == wanted


@pytest.mark.parametrize("writes_start", [True, False])
def test_start_of_text_is_put_there_once(writes_start: bool, tiny_model: Path, tmp_path: Path) -> None:
    """By Ollama where the template writes it too, and not at all where training had none."""
    from tests.families import make_model, make_weights, shipped

    template = shipped()["gemma3"]
    folder = make_weights(tmp_path / "model")
    make_model(
        folder, "gemma3", template if writes_start else template.replace("{{ bos_token }}", ""), lead="<bos>"
    )
    facts = exported(TrainedModel(folder), tmp_path / "out", quantization="f32")
    reader = GGUFReader(tmp_path / "out" / facts["file"])
    field = reader.fields["tokenizer.ggml.add_bos_token"]
    assert bool(field.parts[field.data[0]][0]) is writes_start
    assert "<bos>" not in (tmp_path / "out" / "Modelfile").read_text()


def test_day_that_template_writes_is_told(tmp_path: Path) -> None:
    from tests.families import make_model, make_weights, shipped

    folder = make_model(make_weights(tmp_path / "model"), "llama3_2", shipped()["llama3_2"])
    facts = exported(TrainedModel(folder), tmp_path / "out", quantization="f32")
    assert [note for note in facts["notes"] if "writes the day" in note]


def test_model_without_chat_template_continues_text(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in tiny_model.iterdir():
        if path.name != "chat_template.jinja":
            (folder / path.name).write_bytes(path.read_bytes())
    facts = exported(TrainedModel(folder), tmp_path / "out")
    said = dict(commands((tmp_path / "out" / "Modelfile").read_text()))
    assert said["TEMPLATE"] == "{{ .Prompt }}"
    assert "continues the text" in facts["notes"][0]
