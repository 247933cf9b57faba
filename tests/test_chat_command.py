"""`ft chat` and `ft generate` with a model of this machine: the same answers everywhere, history, feedback."""

import io
import json
import threading
from collections.abc import Generator as Pieces
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import ft as api
from engine.data.feedback import ANSWERS, PREFERENCES
from engine.data.tokenization.message_style import Tools
from engine.data.types import Message, Sampling
from engine.data.types import Prompt as Asked
from engine.errors import ConfigError
from engine.inference.answer import Answer, Piece, gathered
from engine.inference.generation import Generator
from engine.runs.directory.run import Run
from engine.service.client import Client
from engine.service.server import Service
from engine.service.transport import connected
from ft.commands.chat_lines import next_text
from ft.commands.chat_session import ChatSession
from tests.terminal import Terminal, ft, write_recipe
from tests.test_data_command import ft as data_command
from tests.training import Job, batch_of, train_step

HOT = Sampling(8, 1.5, 3)
SETTINGS = (
    *("--max-tokens", "8"),
    *("--temperature", "1.5"),
    *("--seed", "3"),
    *("--top-k", "30"),
    "--top-p",
    "0.95",
)


@dataclass(frozen=True)
class Direct:
    """A model in this process."""

    model: Generator
    name: str = "tiny"

    def pieces(
        self, messages: Sequence[Message], sampling: Sampling, tools: Tools
    ) -> Pieces[Piece, None, None]:
        yield from self.model.stream(Asked(tuple(messages), sampling.seed, tuple(tools)), sampling)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Generator:
    return Generator.open(tiny_model, None)


@pytest.fixture
def session(model: Generator, tmp_path: Path) -> ChatSession:
    return ChatSession([Direct(model)], HOT, (), (), tmp_path / "feedback")


def said(session: ChatSession) -> list[str]:
    return [message.content for message in session.said[0]]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def answer_to(model: Generator, *turns: Message, seed: int = 3) -> Answer:
    return gathered(model.stream(Asked(turns, seed), replace(HOT, seed=seed)))


def test_chat_answers_with_all_that_was_said(session: ChatSession, model: Generator, capsys: Any) -> None:
    session.take("number 3")
    first = answer_to(model, Message("user", "number 3"))
    assert said(session) == ["number 3", first.text]
    session.take("number 4")
    second = answer_to(model, Message("user", "number 3"), first.message, Message("user", "number 4"))
    assert capsys.readouterr().out == f"{first.text}\n{second.text}\n"
    session.take("/new")
    assert said(session) == []


def test_undo_takes_back_a_question_and_its_answer(session: ChatSession) -> None:
    session.take("number 3")
    before = said(session)
    session.take("number 4")
    session.take("/undo")
    assert said(session) == before
    session.take("/undo")
    assert said(session) == []
    with pytest.raises(ConfigError, match="no answer yet"):
        session.take("/undo")


def test_regenerate_answers_with_the_next_seed(session: ChatSession, model: Generator) -> None:
    session.take("number 3")
    session.take("/regenerate")
    assert said(session)[1] == answer_to(model, Message("user", "number 3"), seed=4).text
    session.take("/regenerate")
    assert said(session)[1] == answer_to(model, Message("user", "number 3"), seed=5).text
    session.take("/set temperature 0")
    before = said(session)
    with pytest.raises(ConfigError, match="Greedy decoding"):
        session.take("/regenerate")
    assert said(session) == before


def test_question_that_fails_is_taken_back(session: ChatSession) -> None:
    session.tools = ({"type": "function", "function": {"name": "stock"}},)
    with pytest.raises(Exception, match="shows no tools"):
        session.take("number 3")
    assert said(session) == []


@pytest.mark.parametrize(
    "line", ["/fly", "/save", "/edit better", "/open nothing.jsonl", "/set top_p 2", "/set fly 1", "/set"]
)
def test_line_that_cannot_be_done_is_refused(session: ChatSession, line: str) -> None:
    with pytest.raises(ConfigError):
        session.take(line)


