"""The Models screen's search of a hub on this machine: results, what fits, pulls, and a hub that says no."""

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Input

from engine.hardware import probe
from engine.runs.directory.run import Run
from ft.app import FtApp
from screens.models.screen import ModelsScreen
from tests.app_pilot import shown, until
from tests.hub_server import Hub, serving, use_hub
from tests.terminal import until as until_in_terminal
from tests.test_app_terminal import CTRL_Q, AppTerminal
from tests.test_models_download import REPO
from tests.test_models_screen import ready
from tests.test_models_search import listing

SIZE = (120, 36)
MISTRAL = "mistralai/Mistral-7B-Instruct-v0.3"


@pytest.fixture
def app() -> FtApp:
    return FtApp(start="models")


@pytest.fixture
def hub(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The models of `listing`, and one whose weights are there too."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    models = listing(tmp_path)
    with serving(Hub(REPO, tiny_model, listed=models | {REPO: _without_folder(models)})) as hub:
        use_hub(hub.url, tmp_path, monkeypatch)
        yield hub


def _without_folder(models: Any) -> dict[str, Any]:
    """Facts of a model whose files are those of the hub's own repository."""
    return {key: value for key, value in models["someone/tiny-llama"].items() if key != "folder"}


async def type_words(pilot: Pilot[Any], words: str) -> ModelsScreen:
    """Open the search, and write all the words at one time, as pasting does."""
    screen = await ready(pilot)
    await pilot.press("slash")
    assert screen.searching
    screen.query_one("#query", Input).value = words
    return screen


def names(screen: ModelsScreen) -> list[str]:
    return [one.name for one in screen.search.models]


def asked(hub: Hub) -> list[str]:
    """Words of the searches that the hub was asked for."""
    return ["".join(search.get("search", [])) for search in hub.searches]


async def found(pilot: Pilot[Any], words: str) -> ModelsScreen:
    """Search, and wait until the hub has answered and every config has arrived."""
    screen = await type_words(pilot, words)
    await until(pilot, lambda: screen.search.asked and screen.search.asked.text == words, "the search")
    await until(pilot, lambda: screen.search.answered, "the answer")
    table = screen.query_one("#found", DataTable)
    await until(pilot, lambda: not table.border_subtitle, "all that fits")
    return screen


def line(app: FtApp, name: str) -> str:
    """The row of a model."""
    return next(line for line in shown(app).splitlines() if name in line and "│" in line)


async def to(pilot: Pilot[Any], screen: ModelsScreen, name: str) -> None:
    """Put the cursor on a model that was found."""
    await pilot.press("enter", *["down"] * names(screen).index(name))
    await until(pilot, lambda: screen.search.chosen and screen.search.chosen.name == name, "the model chosen")


async def test_typing_lists_models_with_what_fits(app: FtApp, hub: Hub) -> None:
    async with app.run_test(size=SIZE) as pilot:
        screen = await found(pilot, "someone/")
        assert names(screen)[:3] == ["someone/tiny-llama", "someone/huge-llama", "someone/tiny-llama-gptq"]
        row = line(app, "someone/tiny-llama ")
        for fact in ("135M", "llama", "apache-2.0", "500", "2026-03-01"):
            assert fact in row
        assert row.count("yes") == 3
        assert line(app, "someone/huge-llama").rstrip("│ ").endswith("no")
        assert line(app, "someone/gated-llama").count("?") == 3
        assert "gated" in line(app, "someone/gated-llama")
        assert asked(hub).count("someone/") == 1, "one request for the list"
        assert not [path for _, path, _ in hub.requests if path.endswith(".safetensors")]
        assert not app.problems


async def test_models_are_listed_before_their_configs_arrive(app: FtApp, hub: Hub) -> None:
    hub.hold_configs = threading.Event()
    async with app.run_test(size=SIZE) as pilot:
        screen = await type_words(pilot, "huge")
        await until(pilot, lambda: "someone/huge-llama" in names(screen), "the first page")
        await until(pilot, lambda: "69.0B" in shown(app))
        assert line(app, "someone/huge-llama").count("…") == 3
        await until(pilot, lambda: "1 config is on the way" in shown(app), "what is still to come")
        hub.hold_configs.set()
        await until(pilot, lambda: "✗ no" in line(app, "someone/huge-llama"), "what fits")


async def test_hub_is_asked_once_typing_pauses(app: FtApp, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screens.models.search.PAUSE_S", 600.0)
    async with app.run_test(size=SIZE) as pilot:
        screen = await ready(pilot)
        await pilot.press("slash", *"huge")
        assert "searching …" in shown(app)
        assert asked(hub) == []
        await pilot.press("enter")
        await until(pilot, lambda: names(screen) == ["someone/huge-llama"], "the answer")
        assert asked(hub) == ["huge"]


async def test_slow_answer_to_earlier_text_is_dropped(app: FtApp, hub: Hub) -> None:
    hub.hold_search = {"tiny": threading.Event()}
    async with app.run_test(size=SIZE) as pilot:
        screen = await type_words(pilot, "tiny")
        await until(pilot, lambda: "tiny" in asked(hub), "the hub asked for tiny")
        screen.query_one("#query", Input).value = "huge"
        await until(pilot, lambda: names(screen) == ["someone/huge-llama"], "the newer answer")
        hub.hold_search["tiny"].set()
        await until(pilot, lambda: hub.answers[-2:] == ["huge", "tiny"], "the older answer")
        await pilot.pause(0.3)
        assert names(screen) == ["someone/huge-llama"]


async def test_escape_drops_search(app: FtApp, hub: Hub) -> None:
    hub.hold_search = {"tiny": threading.Event()}
    async with app.run_test(size=SIZE) as pilot:
        screen = await type_words(pilot, "tiny")
        await until(pilot, lambda: "tiny" in asked(hub), "the hub asked")
        await pilot.press("escape")
        assert not screen.searching
        assert app.focused is screen.query_one("#models")
        hub.hold_search["tiny"].set()
        await until(pilot, lambda: hub.answers[-1:] == ["tiny"], "the answer")
        await pilot.pause(0.3)
        assert names(screen) == []
        await pilot.press("slash", "slash")
        assert screen.query_one("#query", Input).value == "/"
        assert not app.problems


async def test_short_name_shows_what_it_stands_for_without_network(app: FtApp) -> None:
    async with app.run_test(size=SIZE) as pilot:
        screen = await found(pilot, "mistral-7b")
        assert names(screen) == [MISTRAL]
        assert "mistral-7b → mistralai/" in line(app, "mistral-7b")
        assert any(word in line(app, "mistral-7b →") for word in ("yes", "tight", "no"))
        assert "The hub is not searched: HF_HUB_OFFLINE forbids it." in shown(app)
        assert not app.problems


async def test_filter_and_order_hold(app: FtApp, hub: Hub) -> None:
    async with app.run_test(size=SIZE) as pilot:
        screen = await found(pilot, "someone/")
        await pilot.press("enter", "f", "f", "f")
        assert screen.search.method == "full"
        assert names(screen) == ["someone/tiny-llama"], "neither the huge nor the quantised one"
        await pilot.press("f", "o", "o", "o")
        await until(pilot, lambda: screen.search.answered and len(names(screen)) == 4, "the answer")
        assert "by size" in shown(app)
        assert names(screen)[0] == "someone/tiny-llama-gptq"


@pytest.mark.slow
async def test_model_found_is_pulled_and_listed(app: FtApp, hub: Hub) -> None:
    async with app.run_test(size=SIZE) as pilot:
        screen = await found(pilot, REPO)
        await to(pilot, screen, REPO)
        hub.hold = threading.Event()
        await pilot.press("enter")
        await until(pilot, lambda: f"downloading {REPO}" in shown(app), "its progress")
        assert "⇣ coming" in line(app, "135M")
        hub.hold.set()
        await until(pilot, lambda: "● here" in line(app, "135M"), "the model here")
        await pilot.press("escape")
        await until(
            pilot, lambda: screen.chosen and screen.chosen.entry.name == REPO, "the model in the list"
        )
        assert not app.problems


@pytest.mark.slow
async def test_pull_from_results_is_cancelled(app: FtApp, hub: Hub) -> None:
    async with app.run_test(size=SIZE) as pilot:
        screen = await found(pilot, REPO)
        await to(pilot, screen, REPO)
        hub.hold = threading.Event()
        await pilot.press("p")
        await until(pilot, hub.halfway.is_set, "half of the weights")
        await pilot.press("c")
        await until(pilot, lambda: screen.pull is None, "the end of it")
        assert "coming" not in shown(app)
        assert not app.problems


async def test_recipe_opens_with_model_that_is_not_here_yet(
    app: FtApp, hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(app, "open", lambda intent: opened.append(intent.text))
    async with app.run_test(size=SIZE) as pilot:
        screen = await found(pilot, "huge")
        await to(pilot, screen, "someone/huge-llama")
        await pilot.press("u")
        await until(pilot, lambda: opened)
    assert "base: someone/huge-llama" in opened[0]


@pytest.mark.parametrize(("gigabytes", "in_4_bits"), [(80, False), (14, True), (1, False)])
async def test_new_recipe_is_in_4_bits_where_only_that_fits(
    app: FtApp, hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch, gigabytes: int, in_4_bits: bool
) -> None:
    free = gigabytes * 10**9
    machine = dataclasses.replace(probe.probe(), ram_bytes=free, available_bytes=free)
    monkeypatch.setattr(probe, "probe", lambda: machine)
    opened: list[str] = []
    monkeypatch.setattr(app, "open", lambda intent: opened.append(intent.text))
    async with app.run_test(size=SIZE) as pilot:
        screen = await found(pilot, "mistral-7b")
        await to(pilot, screen, MISTRAL)
        await pilot.press("u")
        await until(pilot, lambda: opened)
    assert f"base: {MISTRAL}" in opened[0]
    assert ("quantization: 4bit" in opened[0]) == in_4_bits


async def test_gated_model_without_token_says_what_to_do(app: FtApp, hub: Hub) -> None:
    async with app.run_test(size=SIZE) as pilot:
        screen = await found(pilot, "gated")
        await to(pilot, screen, "someone/gated-llama")
        await until(pilot, lambda: "Accept its terms at" in shown(app), "the hint")
        await pilot.press("p")
        await until(pilot, lambda: app.problems, "the error")
        assert app.problems[0].message == "someone/gated-llama is gated."
        assert "ft secrets set HF_TOKEN" in app.problems[0].hint
        assert Run.all() == [], "nothing was started for it"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "The hub answers 401 for a search for llama."),
        (429, "The hub answers 429 for a search for llama."),
    ],
)
async def test_hub_that_says_no_is_one_line(app: FtApp, hub: Hub, status: int, words: str) -> None:
    hub.refused = status
    async with app.run_test(size=SIZE) as pilot:
        screen = await found(pilot, "llama")
        assert words in shown(app)
        assert "ft secrets set HF_TOKEN" in shown(app)
        assert "meta-llama/Llama-3.2-1B-Instruct" in names(screen), "known without the hub"
        assert not app.problems
        hub.refused = 0
        await pilot.press("enter", "r")
        await until(pilot, lambda: "someone/tiny-llama" in names(screen), "the next try")
        assert words not in shown(app)


