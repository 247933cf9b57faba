"""Which tokens an engine is given: those that its recipe, job or plugin names; and nothing shows any of them."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.backends import fail

from engine import plugins, secrets
from engine.config.load import load_text
from engine.errors import MachineError
from engine.jobs import download, evaluate, export, push, serve
from engine.jobs.base import secrets_of
from engine.jobs.evaluation_options import Evaluation
from engine.jobs.export import Export
from engine.process import launcher
from engine.runs.directory.create import create_run
from engine.runs.directory.run import Run
from engine.secrets import passphrase
from engine.service.child import ServiceProcess
from engine.trackers.base import track, tracker_named
from ft.app import FtApp
from tests.app_pilot import shown, until
from tests.keyrings import MemoryKeyring
from tests.plugin_package import ft, install
from tests.run_fixtures import make_run
from tests.terminal import Terminal, write_recipe
from tests.token_services import Asked, served

WORDS = "correct horse battery staple"
PLANTED = {
    "HF_TOKEN": "hf_plantedHub0123456789abc",
    "WANDB_API_KEY": "plantedWandb0123456789abc",
    "LANGFUSE_SECRET_KEY": "sk-lf-planted0123456789",
    "SPY_KEY": "plantedSpy+/0123456789==",
    "MY_OWN_KEY": "plantedOwn0123456789abcd",
}
NO_KEYRING = {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
MODULE = '''
import json, os, sys
from pathlib import Path

from engine.export.base import Exporter
from engine.trackers.base import Tracker

WATCHED = {watched!r}


def rows(source, folder):
    """Rows, and a note outside FT_HOME on what this process has and what others may see of it."""
    where = Path(os.environ["SPY_FOLDER"])
    names = [name for name in WATCHED if os.environ.get(name)]
    who = Path(sys.argv[0]).stem
    (where / f"{{who}}.json").write_text(json.dumps(names))
    for pid in (os.getpid(), os.getppid()):
        for part in ("environ", "cmdline"):
            body = Path(f"/proc/{{pid}}/{{part}}").read_bytes() if who == "worker" else b""
            (where / f"{{who}}-{{pid}}-{{part}}").write_bytes(body)
    print("I have", os.environ.get("SPY_KEY"), {{"key": os.environ.get("SPY_KEY")}})
    if who == "worker" and source == "spy:fail":
        raise RuntimeError("the server says: bad key " + os.environ["SPY_KEY"])
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({{"prompt": f"n {{i}}", "completion": "it is"}}) + "\\n" for i in range(16)))
    return path


rows.secrets = ("SPY_KEY", "NOT_SET_ANYWHERE")


def write(model, out, options, heartbeat):
    return {{}}


def opened(run, options):
    raise LookupError(",".join(name for name in WATCHED if os.environ.get(name)))


inventory = Exporter("inventory", write, secrets=("SPY_KEY",))
tracker = Tracker("spy", opened, secrets=("SPY_KEY",))
'''


@pytest.fixture(autouse=True)
def headless(monkeypatch: pytest.MonkeyPatch, memory_keyring: MemoryKeyring) -> None:
    for name in (*PLANTED, "HUGGING_FACE_HUB_TOKEN", "SERVE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in NO_KEYRING.items():
        monkeypatch.setenv(name, value)
    keyring.set_keyring(fail.Keyring())


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "packages"
    entries = {
        plugins.SOURCES: {"spy": "ft_spy:rows"},
        plugins.EXPORTERS: {"inventory": "ft_spy:inventory"},
        plugins.TRACKERS: {"spy": "ft_spy:tracker"},
    }
    install(folder, "ft_spy", MODULE.format(watched=[*PLANTED]), entries)
    monkeypatch.syspath_prepend(str(folder))
    plugins.installed.cache_clear()
    yield folder
    plugins.installed.cache_clear()


def written_below(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    ("recipe", "names"),
    [
        ("model: {base: starter}\ndata: {train: starter}\n", ()),
        ("model: {base: acme/x}\ndata: {train: starter}\n", ("HF_TOKEN",)),
        ("model: {base: starter}\ndata: {train: acme/rows}\n", ("HF_TOKEN",)),
        (
            "model: {base: starter}\ndata: {train: [starter, {path: acme/rows, split: train}]}\n",
            ("HF_TOKEN",),
        ),
        ("model: {base: starter}\ndata: {train: starter, validation: acme/rows}\n", ("HF_TOKEN",)),
        ("model: {base: acme/x}\ndata: {train: acme/rows}\n", ("HF_TOKEN",)),
        ("model: {base: starter}\ndata: {train: 'spy:x'}\n", ("SPY_KEY", "NOT_SET_ANYWHERE")),
    ],
)
def test_recipe_names_what_it_needs(recipe: str, names: tuple[str, ...], tmp_path: Path) -> None:
    run = create_run(load_text(f"name: x\n{recipe}", tmp_path / "train.yml"))
    assert secrets_of(run.config) == names


@pytest.mark.usefixtures("packages")
def test_jobs_name_what_they_need(tiny_model: Path, tmp_path: Path) -> None:
    model = str(tiny_model)
    assert download.needed_secrets(download.Download("acme/x").create()) == ("HF_TOKEN",)
    assert download.needed_secrets(download.Download("starter").create()) == ()
    assert serve.needed_secrets(serve.Serving(model).create()) == ("SERVE_API_KEY",)
    assert serve.useful_secrets(serve.Serving(model).create()) == ()
    assert serve.needed_secrets(serve.Serving("acme/x").create()) == ("SERVE_API_KEY", "HF_TOKEN")
    assert push.needed_secrets(push.Push(model, "ada/x").create()) == ("HF_TOKEN",)
    other = Evaluation(
        model, data="starter", against="acme/x", judge="http://x", judge_key="MY_OWN_KEY"
    ).create()
    assert (evaluate.needed_secrets(other), evaluate.useful_secrets(other)) == (
        ("MY_OWN_KEY",),
        ("HF_TOKEN",),
    )
    plain = Export(model, "merged", tmp_path / "merged").create()
    assert (export.needed_secrets(plain), export.useful_secrets(plain)) == ((), ())
    own = Export(model, "inventory", tmp_path / "own", data="hf://datasets/acme/rows").create()
    assert (export.needed_secrets(own), export.useful_secrets(own)) == (("SPY_KEY",), ("HF_TOKEN",))


@pytest.mark.usefixtures("packages")
def test_tracker_finds_its_own_tokens_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets.set_in_file(PLANTED, WORDS)
    for name in PLANTED:
        monkeypatch.setenv(name, "x")  # taken back at the end of the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("FT_TOKENS", "")
    with pytest.raises(LookupError, match=r"^SPY_KEY$"):
        track(make_run("20261101-000000-done"), tracker_named("spy"), {})


@pytest.mark.slow
def test_service_has_only_what_it_can_use(tmp_path: Path) -> None:
    address = {"URL_0123ABCD": "https://usr:planted0123456789@host/rows.jsonl"}
    secrets.set_in_file(PLANTED | address, WORDS)
    service = ServiceProcess(tmp_path / "service.log")
    service.close()
    assert service.tokens == {"HF_TOKEN": PLANTED["HF_TOKEN"]} | address
    passphrase.remember(None)
    service = ServiceProcess(tmp_path / "service.log")
    service.close()
    assert service.tokens == {}


def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the tokens in the environment, half in the encrypted file, whose passphrase a script has set."""
    secrets.set_in_file({name: PLANTED[name] for name in ("SPY_KEY", "MY_OWN_KEY")}, WORDS)
    passphrase.remember(None)
    monkeypatch.setenv(passphrase.VARIABLE, WORDS)
    for name in ("HF_TOKEN", "WANDB_API_KEY", "LANGFUSE_SECRET_KEY"):
        monkeypatch.setenv(name, PLANTED[name])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