def test_conversation_is_saved_as_training_rows_and_reopened(
    session: ChatSession, model: Generator, tmp_path: Path, tiny_model: Path
) -> None:
    file = tmp_path / "chats.jsonl"
    session.take("/system Be short.")
    session.take("number 3")
    session.take(f"/save {file}")
    session.take("number 4")  # it is written there from now on
    assert [turn["role"] for turn in rows(file)[0]["messages"]] == ["system", *["user", "assistant"] * 2]
    session.take("/new")
    session.take("number 5")
    assert len(rows(file)) == 2, "a new conversation is a new row"
    other = ChatSession([Direct(model)], HOT, (), (), tmp_path)
    other.take(f"/open {file}")
    assert said(other) == said(session)
    other.take("number 6")
    assert [len(row["messages"]) for row in rows(file)] == [5, 5]
    assert "Nothing is wrong" in data_command("check", str(file), "--model", str(tiny_model)).stdout


def test_feedback_makes_rows_that_can_be_trained(
    session: ChatSession, tmp_path: Path, tiny_model: Path
) -> None:
    folder = tmp_path / "feedback"
    session.take("number 3")
    bad = said(session)[-1]
    session.take("/bad")
    assert not folder.exists(), "a bad answer alone is no row"
    session.take("/regenerate")
    good = said(session)[-1]
    session.take("/good")
    session.take("/good")
    session.take("number 4")
    worse = said(session)[-1]
    session.take("/edit Four.")
    assert said(session)[-1] == "Four."
    first, second = rows(folder / PREFERENCES)
    assert (first["chosen"][0]["content"], first["rejected"][0]["content"]) == (good, bad)
    assert (second["chosen"][0]["content"], second["rejected"][0]["content"]) == ("Four.", worse)
    assert [turn["content"] for turn in second["prompt"]] == ["number 3", good, "number 4"]
    one, other = rows(folder / ANSWERS)
    assert [turn.get("weight") for turn in other["messages"]] == [None, 0, None, None], (
        "only what was judged is trained"
    )
    assert one["messages"][-1]["content"] == good
    for name, kind in ((ANSWERS, "chat"), (PREFERENCES, "preference")):
        checked = data_command("check", str(folder / name), "--model", str(tiny_model))
        assert f"{name}: {kind}" in checked.stderr + checked.stdout


def test_row_behind_one_that_was_cut_has_its_own_line(session: ChatSession, tmp_path: Path) -> None:
    (tmp_path / "feedback").mkdir()
    file = tmp_path / "feedback" / ANSWERS
    file.write_text('{"messages": [{"role"')
    session.take("number 3")
    session.take("/good")
    assert json.loads(file.read_text().splitlines()[1])["messages"][0]["content"] == "number 3"