async def test_hub_that_cannot_be_reached_is_one_line(
    app: FtApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_hub("http://127.0.0.1:9", tmp_path, monkeypatch)
    async with app.run_test(size=(80, 24)) as pilot:
        await found(pilot, "llama")
        assert "The hub cannot be reached for a search for llama" in shown(app)
        assert not app.problems


@pytest.mark.slow
def test_app_is_left_while_hub_owes_answer(hub: Hub, folder: Path) -> None:
    hub.hold_search = {"tiny": threading.Event()}
    terminal = AppTerminal()
    terminal.wait_for_bars()
    terminal.press(b"2")
    terminal.wait_to_see("starter")
    terminal.press(b"/")
    terminal.wait_to_see("short name")
    terminal.press(b"tiny")
    until_in_terminal(lambda: "tiny" in asked(hub), "the hub asked")
    terminal.press(CTRL_Q)
    assert terminal.leave() == 0
    assert "tiny" not in hub.answers, "nobody waited for the answer"


@pytest.mark.slow
async def test_unknown_architecture_is_sized_by_service_process(app: FtApp, hub: Hub, tmp_path: Path) -> None:
    """transformers, which it takes, is not loaded into the app."""
    facts = tmp_path / "neox"
    facts.mkdir()
    (facts / "config.json").write_text(
        '{"model_type": "gpt_neox", "num_hidden_layers": 2, "hidden_size": 64}'
    )
    hub.listed = {"someone/neox": hub.listed["someone/tiny-llama"] | {"folder": facts}}
    measured: list[Path] = []
    real = app.service().shape
    app.service().shape = lambda folder: measured.append(folder) or real(folder)  # type: ignore[method-assign, func-returns-value, assignment]
    async with app.run_test(size=SIZE) as pilot:
        await found(pilot, "neox")
        assert measured
        assert line(app, "someone/neox").count("yes") == 3


async def test_box_takes_short_name(app: FtApp, hub: Hub) -> None:
    fetched: list[str] = []
    async with app.run_test(size=SIZE) as pilot:
        screen = await ready(pilot)
        screen.fetch = fetched.append  # type: ignore[method-assign]
        await pilot.press("a", *"mistral-7b", "enter")
        assert fetched == [MISTRAL]
        await pilot.press("a", *"mistrel-7b", "enter")
        await until(pilot, lambda: app.problems, "the error")
        assert "did you mean mistral-7b?" in app.problems[0].message
