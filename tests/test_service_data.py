"""Answers of the service about files of rows and recipes, to several threads simultaneously."""

import gzip
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from engine.config.load import load_recipe
from engine.config.problems import RecipeError
from engine.config.sections import Source
from engine.data.prepare import prepare
from engine.data.preview.values import Opened
from engine.data.sources.resolve import as_text
from engine.errors import DataError, ModelError, TrainingError
from engine.planning.estimate import estimate
from engine.service.client import Cancelled, Client
from screens.datasets.sources import label
from tests.data_service import VIEW, serving, write_place

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def service(place: Path) -> Iterator[Client]:
    with serving(place) as client:
        yield client


def opened(service: Client, source: str) -> Opened:
    """A source, once its rows are counted."""
    while (found := service.rows(source)).counting is not None:
        pass
    return found


def test_row_tokens_are_those_of_training(service: Client, place: Path) -> None:
    config = load_recipe(place / "train.yml", ["data.validation=0"]).config
    trained = prepare(config, place / "tiny").train
    rows = service.preview("orders.jsonl", range(60), replace(VIEW, max_seq_length=10_000))
    whole = [row.tokens <= 96 for row in rows]
    assert any(whole)
    assert not all(whole)
    for row, example in zip(rows, trained, strict=True):
        assert min(row.tokens, 96) == len(example.input_ids)
        shown = "".join(piece.text for piece in row.pieces)
        assert shown.startswith("<|im_start|>user\nOrder ")
        flags = [piece.trained for piece in row.pieces for _ in range(piece.tokens)]
        assert flags[:96] == [label >= 0 for label in example.labels.tolist()]
    cut = service.preview("orders.jsonl", [whole.index(False)], VIEW)[0]
    assert cut.tokens > cut.limit == 96
    assert sum(piece.tokens for piece in cut.pieces if piece.cut) == cut.tokens - 96
    assert cut.lost > 0


def test_characters_of_several_tokens_are_shown_whole(service: Client, place: Path) -> None:
    (place / "wide.jsonl").write_text(
        '{"prompt": "你好 👩‍👩‍👧 é", "completion": "世界 ñ"}\n', encoding="utf-8"
    )
    (row,) = service.preview("wide.jsonl", [0], VIEW)
    text = "".join(piece.text for piece in row.pieces if not piece.special)
    assert text == "你好 👩‍👩‍👧 é世界 ñ"
    assert "".join(piece.text for piece in row.pieces if piece.trained and not piece.special) == "世界 ñ"


def test_chunks_of_long_text_follow_each_other(service: Client, place: Path) -> None:
    (place / "long.jsonl").write_text(json.dumps({"text": "a bird in the hand " * 60}) + "\n")
    (row,) = service.preview("long.jsonl", [0], replace(VIEW, chunk_overlap=10))
    config = load_recipe(place / "train.yml", ["data.validation=0", "data.train=long.jsonl"]).config
    config = config.model_copy(update={"data": config.data.model_copy(update={"chunk_overlap": 10})})
    trained = prepare(config, place / "tiny").train
    assert row.examples == len(trained) > 2
    lines = [piece.text for piece in row.pieces if not piece.tokens]
    assert lines == [f"example {at} of {row.examples} of this row" for at in range(2, row.examples + 1)]
    assert not any(piece.cut for piece in row.pieces)
    flags = [piece.trained for piece in row.pieces for _ in range(piece.tokens)]
    assert flags == [label >= 0 for example in trained for label in example.labels.tolist()]
    assert (row.tokens, row.trained, row.lost) == (len(trained.tokens), trained.trained_tokens, 0)
    assert service.lengths("long.jsonl", replace(VIEW, chunk_overlap=10)).cut == 0


