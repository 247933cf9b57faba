"""Job `serve`: a server of trained models for programs. It ends when a person stops it."""

import shlex
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from engine import secrets
from engine.errors import ConfigError, FtError
from engine.hardware.sharing import Sharing
from engine.jobs.base import JobContext, Stopped, secrets_of_base
from engine.runs.directory.create_job import create_job
from engine.runs.directory.events import Load, Phase
from engine.runs.directory.events import Serving as Served
from engine.runs.directory.registry import model_name
from engine.runs.directory.run import Run

if TYPE_CHECKING:
    from engine.serving.batch import Batch
    from engine.serving.engines import Command
    from engine.serving.front import Behind, Front

KEY = secrets.SERVE_API_KEY
"""Name of the API key, in the environment or the keyring."""
TELL_EVERY_S = 2.0
"""Least time between two events on how busy the server is."""
LOOK_EVERY_S = 0.1
"""Least time between two looks for commands; tokens come more often."""


@dataclass(frozen=True)
class Serving:
    """Options of the job: what `TrainedModel.find` takes, adapters by name, and where and how it listens."""

    model: str
    adapters: Mapping[str, str] = field(default_factory=dict)
    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    slots: int = 16
    """Answers that are written together."""
    queue: int = 256
    """Answers that may wait for a slot."""
    most_prompt: int = 1 << 17
    """Tokens of the longest prompt."""
    grace_s: float = 10.0
    """Seconds that answers get to end when the server is stopped."""
    engine: str = "auto"
    """A name of `serving.engines.NAMES`."""
    exact: bool = False
    """Compute as `ft generate` does, also where the format of the model's files would be faster."""

    def create(self) -> Run:
        """A new run for this server. Raises MachineError where its folder cannot be made."""
        words = ["ft", "serve", self.model, "--host", self.host, "--port", str(self.port)]
        words += ["--exact"] if self.exact else []
        words += ["--engine", self.engine] if self.engine != "auto" else []
        for name, reference in self.adapters.items():
            words += ["--adapter", f"{name}={reference}"]
        return create_job(
            "serve", f"serve-{model_name(self.model)}", asdict(self) | {"again": shlex.join(words)}
        )

    @staticmethod
    def of(run: Run) -> "Serving":
        """The server that a run was created for. Raises ConfigError where its job.json is damaged."""
        try:
            given = {name: run.job[name] for name in Serving.__dataclass_fields__}
            return Serving(**given)
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"{run.folder / 'job.json'} is damaged: {error}.", "Start the server again."
            ) from error

    def check(self) -> None:
        """Raise ConfigError where a model is not there, or the server would be open to others without a key."""
        from engine.serving.engines import choose, gguf_of
        from engine.serving.guard import is_local
        from engine.serving.loading import Wish

        engine = choose(self.model, self.engine).name
        if gguf_of(self.model) is None:
            Wish.of(self.model, self.adapters, self.name)
        if engine == "mlx" and self.adapters:
            raise ConfigError(
                "--engine mlx: mlx_lm.server has one model at a time, and no adapters beside it.",
                "Use ft's own: --engine ft. Or serve the run alone, with its adapter on it.",
            )
        if not is_local(self.host) and not secrets.get(KEY):
            raise ConfigError(
                f"--host {self.host} lets other machines ask, and there is no API key.",
                f"Set one: ft secrets set {KEY}. For this machine alone, leave --host out.",
            )


def needed_secrets(run: Run) -> tuple[str, ...]:
    """Names of the tokens without which the server may not start."""
    from engine.models.resolve import is_hub_id

    return (KEY, *((secrets.HF_TOKEN,) if is_hub_id(Serving.of(run).model) else ()))


def useful_secrets(run: Run) -> tuple[str, ...]:
    """Names of the tokens for models that most often are here already: the bases of runs and adapters."""
    from engine.runs.directory.trained_model import TrainedModel

    serving, found = Serving.of(run), set[str]()
    for reference in (serving.model, *serving.adapters.values()):
        with suppress(FtError):  # a GGUF file, or what is not there: the job says so
            found.update(secrets_of_base(TrainedModel.find(reference).base))
    return tuple(found)


def run(context: JobContext) -> str:
    """Serve until a person stops it; then raises Stopped.

    Raises ConfigError, ModelError or MachineError where it cannot.
    """
    from engine.serving.engines import choose

    serving = Serving.of(context.run)
    serving.check()
    engine = choose(serving.model, serving.engine)
    context.run.emit(Phase(name="loading", note=f"engine {engine.name}: {engine.why}"))
    context.poll()
    if engine.name == "ft":
        _serve(context, serving)
    else:
        _delegate(context, serving, engine.name)
    raise Stopped


def _serve(context: JobContext, serving: Serving) -> None:
    """Serve by ft's own engine, until a person stops it."""
    from engine.serving.app import Service, make_app
    from engine.serving.batch import Batch
    from engine.serving.guard import LOCAL, Door, is_local
    from engine.serving.http import HttpThread, bind, url_of
    from engine.serving.loading import Wish

    bound, sharing = bind(serving.host, serving.port), Sharing()
    service = Service(serving.most_prompt)
    door = Door(LOCAL if is_local(serving.host) else None, secrets.get(KEY))
    http = HttpThread(make_app(service, door), bound)
    http.start()
    try:
        wish = Wish.of(serving.model, serving.adapters, serving.name)
        loaded = wish.load(context.loading(), lambda name: context.run.emit(Phase(name="loading", note=name)))
        if not serving.exact:
            loaded.model.narrow()
        if loaded.model.spins:
            sharing.start()
        batch = Batch(loaded.model, serving.slots, serving.queue)
        service.catalogue, service.batch = loaded.catalogue, batch
        _announce(context, serving, "ft", url_of(bound), tuple(loaded.catalogue.models))
        batch.run(_Watch(context, batch, service).stopping, serving.grace_s)
    finally:
        sharing.end()
        service.stopping = True
        http.stop()


