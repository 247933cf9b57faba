"""`ft secrets test`: each service is asked about its tokens, at its own address, and every answer is put in words."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import keyring
import pytest

from engine import secrets
from engine.errors import CheckFailed, ConfigError, HubError
from engine.secrets import asking
from engine.secrets.services import SERVICES
from ft.cli import main
from tests import token_services
from tests.keyrings import LockedKeyring, MemoryKeyring
from tests.token_services import Asked, Behaviour, Served, served

TOKEN = "notARealOne0123456789"
NAMES = [name for service in SERVICES for name in (*service.names, *service.settings)]
Serve = Callable[[Behaviour], Served]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, memory_keyring: MemoryKeyring) -> None:
    for name in (*NAMES, "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:
        yield lambda behave: stack.enter_context(served(behave))


CASES = {
    "WANDB_API_KEY": "WANDB_BASE_URL",
    "MLFLOW_TRACKING_TOKEN": "MLFLOW_TRACKING_URI",
    "LANGFUSE_SECRET_KEY": "LANGFUSE_HOST",
    "HF_TOKEN": "HF_ENDPOINT",
}
"""A token of each service, and where its address is."""


@pytest.fixture(params=CASES)
def set_up(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Point one service after the other at an address; returns the name of its token, which is set."""
    from huggingface_hub import constants

    def point(url: str) -> str:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setenv(CASES[request.param], url)
        if request.param == "LANGFUSE_SECRET_KEY":
            secrets.set("LANGFUSE_PUBLIC_KEY", "pk-lf-1")
        secrets.set(request.param, TOKEN)
        return str(request.param)

    return point


def test_each_service_says_whose_token_it_is(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", serve(token_services.hub(TOKEN)).url)
    monkeypatch.setenv("WANDB_BASE_URL", serve(token_services.wandb(TOKEN)).url + "/")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", serve(token_services.mlflow(TOKEN, "ada", "engine")).url)
    secrets.set("LANGFUSE_HOST", serve(token_services.langfuse("pk-lf-1", TOKEN)).url)
    for name in ("HF_TOKEN", "WANDB_API_KEY", "LANGFUSE_SECRET_KEY", "SERVE_API_KEY", "MY_OWN_KEY"):
        secrets.set(name, TOKEN)
    secrets.set("LANGFUSE_PUBLIC_KEY", "pk-lf-1")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "engine")
    assert main(["secrets", "test", "--json"]) == 0
    said = capsys.readouterr()
    assert TOKEN not in said.out + said.err
    told = json.loads(said.out)
    assert [(one["names"], one["result"], one["message"]) for one in told[:4]] == [
        (["HF_TOKEN"], "ok", "The hub knows it: ada, may read."),
        (["WANDB_API_KEY"], "ok", "W&B knows it: ada, entity lovelace."),
        (
            ["MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"],
            "ok",
            "MLflow's server answers ada.",
        ),
        (["LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"], "ok", "Langfuse knows them: project mails."),
    ]
    assert [(one["names"], one["result"]) for one in told[4:]] == [
        (["SERVE_API_KEY"], "no test"),
        (["LANGFUSE_HOST"], "no test"),
        (["MY_OWN_KEY"], "no test"),
    ]
    assert main(["secrets", "test"]) == 0
    assert "your own server" in capsys.readouterr().out


