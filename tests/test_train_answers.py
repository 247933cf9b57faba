"""Answers of a trained run: `ft generate`, `ft chat`, the service, and the Python API."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ft as api
from engine.data.prompt_input import prompt_of
from engine.data.token_spec import TokenSpec
from engine.data.types import Message
from engine.errors import ConfigError, DataError, ModelError, OutOfMemoryError, TrainingError
from engine.runs.directory import events as ev
from engine.runs.directory.create import create_run
from engine.runs.directory.run import Run
from engine.service.client import Client
from tests.terminal import FT, ft, write_recipe

ASK = [Message("user", "number 3")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Run:
    """A finished run, trained through the Python API."""
    folder = tmp_path_factory.mktemp("answers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FT_HOME", str(folder / "home"))
        patch.setenv("OMP_NUM_THREADS", "1")
        recipe = write_recipe(folder, tiny_model, training={"learning_rate": 0.01})
        run = api.train(recipe, overrides={"training.max_steps": 6, "name": "by-api"}, folder=folder / "run")
        told = list(run.events())
        finished = run.wait()
    assert finished.reason == "completed"
    assert finished == told[-1]
    assert run.adapter is not None
    assert run.plan is not None
    assert run.plan.steps == 6
    assert run.folder == folder / "run"
    assert [event.step for event in told if isinstance(event, ev.Step)] == [1, 2, 3, 4, 5, 6]
    return Run.open(run.folder)


@pytest.fixture(scope="module")
def answering(trained: Run) -> Iterator[api.Run]:
    """The run with a warm model."""
    run = api.open_run(trained.folder)
    yield run
    run.close()


@pytest.mark.slow
def test_same_prompt_has_the_same_answer(answering: api.Run) -> None:
    """Text, messages, a stream and the command all give it."""
    assert answering.state.status == "completed"
    answer = answering.generate("number 3", max_tokens=8)
    assert answering.generate([{"role": "user", "content": "number 3"}], max_tokens=8) == answer
    assert "".join(answering.stream("number 3", max_tokens=8)) == answer
    done = ft("generate", answering.folder, "--prompt", "-", "--max-tokens", "8", given="number 3")
    assert (done.stdout, done.stderr) == (answer + "\n", "")
    assert done.returncode == 0


@pytest.mark.slow
def test_training_and_seed_change_the_answer(answering: api.Run) -> None:
    answer = answering.generate("number 3", max_tokens=8)
    assert answering.generate("number 3", max_tokens=8, base=True) != answer
    drawn = [answering.generate("number 3", max_tokens=8, temperature=5.0, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.slow
def test_cancelled_answer_makes_way_for_next(answering: api.Run) -> None:
    pieces = answering.stream("number 3", max_tokens=100_000, temperature=5.0)
    next(pieces)
    pieces.close()
    assert answering.generate("number 3", max_tokens=1) != ""


@pytest.mark.slow
def test_a_mistake_does_not_end_the_service(answering: api.Run) -> None:
    answer = answering.generate("number 3", max_tokens=8)
    with pytest.raises(ConfigError, match="role"):
        answering.generate([{"role": "robot", "content": "x"}])
    assert answering.generate("number 3", max_tokens=8) == answer


TOOLS = [
    {"name": "stock", "description": "Fruit in stock.", "parameters": {"type": "object", "properties": {}}}
]
CALLED = [
    {"role": "user", "content": "How many apples?"},
    {
        "role": "assistant",
        "content": None,
        "reasoning_content": "I have to look.",
        "tool_calls": [{"type": "function", "function": {"name": "stock", "arguments": {"fruit": "apple"}}}],
    },
    {"role": "tool", "content": "4"},
]


@pytest.mark.slow
def test_tools_calls_and_thoughts_reach_the_model(tiny_model: Path, tmp_path: Path) -> None:
    """A template that refuses what it is given, and says it, shows what arrives in the process that answers."""
    template = tmp_path / "says_all.jinja"
    template.write_text(
        "{{ raise_exception(tools | tojson ~ messages | tojson ~ messages[1].reasoning_content) }}"
    )
    asked = prompt_of({"messages": CALLED, "tools": TOOLS})
    with Client(tmp_path / "log") as client, pytest.raises(ModelError) as refused:
        client.answers(tiny_model, TokenSpec(chat_template=str(template)), [asked], 8, 1.0)
    words = ("Fruit in stock.", "How many apples?", "I have to look.", '"fruit": "apple"', '"role": "tool"')
    assert [word for word in words if word not in refused.value.message] == []


@pytest.mark.slow
def test_tools_missing_from_chat_template_are_refused(answering: api.Run, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="shows no tools"):
        answering.generate("number 3", tools=TOOLS, max_tokens=2)
    (tmp_path / "tools.json").write_text(json.dumps(TOOLS))
    done = ft("generate", answering.folder, "--prompt", "hi", "--tools", tmp_path / "tools.json")
    assert done.returncode == ModelError.exit_code
    assert "shows no tools" in done.stderr


@pytest.mark.slow
def test_conversation_file_is_answered_like_python(answering: api.Run, tmp_path: Path) -> None:
    said = [
        {"role": "user", "content": "number 3"},
        {"role": "assistant", "content": "three"},
        {"role": "user", "content": "number 4"},
    ]
    file = tmp_path / "said.json"
    expected = answering.generate(said, max_tokens=8)
    for body in (said, {"messages": said}):
        file.write_text(json.dumps(body))
        done = ft("generate", answering.folder, "--messages", file, "--max-tokens", "8")
        assert done.stdout == expected + "\n"
    file.write_text("[{]")
    done = ft("generate", answering.folder, "--messages", file)
    assert (done.returncode, "Traceback" in done.stderr) == (ConfigError.exit_code, False)


@pytest.mark.slow
def test_completed_run_has_nothing_to_resume(answering: api.Run) -> None:
    with pytest.raises(ConfigError, match="nothing is left to train"):
        answering.resume()


def test_service_survives_junk_until_end_of_file() -> None:
    given = 'junk\n[1]\n{"id": 7, "op": "fly"}\n' + "[" * 100_000 + "\n"
    service = subprocess.Popen(
        [sys.executable, "-P", "-m", "engine.service.server"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert service.stdin is not None
    assert service.stdout is not None
    service.stdin.write(given)
    service.stdin.flush()
    answers = [json.loads(service.stdout.readline()) for _ in range(4)]
    assert all(answer["error"]["kind"] == "config" for answer in answers)
    assert {answer["id"] for answer in answers} == {None, 7}
    service.stdin.close()
    assert service.wait(timeout=30) == 0
    service.stdout.close()


def test_dead_service_shows_end_of_log(tmp_path: Path) -> None:
    with Client(tmp_path / "service.log") as client:
        client.transport.child.kill()
        client.transport.child.wait()
        with pytest.raises(TrainingError, match="ended"):
            list(client.generate(Run(tmp_path), ASK))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not enforced elsewhere")
def test_answer_short_of_memory_says_so(trained: Run) -> None:
    limit = 800_000_000
    done = subprocess.run(
        [*FT, "generate", str(trained.folder), "--prompt", "number 3"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == OutOfMemoryError.exit_code, done.stderr
    assert "not enough memory" in done.stderr
    assert "Traceback" not in done.stderr


def test_service_death_from_memory_says_so(tmp_path: Path) -> None:
    with Client(tmp_path / "service.log") as client:
        (tmp_path / "service.log").write_text("memory allocation of 320000 bytes failed\n")
        client.transport.child.kill()
        with pytest.raises(OutOfMemoryError, match="run out of memory"):
            list(client.generate(Run(tmp_path), ASK))


@pytest.mark.slow
def test_chat_with_checkpoint_answers_every_line(trained: Run) -> None:
    lines = "number 3\nand 4?\n/new\nnumber 3\n/exit\nnever asked\n"
    checkpoint = trained.checkpoints / "step-000006"
    done = ft("chat", checkpoint, "--max-tokens", "4", given=lines)
    assert done.returncode == 0, done.stderr
    assert "/exit" in done.stderr
    answers = done.stdout.split("\n")
    assert len(answers) == 4  # three answers and the last line's end
    assert answers[0] == answers[2]


def test_untrained_run_cannot_answer(tmp_path: Path, tiny_model: Path) -> None:
    from engine.config.load import load_recipe

    run = create_run(load_recipe(write_recipe(tmp_path, tiny_model)))
    done = ft("generate", run.id, "--prompt", "hello")
    assert done.returncode == 2
    assert "no trained adapter yet" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_refused(tmp_path: Path, tiny_model: Path, prompt: str) -> None:
    from engine.config.load import load_recipe

    create_run(load_recipe(write_recipe(tmp_path, tiny_model)))
    done = ft("generate", "--prompt", prompt)
    assert done.returncode == 2
    assert "empty" in done.stderr


def test_python_api_raises_command_line_errors(tmp_path: Path, tiny_model: Path) -> None:
    recipe = write_recipe(tmp_path, tiny_model)
    with pytest.raises(ConfigError):
        api.train(recipe, overrides={"training.epoch": 2})
    with pytest.raises(DataError):
        api.train(recipe, overrides={"data.train": "missing.jsonl"})
    with pytest.raises(ConfigError):
        api.open_run("nothing")
    assert api.plan(recipe, overrides={"training.max_steps": 3}).steps == 3
    assert Run.all() == []


def test_importing_ft_costs_nothing() -> None:
    code = (
        "import sys, ft; print([m for m in sys.modules if m.split('.')[0] in ('pydantic', 'torch', 'rich')])"
    )
    assert subprocess.check_output([sys.executable, "-P", "-c", code], text=True).strip() == "[]"