def test_row_tells_what_its_template_drops(service: Client, place: Path) -> None:
    """A row that becomes several examples says so too."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning": "c"}] * 2
    tool = {"name": "search", "parameters": {}}
    (place / "thinking.jsonl").write_text(json.dumps({"messages": turns, "tools": [tool]}) + "\n")
    template = str(Path(__file__).parent / "golden" / "drops_thinking.jinja")
    (row,) = service.preview("thinking.jsonl", [0], replace(VIEW, chat_template=template))
    assert (row.examples, row.unseen) == (2, "tools")
    (plain,) = service.preview("thinking.jsonl", [0], VIEW)
    assert (plain.examples, plain.unseen) == (1, "reasoning and tools")


def test_rows_are_shown_with_mapped_columns(service: Client) -> None:
    view = replace(VIEW, columns={"prompt": "question", "completion": "reply"})
    assert service.rows("columns.jsonl", view).format == "prompt_completion"
    (row,) = service.preview("columns.jsonl", [0], view)
    assert "".join(piece.text for piece in row.pieces) == "ab<|im_end|>"
    (brief,) = service.preview("columns.jsonl", [0], view, "brief")
    assert brief.raw == "a"
    written = replace(VIEW, template={"instruction": "{{ question }}?", "output": "{{ reply }}"})
    (row,) = service.preview("columns.jsonl", [0], written)
    assert "".join(piece.text for piece in row.pieces).startswith("<|im_start|>user\na?<|im_end|>")


def test_row_labelled_false_is_left_out(service: Client, place: Path) -> None:
    rows = [{"prompt": "a", "completion": "b", "label": good} for good in (True, False)]
    (place / "judged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    good, bad = service.preview("judged.jsonl", [0, 1], VIEW)
    assert (good.problem, bad.pieces) == ("", ())
    assert bad.problem == "judged.jsonl:2: labelled false: supervised fine-tuning leaves it out"


def test_format_comes_with_evidence_or_hint(service: Client) -> None:
    chat = opened(service, "orders.jsonl")
    assert (chat.format, chat.known, chat.kind) == ("chat", 60, "jsonl")
    assert "because its rows have `messages`" in chat.evidence
    assert opened(service, "notes.csv").format == "prompt_completion"
    columns = opened(service, "columns.jsonl")
    assert (columns.format, columns.known) == ("", 1)
    assert "fit no known form" in columns.evidence
    assert columns.hint
    mixed = opened(service, "forms.jsonl")
    assert "rows of different formats" in mixed.evidence
    (row,) = service.preview("forms.jsonl", [1], VIEW)
    assert "rows of different formats" in row.problem
    assert '"of another form"' in row.raw


def test_sample_tells_lengths_and_problem_rows(service: Client) -> None:
    """It tells shares too."""
    found = service.lengths("mixed.jsonl", VIEW)
    assert (found.sampled, found.of, len(found.lengths)) == (9, 9, 8)
    assert found.problems == ((3, "mixed.jsonl:4: nothing to train: there is no assistant turn"),)
    assert 0 < found.trained < found.tokens
    brief = service.preview("mixed.jsonl", [0, 3], VIEW, "brief")
    assert brief[0].raw.startswith("Order 0: ")
    assert not brief[0].pieces
    assert brief[1].problem


def test_unopenable_data_says_why(service: Client) -> None:
    with pytest.raises(DataError, match=r"no such file"):
        service.rows("oders.jsonl")
    with pytest.raises(DataError, match="empty"):
        service.rows("empty.jsonl")
    with pytest.raises(ModelError, match="not on this machine yet"):
        service.preview("orders.jsonl", [0], replace(VIEW, model="owner/name"))
    assert service.preview("orders.jsonl", [0], replace(VIEW, model="owner/name"), "raw")[0].raw


def test_service_plans_like_the_command(
    service: Client, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    recipe = load_recipe(place / "train.yml")
    mine = estimate(recipe.config)
    for _ in range(2):  # fresh, and from what is kept
        warm = service.plan(recipe.source, place / "train.yml")
        assert warm.work == mine.work
    changed = service.plan(recipe.source.replace("96", "90"), place / "train.yml")
    assert changed.work.longest == 90


def test_a_recipes_problems_arrive_with_their_places(service: Client, place: Path) -> None:
    with pytest.raises(RecipeError) as refused:
        service.plan("model:\n  base: tiny\n  bse: x\ndata:\n  train: orders.jsonl\n", place / "train.yml")
    (problem,) = refused.value.problems
    assert (problem.place.line, problem.key) == (3, "model.bse")


def test_many_threads_each_get_their_own_answer(service: Client) -> None:
    def ask(number: int) -> bool:
        row = number % 60
        (shown,) = service.preview("orders.jsonl", [row], VIEW)
        return shown.row == row and f"Order {row}:" in "".join(piece.text for piece in shown.pieces)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))


def test_cancelled_request_returns_at_once(service: Client) -> None:
    """The others are answered."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        service.lengths("orders.jsonl", VIEW, stop)
    assert service.lengths("orders.jsonl", VIEW).sampled == 60