@pytest.mark.parametrize("how", ["well", "fail"])
def test_no_token_is_seen_anywhere_after_a_run(
    how: str,
    packages: Path,
    ft_home: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A source prints its token, and raises it, in a run that else ends well: in no file of FT_HOME, no output, and
    neither in /proc of the engine nor of its supervisor."""
    planted(monkeypatch)
    spied = tmp_path / "spied"
    spied.mkdir()
    monkeypatch.setenv("SPY_FOLDER", str(spied))
    recipe = write_recipe(tmp_path / "recipe", tiny_model, steps=2, data={"train": f"spy:{how}"})
    done = ft(packages, ft_home, "train", str(recipe))
    assert done.returncode == (0 if how == "well" else 6), done.stderr
    assert json.loads((spied / "worker.json").read_text()) == ["SPY_KEY"]
    (run,) = Run.all()
    assert "I have ***" in run.log.read_text()
    if how == "well":
        assert list(run.folder.rglob("adapter/README.md")), "the model card"
    else:
        assert "bad key ***" in (run.folder / "events.jsonl").read_text()
    for command in (["runs", "show"], ["runs", "show", "--json"], ["secrets", "list"]):
        shown = ft(packages, ft_home, *command)
        done.stdout, done.stderr = done.stdout + shown.stdout, done.stderr + shown.stderr
    looked_at = [path for path in spied.iterdir() if path.name.startswith("worker-") and path.read_bytes()]
    assert len(looked_at) == 4
    places: Mapping[str, Any] = {
        "files of ft": written_below(ft_home),
        "/proc": b"".join(path.read_bytes() for path in looked_at),
        "output": (done.stdout + done.stderr).encode(),
    }
    for place, text in places.items():
        for name, value in {**PLANTED, "passphrase": WORDS}.items():
            assert value.encode() not in text, f"{name} in {place}"


async def test_picture_of_settings_has_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    planted(monkeypatch)
    app = FtApp(start="settings")
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: "MY_OWN_KEY" in shown(app))
        seen = app.export_screenshot() + shown(app)
    for value in (*PLANTED.values(), WORDS):
        assert value not in seen


def test_needed_token_that_is_locked_stops_the_run(tmp_path: Path) -> None:
    secrets.set_in_file({"HF_TOKEN": PLANTED["HF_TOKEN"]}, WORDS)
    passphrase.remember(None)
    gated = "name: x\nmodel: {base: acme/x}\ndata: {train: starter}\n"
    run = create_run(load_text(gated, tmp_path / "train.yml"))
    with pytest.raises(MachineError, match="passphrase is not known here"):
        launcher.start(run)
    assert not run.alive()


@pytest.mark.slow
def test_local_run_asks_for_no_passphrase(tiny_model: Path, tmp_path: Path, ft_home: Path) -> None:
    """Though a terminal is there, and a token is in the file."""
    secrets.set_in_file({"HF_TOKEN": PLANTED["HF_TOKEN"]}, WORDS)
    terminal = Terminal("train", write_recipe(tmp_path / "recipe", tiny_model, steps=2), "--plain")
    assert terminal.end() == 0
    assert "Passphrase" not in terminal.shown


@pytest.mark.slow
def test_terminal_is_asked_once_for_a_hub_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By this process; its engine is given the token, and asks nobody."""
    secrets.set_in_file({"HF_TOKEN": PLANTED["HF_TOKEN"]}, WORDS)

    def gated(_: Asked) -> tuple[int, object]:
        return 403, {"error": "gated"}

    with served(gated) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.delenv("HF_HUB_OFFLINE")
        recipe = tmp_path / "train.yml"
        recipe.write_text("name: x\nmodel: {base: acme/x}\ndata: {train: starter}\n")
        terminal = Terminal("train", recipe, "--plain")
        terminal.wait_for("Passphrase of")
        terminal.press(WORDS.encode() + b"\n")
        assert terminal.end() == 4
    assert terminal.shown.count("Passphrase of") == 1
    assert {asked.bearer for asked in hub.asked} == {PLANTED["HF_TOKEN"]}
    assert WORDS not in terminal.shown
