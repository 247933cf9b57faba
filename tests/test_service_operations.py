"""Operations of the service over a connection within this process: dispatch, errors, cancelling, versions."""

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config.load import load_recipe
from engine.config.problems import RecipeError
from engine.data.preview.values import View
from engine.data.prompt_input import prompt_of
from engine.data.types import Sampling
from engine.errors import ConfigError, DataError, ModelError, TrainingError
from engine.models.sizing import shape_of
from engine.runs.directory.create import create_run
from engine.service import protocol
from engine.service.client import Cancelled, Client
from engine.service.operation import Shared
from engine.service.operations import OPERATIONS
from engine.service.operations import data as data_operations
from engine.service.server import Service
from engine.service.transport import Queues, connected
from tests.terminal import write_recipe
from tests.test_train_answers import CALLED, TOOLS


@pytest.fixture
def ends() -> Iterator[tuple[Queues, threading.Thread]]:
    """The client's end of a connection, and the thread of the service at the other."""
    mine, theirs = connected()
    service = threading.Thread(target=Service(theirs).serve)
    service.start()
    yield mine, service
    mine.close()
    service.join(timeout=30)
    assert not service.is_alive()


@pytest.fixture
def client(ends: tuple[Queues, threading.Thread]) -> Iterator[Client]:
    with Client(ends[0]) as client:
        yield client


def told(end: Queues, message: Any) -> Any:
    """The first message that answers."""
    end.send(message)
    return next(iter(end.receive()))


def test_request_reaches_operation_of_its_name(client: Client, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    source = str(tmp_path / "rows.jsonl")
    assert client.rows(source).format == "completion"
    assert [row.raw for row in client.preview(source, [1, 0], View(), "raw")] == [
        '{"text": "b"}',
        '{"text": "a"}',
    ]
    assert client.call(data_operations.find, data_operations.FindRequest(source, View(), "b", 0)) == 1


def test_service_errors_keep_their_kind(client: Client, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        client.rows(str(tmp_path / "absent.jsonl"))
    with pytest.raises(RecipeError) as refused:
        client.plan("model:\n  bse: x\n", tmp_path / "train.yml")
    assert {(problem.place.line, problem.key) for problem in refused.value.problems} >= {(2, "model.bse")}
    assert refused.value.problems == protocol.Failure.of(refused.value).error().problems  # type: ignore[attr-defined]


def test_cancelled_request_gets_no_answer(client: Client, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        client.lengths(str(tmp_path / "absent.jsonl"), View(), stop)
    with pytest.raises(DataError):
        client.lengths(str(tmp_path / "absent.jsonl"), View())


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ([], "Invalid request: not an object"),
        ({}, "Invalid request: version None of the protocol"),
        ({"v": 2, "op": "plan"}, "Invalid request: version 2 of the protocol; this service has version 1."),
        ({"v": 1, "op": "fly"}, "Invalid request: unknown operation 'fly'"),
        (
            {"v": 1, "op": "plan"},
            "Invalid request for plan: the value has to be a mapping, not null",
        ),
        (
            {"v": 1, "op": "plan", "request": {"text": 1, "path": "a"}},
            "Invalid request for plan: text has to be str, not int",
        ),
    ],
)
def test_unreadable_request_is_an_error(
    ends: tuple[Queues, threading.Thread], message: Any, said: str
) -> None:
    error = protocol.error_of(told(ends[0], message))
    assert isinstance(error, ConfigError)
    assert error.message.startswith(said)


def test_token_is_set_before_next_request(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import os

    monkeypatch.setenv("HF_TOKEN", "hf_" + "a" * 34)
    monkeypatch.setenv("FT_HANDED", "")
    client.renew("HF_TOKEN")
    client.call(OPERATIONS["token"], OPERATIONS["token"].request("HF_TOKEN", None))
    assert "HF_TOKEN" not in os.environ


def test_closed_connection_is_an_error(client: Client) -> None:
    """Nobody waits for an answer."""
    client.close()
    with pytest.raises(TrainingError, match="has ended"):
        client.rows("starter")


def test_shared_value_is_made_once() -> None:
    """The threads all get that one."""
    made: list[int] = []

    def make() -> list[int]:
        made.append(1)
        return made

    shared = Shared()
    threads = [threading.Thread(target=shared.of, args=(make,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert shared.of(make) is made


def test_operation_is_listed_under_its_name() -> None:
    assert all(operation.name == name for name, operation in OPERATIONS.items())
    assert all(dataclasses.is_dataclass(operation.request) for operation in OPERATIONS.values())


@pytest.mark.slow
def test_tool_calls_and_thoughts_reach_chat_model(client: Client, tiny_model: Path, tmp_path: Path) -> None:
    """A template that refuses what it is given, and says it, shows what arrives where a run answers."""
    template = tmp_path / "says_all.jinja"
    template.write_text(
        "{% if messages | length == 3 %}"
        "{{ raise_exception(tools | tojson ~ messages | tojson ~ messages[1].reasoning_content) }}"
        "{% endif %}"
        "{{ tools | tojson }}{% for m in messages %}{{ m.role }}{{ m.content }}{% endfor %}"
    )
    model = {"base": str(tiny_model), "chat_template": str(template)}
    run = create_run(load_recipe(write_recipe(tmp_path, tiny_model, model=model)), tmp_path / "run")
    asked = prompt_of({"messages": CALLED, "tools": TOOLS})
    with pytest.raises(ModelError) as refused:
        list(client.generate(run, asked.messages, Sampling(8), tools=asked.tools, base=True))
    words = ("Fruit in stock.", "How many apples?", "I have to look.", '"fruit": "apple"', '"role": "tool"')
    assert [word for word in words if word not in refused.value.message] == []


def test_shape_of_model_arrives_whole(client: Client, tiny_model: Path) -> None:
    assert client.shape(tiny_model) == shape_of(tiny_model)
    with pytest.raises(ModelError):
        client.shape(tiny_model.parent / "nothing")