def test_everybody_waiting_hears_service_is_gone(place: Path, tmp_path: Path) -> None:
    with Client(tmp_path / "service.log") as client, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(client.rows, str(place / "orders.jsonl")) for _ in range(4)]
        client.transport.child.kill()
        errors = [each.exception(timeout=20) for each in asked]
        assert not client.alive
        with pytest.raises(TrainingError, match="ended"):
            client.rows("orders.jsonl")
    assert all(error is None or isinstance(error, TrainingError) for error in errors)


def test_previews_and_plans_never_load_torch(service: Client) -> None:
    opened(service, "orders.jsonl")
    maps = Path(f"/proc/{service.transport.child.pid}/maps")
    if not maps.exists():
        pytest.skip("only Linux tells what a process has mapped")
    assert "libtorch" not in maps.read_text()


KINDS = {
    "rows.tsv": b"prompt\tcompletion\nOne\ttwo\n",
    "rows.ndjson": b'{"prompt": "One", "completion": "two"}\n',
    "rows.json": b'{"rows": [{"prompt": "One", "completion": "two"}]}',
    "rows.txt": b"One two",
    "rows.md": b"# One\n\ntwo",
    "rows.html": b"<html><body><article><p>One two</p></article></body></html>",
    "rows.jsonl.gz": gzip.compress(b'{"prompt": "One", "completion": "two"}\n'),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_file_format_is_opened_and_shown(name: str, service: Client, place: Path) -> None:
    (place / name).write_bytes(KINDS[name])
    found = opened(service, name)
    assert (found.name, found.known, found.broken) == (name, 1, "")
    (row,) = service.preview(name, [0], VIEW)
    assert row.where.startswith(name)
    assert "two" in "".join(piece.text for piece in row.pieces if piece.trained)
    assert service.find(name, "tWO", 0, VIEW) == 0


def test_arrow_is_opened_and_shown(service: Client, place: Path) -> None:
    import pyarrow as pa

    table = pa.table({"text": [f"row {number}" for number in range(3000)]})
    with pa.ipc.new_stream(place / "rows.arrow", table.schema) as out:
        out.write_table(table, max_chunksize=700)
    assert opened(service, "rows.arrow").known == 3000
    assert service.preview("rows.arrow", [2999], VIEW, "raw")[0].raw == '{"text": "row 2999"}'
    assert service.find("rows.arrow", "row 2000", 5, VIEW) == 2000


def test_rows_of_folder_are_one_list(service: Client, place: Path) -> None:
    """The list leads to the files."""
    (place / "parts").mkdir()
    for number in range(3):
        rows = "".join(f'{{"text": "part {number} row {row}"}}\n' for row in range(10))
        (place / "parts" / f"{number}.jsonl").write_text(rows)
    (place / "parts" / "3.csv").write_text("text\npart 3\n")
    found = opened(service, "parts")
    assert (found.name, found.kind, found.known) == ("parts", "jsonl, csv", 31)
    shown = service.preview("parts", [0, 10, 29, 30], VIEW)
    assert [row.where for row in shown] == [
        "parts/0.jsonl:1",
        "parts/1.jsonl:1",
        "parts/2.jsonl:10",
        "parts/3.csv:2",
    ]
    assert service.find("parts", "part 2 ROW 7", 0, VIEW) == 27
    assert service.find("parts", "part 0 row 1", 5, VIEW) == 1
    assert opened(service, "parts/*.jsonl").known == 30
    (place / "parts" / "4.csv").write_text('text\n"open\n')
    assert "4.csv:2: not valid CSV" in opened(service, "parts").broken


def test_source_keeps_its_recipe_options(service: Client, place: Path) -> None:
    (place / "lines.txt").write_text("one\n\ntwo\n")
    config = load_recipe(place / "train.yml", ["data.train={path: lines.txt, sample_by: line}"]).config
    assert isinstance(config.data.train, Source)
    source = as_text(config.data.train)
    assert opened(service, source).known == 2
    assert service.preview(source, [1], VIEW)[0].where == "lines.txt:3"
    assert label(source) == "lines.txt (line)"