def texts(given: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    stdin = io.StringIO(given)
    monkeypatch.setattr("sys.stdin", stdin)
    return list(iter(lambda: next_text(stdin), None))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("one\n\n two \n", ["one", "two"]),
        ("one\\\ntwo\\\nthree\nfour\n", ["one\ntwo\nthree", "four"]),
        ('"""one\n\n  two"""\nthree\n', ["one\n\n  two", "three"]),
        ('/edit """one\ntwo\n"""\n', ["/edit one\ntwo"]),
        ('"""one line"""\n/exit\nnever\n', ["one line"]),
        ('"""never closed\n', []),
    ],
)
def test_question_may_have_many_lines(
    given: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert texts(given, monkeypatch) == expected


def test_weights_written_anew_answer_next(tiny_model: Path, tmp_path: Path) -> None:
    """A run that trains publishes a better adapter into the folder that a chat has open."""
    folder = tmp_path / "adapter"
    trainer = Job.make(tiny_model, tmp_path, adapter={"dropout": 0.0}).backend()
    mine, theirs = connected()
    service = threading.Thread(target=Service(theirs).serve, daemon=True)
    service.start()
    with Client(mine) as client:
        said = []
        for seed in range(2):
            train_step(trainer, [batch_of([[1, 5, 6, 7, 8, 2]], packed=False)], 5e-2, seed, lambda: None)
            trainer.save_weights(folder)
            expected = Generator.open(tiny_model, folder)
            for asked in (Message("user", "number 3"), Message("user", "number 4")):
                said.append("".join(client.generate(str(folder), [asked], Sampling(12))))
                assert said[-1] == gathered(expected.stream(Asked((asked,), 0), Sampling(12))).text
        assert said[:2] != said[2:]
    service.join(timeout=30)
    assert not service.is_alive()


# The commands themselves


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[api.Run]:
    """A finished run, its model kept loaded."""
    folder = tmp_path_factory.mktemp("chat-command")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FT_HOME", str(folder / "home"))
        patch.setenv("OMP_NUM_THREADS", "1")
        recipe = write_recipe(folder, tiny_model, training={"learning_rate": 0.01})
        run = api.train(recipe, overrides={"training.max_steps": 6}, folder=folder / "run")
        assert run.wait().reason == "completed"
    opened = api.open_run(Run.open(run.folder).folder)
    yield opened
    opened.close()


@pytest.mark.slow
def test_seed_gives_same_answer_in_generate_chat_and_python(trained: api.Run) -> None:
    settings = {"max_tokens": 8, "temperature": 1.5, "seed": 3, "top_k": 30, "top_p": 0.95}
    answer = trained.answer("number 3", **settings)
    assert ft("generate", trained.folder, "--prompt", "number 3", *SETTINGS).stdout == answer.text + "\n"
    assert ft("chat", trained.folder, *SETTINGS, given="number 3\n").stdout == answer.text + "\n"
    assert trained.adapter is not None
    by_adapter = ft("infer", trained.adapter, "--prompt", "number 3", *SETTINGS, "--json")
    assert json.loads(by_adapter.stdout) == answer.as_json()
    assert answer.end is not None
    assert trained.generate("number 3", **(settings | {"seed": 4})) != answer.text


@pytest.mark.slow
def test_compare_shows_each_model_with_its_own_weights(trained: api.Run) -> None:
    tuned, base = (trained.generate("number 3", max_tokens=8, base=base) for base in (False, True))
    assert tuned != base
    shown = ft("generate", trained.folder, "--prompt", "number 3", "--max-tokens", "8", "--compare")
    name = trained.folder.name
    assert shown.stdout == f"── trained: {name}\n{tuned}\n── base: the model before {name}\n{base}\n"
    talked = ft("chat", trained.folder, "--max-tokens", "8", "--compare", given="number 3\n/new\nnumber 3\n")
    assert talked.stdout == f"── trained\n{tuned}\n── base\n{base}\n" * 2


@pytest.mark.slow
def test_model_folder_answers_and_has_no_base(tiny_model: Path) -> None:
    done = ft("generate", tiny_model, "--prompt", "number 3", "--max-tokens", "4")
    assert done.returncode == 0
    for option in ("--base", "--compare"):
        refused = ft("generate", tiny_model, "--prompt", "number 3", option)
        assert refused.returncode == ConfigError.exit_code
        assert "is a whole model" in refused.stderr


@pytest.mark.slow
def test_mistake_in_a_typed_line_does_not_end_the_chat(trained: api.Run) -> None:
    terminal = Terminal("chat", trained.folder, "--max-tokens", "4")
    terminal.wait_for("ctrl-d leaves")
    terminal.press(b"/fly\r")
    terminal.wait_for("no command /fly")
    terminal.press(b"number 3\\\rand 4\r")
    terminal.wait_for("cut after 4 tokens")
    terminal.press(b"/exit\r")
    assert terminal.end() == 0


def test_wrong_settings_are_explained_in_python() -> None:
    from engine.data.sampling_input import sampling_of

    assert sampling_of({"stop": "x", "top_k": 4, "seed": None}) == Sampling(stop=("x",), top_k=4)
    for wrong, said in (
        ({"top_p": 1.5}, "from 0 to 1"),
        ({"top_k": 1.5}, "whole number"),
        ({"temperature": float("nan")}, "from 0 to 100"),
        ({"stop": ""}, "none of them empty"),
        ({"heat": 1}, "no setting heat"),
    ):
        with pytest.raises(ConfigError) as refused:
            sampling_of(wrong)
        assert said in f"{refused.value.message} {refused.value.hint}"