def test_mlflow_takes_a_token_too(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", serve(token_services.mlflow(TOKEN, "ada", "engine")).url)
    secrets.set("MLFLOW_TRACKING_TOKEN", TOKEN)
    assert secrets.test("MLFLOW_TRACKING_TOKEN") == "MLflow's server answers with this token."


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, 1, "rejects this token"),
        (403, 1, "rejects this token"),
        (404, 4, "is not"),
        (302, 4, "is not"),
        (500, 4, "answers 500"),
        (503, 4, "answers 503"),
        (429, 4, "answers 429"),
    ],
)
def test_refusals_are_told_apart(
    status: int,
    code: int,
    message: str,
    serve: Serve,
    set_up: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And what the server says, which may repeat the token, is not repeated."""

    def refuse(asked: Asked) -> tuple[int, object]:
        if status == 302:
            return status, b"/login"
        return status, f"no: {asked.headers['authorization']} {TOKEN}".encode()

    name = set_up(serve(refuse).url)
    assert main(["secrets", "test", name]) == code
    said = capsys.readouterr()
    assert message in said.out
    assert "hint:" in said.err
    assert TOKEN not in said.out + said.err


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>Log in</html>", b"[]", b"null", b'{"x": 1}', b"[" * 50_000, b"\xff", b"x" * 3_000_000],
)
def test_something_else_than_the_service_is_told(
    body: bytes, serve: Serve, set_up: Callable[[str], str]
) -> None:
    name = set_up(serve(lambda _: (200, body)).url)
    with pytest.raises(HubError, match=r"What answers at http://127\.0\.0\.1:\d+ is not .*'s API"):
        secrets.test(name)


def test_service_that_is_down_leaves_the_token_in_peace(set_up: Callable[[str], str]) -> None:
    name = set_up("http://127.0.0.1:9")
    with pytest.raises(HubError, match="cannot be reached") as caught:
        secrets.test(name)
    assert "may be fine" in caught.value.hint


def test_slow_service_is_given_up(
    serve: Serve, set_up: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PATIENCE_S", 0.3)
    name = set_up(serve(token_services.slow(2)).url)
    began = time.monotonic()
    with pytest.raises(HubError, match="has not answered"):
        secrets.test(name)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("address", ["ftp://host", "http://", "://", "http://[", "nowhere", "http://a b/"])
def test_wrong_address_is_one_message(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    for name in ("WANDB_API_KEY", "MLFLOW_TRACKING_TOKEN"):
        secrets.set(name, TOKEN)
        with pytest.raises((HubError, ConfigError)):
            secrets.test(name)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "nonsense://x", "http://127.0.0.1:9"])
def test_unusable_proxy_is_one_message(
    proxy: str, set_up: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("http_proxy", proxy)
    name = set_up("http://example.invalid")
    with pytest.raises(HubError):
        secrets.test(name)


def test_token_that_no_header_can_carry_is_rejected(set_up: Callable[[str], str], serve: Serve) -> None:
    name = set_up(serve(lambda _: (401, {})).url)
    secrets.set(name, "tökén-ключ")
    with pytest.raises(CheckFailed, match="rejects"):
        secrets.test(name)


def test_redirect_does_not_get_the_token(serve: Serve, set_up: Callable[[str], str]) -> None:
    there = serve(lambda _: (200, {}))
    here = serve(lambda _: (302, f"{there.url}/api".encode()))
    name = set_up(here.url)
    with pytest.raises(HubError):
        secrets.test(name)
    assert len(here.asked) == 1
    assert there.asked == []


def test_nobody_without_a_name_is_no_proof(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B answers a query without a known key, and says that nobody asks."""
    monkeypatch.setenv("WANDB_BASE_URL", serve(lambda _: (200, {"data": {"viewer": None}})).url)
    secrets.set("WANDB_API_KEY", TOKEN)
    with pytest.raises(CheckFailed, match="W&B rejects"):
        secrets.test("WANDB_API_KEY")


def test_offline_asks_nobody(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    here = serve(lambda _: (200, {}))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "ENDPOINT", here.url)
    monkeypatch.setenv("WANDB_BASE_URL", here.url)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name, variable in (("HF_TOKEN", "HF_HUB_OFFLINE"), ("WANDB_API_KEY", "WANDB_MODE")):
        secrets.set(name, TOKEN)
        with pytest.raises(HubError, match=f"{variable} is set"):
            secrets.test(name)
    assert here.asked == []


def test_half_of_a_pair_names_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets.set("LANGFUSE_PUBLIC_KEY", "pk-lf-1")
    with pytest.raises(ConfigError, match="LANGFUSE_SECRET_KEY"):
        secrets.test("LANGFUSE_PUBLIC_KEY")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    secrets.set("MLFLOW_TRACKING_USERNAME", "ada")
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD"):
        secrets.test("MLFLOW_TRACKING_USERNAME")


@pytest.mark.parametrize(
    ("name", "message"),
    [("SERVE_API_KEY", "your own server"), ("MY_OWN_KEY", "does not know"), ("HF_TOKEN", "is not set")],
)
def test_name_without_test_or_token_is_wrong_usage(
    name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if name != "HF_TOKEN":
        secrets.set(name, TOKEN)
    assert main(["secrets", "test", name]) == 2
    assert message in capsys.readouterr().err


def test_without_tokens_there_is_nothing_to_test(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["secrets", "test"]) == 0
    assert "No token is set" in capsys.readouterr().err
    assert main(["secrets", "test", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_locked_keyring_and_rejection_are_both_told(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets.set("HF_TOKEN", TOKEN)
    keyring.set_keyring(LockedKeyring())
    monkeypatch.setenv("WANDB_API_KEY", TOKEN)
    monkeypatch.setenv("WANDB_BASE_URL", serve(token_services.wandb("another")).url)
    assert main(["secrets", "test"]) == 7
    told = capsys.readouterr().out
    assert "locked" in told
    assert "W&B rejects this token" in told


def test_services_name_each_token_once() -> None:
    names = [name for service in SERVICES for name in service.names]
    assert len(names) == len(set(names))
    assert all(bool(service.test) != bool(service.untested) for service in SERVICES)
