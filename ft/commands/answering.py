"""Who answers in `ft generate` and `ft chat`: a model on this machine, or a server."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engine import paths
from engine.data.tokenization.message_style import Tools
from engine.data.types import Message, Sampling
from engine.errors import ConfigError, MachineError
from engine.inference.answer import Piece
from engine.runs.directory.result import FOLDERS
from engine.service.client import Client
from ft.commands.trained import reference_of


class Answers(Protocol):
    """A model that can be asked."""

    @property
    def name(self) -> str:
        """Name for people."""
        ...

    def pieces(
        self, messages: Sequence[Message], sampling: Sampling, tools: Tools
    ) -> Generator[Piece, None, None]:
        """The answer to a conversation, as it comes."""
        ...


@dataclass(frozen=True)
class Local:
    """A trained model, or its base, in the service process, which keeps it loaded."""

    client: Client
    reference: str
    base: bool = False

    @property
    def name(self) -> str:
        path = Path(self.reference)
        whose = path.parents[1] if path.parent.name == "checkpoints" else path.parent
        named = path.parent.name == "checkpoints" or path.name in FOLDERS
        short = f"{whose.name} {path.name}" if named else path.name
        return f"the model before {short}" if self.base else short

    def pieces(
        self, messages: Sequence[Message], sampling: Sampling, tools: Tools
    ) -> Generator[Piece, None, None]:
        return self.client.pieces(self.reference, messages, sampling, tools=tools, base=self.base)


@dataclass(frozen=True)
class Remote:
    """A model of an OpenAI-compatible server."""

    url: str
    model: str
    key: str | None

    @property
    def name(self) -> str:
        return f"{self.model} at {self.url}"

    def pieces(
        self, messages: Sequence[Message], sampling: Sampling, tools: Tools
    ) -> Generator[Piece, None, None]:
        from engine.inference.remote import Server

        return Server(self.url, self.key).pieces(self.model, messages, sampling, tools)


@contextmanager
def answering(
    model: str | None, base: bool, compare: bool, url: str | None, served: str | None, key: str | None
) -> Iterator[tuple[Answers, ...]]:
    """The model that the options name, or the trained model and its base where they are compared.

    Raises ConfigError for options that exclude each other, or a model that is not there.
    """
    if base and compare:
        raise ConfigError("--base and --compare cannot be given together.", "--compare answers with both.")
    if url is None:
        if served or key:
            raise ConfigError("--model and --key are for --url.", "Name the model first: ft generate MODEL")
        from engine.runs.directory.trained_model import TrainedModel

        reference = reference_of(model)
        if base or compare:
            TrainedModel.find_untrained(reference)
        if not base:
            TrainedModel.find(reference)
        _ask_for_token(reference)
        with Client(paths.cache() / "service.log") as client:
            sides = (False, True) if compare else (base,)
            yield tuple(Local(client, reference, side) for side in sides)
        return
    if model is not None or base or compare:
        raise ConfigError(
            "--url asks a server, so there is no run, --base or --compare beside it.",
            "--model NAME says which of its models answers.",
        )
    yield (_remote(url, served, key),)


def _ask_for_token(reference: str) -> None:
    """Have the hub's token at hand for a model of the hub. One that is locked may not be needed: the hub decides.

    Raises WrongPassphrase.
    """
    from engine import secrets
    from engine.models.resolve import is_hub_id

    if is_hub_id(reference):
        try:
            secrets.get(secrets.HF_TOKEN)
        except secrets.WrongPassphrase:
            raise
        except MachineError:
            return


def _remote(url: str, served: str | None, key: str | None) -> Remote:
    from engine import secrets
    from engine.inference.remote import Server

    value = secrets.get(key) if key else None
    if key and value is None:
        raise ConfigError(f"{key} is not set.", f"Set it with: ft secrets set {key}")
    server = Server.at(url, value)
    return Remote(server.url, served or server.only_model(), value)