def _delegate(context: JobContext, serving: Serving, engine: str) -> None:
    """Serve by another engine, which listens behind our front, until a person stops it."""
    from engine.serving import delegated
    from engine.serving.engines import LOCALHOST
    from engine.serving.front import Front
    from engine.serving.guard import LOCAL, Door, is_local
    from engine.serving.http import HttpThread, bind, url_of

    bound = bind(serving.host, serving.port)
    with bind(LOCALHOST, 0) as free:
        port, behind_url = free.getsockname()[1], url_of(free)
    with tempfile.TemporaryDirectory() as scratch:
        command, behind = _behind(context, serving, engine, port, behind_url, Path(scratch))
        front = Front(behind, serving.slots, serving.queue)
        door = Door(LOCAL if is_local(serving.host) else None, secrets.get(KEY))
        http = HttpThread(front.app(door), bound)
        http.start()

        def ready() -> None:
            front.ready = True
            _announce(context, serving, engine, url_of(bound), behind.models)

        try:
            watch = _FrontWatch(context, front, serving.grace_s)
            delegated.run(command, engine, behind_url, ready, watch.stopping)
        finally:
            front.stopping = True
            http.stop()


def _behind(
    context: JobContext, serving: Serving, engine: str, port: int, url: str, scratch: Path
) -> "tuple[Command, Behind]":
    """The command of another engine's server, and how our front asks it. Raises ConfigError, ModelError."""
    from engine.serving import engines
    from engine.serving.front import Behind
    from engine.serving.loading import Wish

    key = token_hex(16)
    if (gguf := engines.gguf_of(serving.model)) is not None:
        if serving.adapters:
            raise ConfigError(
                "--adapter: a GGUF is served alone.", "Serve the run itself: ft serve RUN --adapter …"
            )
        name = serving.name or gguf.stem
        return engines.llama(gguf, name, port, serving.slots, key), Behind(url, key, (name,))
    wish = Wish.of(serving.model, serving.adapters, serving.name)
    folder = wish.model.base_folder(context.loading())
    if engine == "vllm":
        names = dict.fromkeys((wish.base_name, wish.name, *wish.adapters))
        return engines.vllm(wish, folder, port, serving.slots, key), Behind(url, key, tuple(names))
    from engine.serving.mlx_server import MlxServer

    mlx = MlxServer.of(wish, folder, serving.most_prompt, scratch, context.poll)
    return mlx.command(port, serving.slots, key), Behind(url, key, (wish.name,), mlx.accepted)


def _announce(context: JobContext, serving: Serving, engine: str, url: str, models: tuple[str, ...]) -> None:
    """Report that the server answers: the phase for lists of runs, the rest for whoever wants to ask."""
    context.run.emit(Phase(name="serving", note=f"{', '.join(models)} at {url}/v1"))
    keyed = secrets.get(KEY) is not None
    context.run.emit(
        Served(url=f"{url}/v1", models=models, engine=engine, slots=serving.slots, needs_key=keyed)
    )


class _FrontWatch:
    """Looks for commands while another engine answers, and tells how busy it is.

    Once stopped, it lets the answers end that are being written.
    """

    def __init__(self, context: JobContext, front: "Front", grace_s: float) -> None:
        self.context, self.front, self.grace_s = context, front, grace_s
        self._told, self._told_at = front.load, time.monotonic()
        self._stopped_at: float | None = None

    def stopping(self) -> bool:
        self.context.control.poll()
        now, load = time.monotonic(), self.front.load
        if load != self._told and now - self._told_at >= TELL_EVERY_S:
            self._told, self._told_at = load, now
            self.context.run.emit(Load(running=load.running, waiting=load.waiting, answers=load.answers))
        if not self.context.control.stop_requested:
            return False
        self.front.stopping = True
        self._stopped_at = self._stopped_at or now
        return not (load.running or load.waiting) or now - self._stopped_at > self.grace_s


class _Watch:
    """Looks for commands between tokens, and tells now and then how busy the server is."""

    def __init__(self, context: JobContext, batch: "Batch", service: Any) -> None:
        self.context, self.batch, self.service = context, batch, service
        self._told = batch.load
        self._told_at = time.monotonic()
        self._looked_at = 0.0

    def stopping(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self.context.control.poll()
            self.service.stopping = self.context.control.stop_requested
            if now - self._told_at >= TELL_EVERY_S:
                self._tell(now)
        return self.context.control.stop_requested

    def _tell(self, now: float) -> None:
        load = self.batch.load
        if load != self._told:
            speed = (load.tokens - self._told.tokens) / (now - self._told_at)
            counts = {"waiting": load.waiting, "answers": load.answers, "tokens": load.tokens}
            self.context.run.emit(Load(running=load.rows, **counts, tokens_per_s=round(speed, 1)))
            self._told = load
        self._told_at = now
