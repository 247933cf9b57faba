"""Snapshots of the Models screen; models and machine are made up, so that no figure of this machine is in it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from engine.errors import HubError, ModelError
from engine.jobs.download import Download
from engine.models.card import Card
from engine.models.catalogue import Entry
from engine.models.shape import Linear, ModelShape
from engine.planning.feasibility import fits_of
from engine.planning.trainability import Model, TrainableModels
from ft.app import FtApp
from screens.models.downloads import Pull, PullLine
from screens.models.screen import ModelsScreen
from tests.app_pilot import MACHINE, until
from tests.hub_server import Hub, serving, use_hub
from tests.test_models_search import listing

SIZES = [(80, 24), (120, 36), (200, 50)]
LAPTOP = replace(MACHINE, ram_bytes=32_000_000_000, available_bytes=20_000_000_000)


def shape(layers: int, hidden: int, intermediate: int, vocab: int, architecture: str) -> ModelShape:
    """A decoder of that size."""
    sizes = [("q_proj", hidden, hidden), ("k_proj", hidden, hidden // 4), ("v_proj", hidden, hidden // 4)]
    sizes += [
        ("o_proj", hidden, hidden),
        ("gate_proj", hidden, intermediate),
        ("up_proj", hidden, intermediate),
    ]
    linears = tuple(Linear(*size, layers) for size in [*sizes, ("down_proj", intermediate, hidden)])
    weights = sum(linear.inputs * linear.outputs * linear.count for linear in linears)
    heads = hidden // 64
    return ModelShape(
        architecture=architecture,
        layers=layers,
        hidden=hidden,
        intermediate=intermediate,
        heads=heads,
        kv_heads=heads // 4,
        head_dim=64,
        vocab=vocab,
        tied=False,
        parameters=weights + 2 * vocab * hidden,
        linears=linears,
        context=32768,
        embedding_parameters=2 * vocab * hidden,
    )


def model(name: str, size: ModelShape, held: str = "bf16", licence: str | None = "apache-2.0") -> Model:
    entry = Entry(name, "ready", Path("/models") / name, 2 * size.parameters, "0123abc", source="hub")
    return Model(entry, Card(size, held, licence, "chatml"), fits_of(size, LAPTOP))


def some_models() -> tuple[Model, ...]:
    small, middle = shape(28, 1024, 3072, 151936, "qwen3"), shape(32, 4096, 14336, 128256, "llama")
    return (
        Model(Entry("starter", "packaged", None, 0, source="starter")),
        model("ada/small-0.6B-chat", small),
        model("ada/middle-8B", middle, licence=None),
        model("ada/large-70B-instruct-with-a-long-name-2407", shape(80, 8192, 28672, 128256, "llama")),
        Model(
            Entry("ada/half-here", "incomplete", Path("/models/half"), 1_200_000_000, "77fe", source="hub")
        ),
        Model(
            Entry("broken", "incomplete", Path("/models/broken"), 2_000_000),
            problem=ModelError("/models/broken has no config.json.", "Is it the model's own folder?"),
        ),
    )


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a few models, for a machine that is made up."""
    monkeypatch.setattr("engine.hardware.probe.probe", lambda: LAPTOP)
    with serving(Hub("ada/none", tmp_path, listed=listing(tmp_path))) as hub:
        use_hub(hub.url, tmp_path, monkeypatch)
        yield hub


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Callable[[tuple[Model, ...]], None]:
    """Put models on the shelf."""

    def put(models: tuple[Model, ...]) -> None:
        monkeypatch.setattr(TrainableModels, "list", lambda self: models)

    return put


async def listed(pilot: Pilot[Any]) -> ModelsScreen:
    await until(pilot, lambda: isinstance(pilot.app.screen, ModelsScreen))
    screen = pilot.app.screen
    assert isinstance(screen, ModelsScreen)
    await until(pilot, lambda: screen.chosen is not None)
    await pilot.pause()
    return screen


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_model_with_its_memory(snap_compare: Any, shelf: Any, size: tuple[int, int]) -> None:
    async def look(pilot: Pilot[Any]) -> None:
        await listed(pilot)
        await pilot.press("down", "down")
        await pilot.pause()

    shelf(some_models())
    assert snap_compare(FtApp(start="models"), terminal_size=size, run_before=look)


def test_nothing_but_the_starter(snap_compare: Any, shelf: Any) -> None:
    async def look(pilot: Pilot[Any]) -> None:
        await listed(pilot)

    shelf(some_models()[:1])
    assert snap_compare(FtApp(start="models"), terminal_size=(80, 24), run_before=look)


def test_a_download_under_way_and_a_model_that_is_broken(snap_compare: Any, shelf: Any) -> None:
    async def look(pilot: Pilot[Any]) -> None:
        screen = await listed(pilot)
        await pilot.press(*["down"] * 5)
        screen.pull = Pull(Download("ada/half-here"))
        line = screen.query_one(PullLine)
        line.begin("ada/half-here")
        line.tell("downloading ada/half-here", 1_000_000_000, 4_000_000_000, now=0.0)
        line.tell("downloading ada/half-here", 1_500_000_000, 4_000_000_000, now=10.0)
        screen.refresh_bindings()
        await pilot.pause()

    shelf(some_models())
    assert snap_compare(FtApp(start="models"), terminal_size=(120, 36), run_before=look)


def test_a_failed_download(snap_compare: Any, shelf: Any) -> None:
    async def look(pilot: Pilot[Any]) -> None:
        screen = await listed(pilot)
        hint = "Check the network and run again: what has come is kept."
        screen.host.fail(HubError("The hub cannot be reached for ada/half-here.", hint))
        await pilot.pause()

    shelf(some_models())
    assert snap_compare(FtApp(start="models"), terminal_size=(80, 24), run_before=look)


def test_without_colours(snap_compare: Any, shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(pilot: Pilot[Any]) -> None:
        await listed(pilot)
        await pilot.press("down")
        await pilot.pause()

    monkeypatch.setenv("NO_COLOR", "1")
    shelf(some_models())
    assert snap_compare(FtApp(start="models"), terminal_size=(80, 24), run_before=look)


async def searched(pilot: Pilot[Any]) -> None:
    """Search for llama, and put the cursor on the second model once all is there."""
    screen = await listed(pilot)
    await pilot.press("slash")
    screen.query_one("#query", Input).value = "llama"
    await pilot.press("enter")
    await until(pilot, lambda: screen.search.asked and screen.search.asked.text == "llama", "the search")
    await until(pilot, lambda: not screen.query_one("#found").border_subtitle, "all that fits")
    await pilot.press("down")
    await pilot.pause()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_search_of_the_hub(snap_compare: Any, shelf: Any, hub: Hub, size: tuple[int, int]) -> None:
    shelf(some_models())
    assert snap_compare(FtApp(start="models"), terminal_size=size, run_before=searched)


def test_a_hub_that_says_no(snap_compare: Any, shelf: Any, hub: Hub) -> None:
    hub.refused = 429
    shelf(some_models())
    assert snap_compare(FtApp(start="models"), terminal_size=(80, 24), run_before=searched)
