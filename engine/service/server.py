"""The warm child that answers questions: JSON lines with ids on stdin and stdout, gone at end of file.

    python -P -m engine.service.server [--secrets]

With --secrets the first line is an object of tokens, by name.

Asked    {"id": 1, "op": "generate", "run": FOLDER, "base": false, "messages": [{"role": …, "content": …}], "tools": [],
          "max_tokens": 256, "temperature": 0.0, "seed": 0}
         {"id": 2, "op": "cancel", "target": 1}
         {"id": 3, "op": "plan", "text": TRAIN_YML, "path": PATH}
         {"id": 4, "op": "rows", "source": PATH, "format": "auto"}
         {"id": 5, "op": "preview", "source": PATH, "rows": [0, 17], "view": {"model": …}, "how": "tokens"}
         {"id": 6, "op": "lengths", "source": PATH, "view": {"model": …}}
         {"id": 7, "op": "find", "source": PATH, "words": TEXT, "start": 0, "view": {"model": …}}
         {"id": 8, "op": "check", "text": TRAIN_YML, "path": PATH}
         {"id": 9, "op": "token", "name": NAME, "value": VALUE or null}
         {"id": 10, "op": "convert", "model": FOLDER, "out": FOLDER, "quantization": "4bit"}
         {"id": 11, "op": "answers", "model": FOLDER, "spec": {}, "max_tokens": 256, "temperature": 0.8,
          "prompts": [{"messages": …, "tools": [], "seed": 0}]}
Answered {"id": 1, "token": TEXT} … {"id": 1, "done": true, "cancelled": false}
         {"id": 3, "value": PLAN} {"id": 3, "done": true, "cancelled": false}
         {"id": 1, "error": {"kind": …, "message": …, "hint": …}}

`cancel` and `token` have no answer. A recipe's error also has its `problems`. Operations of one lane are answered
one after the other, those of different lanes side by side: a plan does not wait for a long answer to end.
"""

import gc
import json
import os
import queue
import sys
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from engine import secrets
from engine.clean_logs import redact_output
from engine.config.problems import RecipeError
from engine.data.preview.values import View, as_json
from engine.data.prompt_input import prompt_of
from engine.data.token_spec import TokenSpec
from engine.errors import FREE, ConfigError, FtError, OutOfMemoryError
from engine.hardware.memory import is_exhaustion
from engine.hardware.sharing import Sharing
from engine.process.worker import settle_libraries
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel
from engine.storage.disk_errors import explained

if TYPE_CHECKING:
    from engine.data.preview.previews import Previews
    from engine.inference.generation import Generator
    from engine.planning.cached import CachedPlanner

Request = dict[str, Any]
Stopped = Callable[[], bool]
"""Whether the asker has cancelled."""
Wanted = tuple[Path, Path | None, TokenSpec]
"""A base model's folder, and an adapter's."""
WARM = 2
"""Models that are kept: a person compares a trained one with the one it was made from."""
LANES = {
    "generate": "model",
    "answers": "model",
    "convert": "model",
    "plan": "plan",
    "check": "plan",
    "rows": "rows",
    "preview": "rows",
    "lengths": "lengths",
    "find": "find",
}
"""The lane of each operation."""


def main() -> None:
    """Answer until stdin ends."""
    settle_libraries()
    if "--secrets" in sys.argv[1:]:
        secrets.adopt(secrets.receive(sys.stdin.buffer))
    # What libraries print must not come between the answers: stdout is stderr for all but this module.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace", buffering=1)
    os.dup2(2, 1)
    redact_output()
    Service(answers).serve(sys.stdin)


@dataclass
class Service:
    """Reads requests in one thread and answers them in others, one a lane."""

    answers: IO[str]
    lanes: "dict[str, queue.SimpleQueue[Request]]" = field(
        default_factory=lambda: {lane: queue.SimpleQueue() for lane in LANES.values()}
    )
    writing: threading.Lock = field(default_factory=threading.Lock)
    cancelled: set[object] = field(default_factory=set)
    loaded: "OrderedDict[Wanted, Generator]" = field(default_factory=OrderedDict)
    """The models that are kept warm: the last one asked for, and the one before where there is memory for both."""
    sharing: Sharing = field(default_factory=Sharing)
    """Watches from the first model on: a long answer beside a busy program is as slow as training."""
    planner: "CachedPlanner | None" = None
    previews: "Previews | None" = None
    opening: threading.Lock = field(default_factory=threading.Lock)
    """Held while `previews` is made: several lanes ask for it."""

    def serve(self, requests: IO[str]) -> NoReturn:
        """Answer the requests of a stream; at its end the process ends, in the middle of an answer too."""
        threading.Thread(target=self._read, args=(requests,), daemon=True).start()
        for lane in set(self.lanes) - {"model"}:
            threading.Thread(target=self._work, args=(self.lanes[lane],), daemon=True).start()
        self._work(self.lanes["model"])

    def _read(self, requests: IO[str]) -> None:
        for line in requests:
            try:
                request = json.loads(line)
                if not isinstance(request, dict):
                    raise ValueError("not an object")
            except (ValueError, RecursionError) as error:
                self._send({"id": None, "error": _described(ConfigError(f"This is no request: {error}"))})
                continue
            operation = request.get("op")
            if operation == "cancel":
                self.cancelled.add(request.get("target"))
            elif operation == "token":
                self._renew(request)
            elif operation in LANES:
                self.lanes[LANES[operation]].put(request)
            else:
                unknown = ConfigError(
                    f"There is no operation {operation!r}.", f"There are {', '.join(LANES)} and cancel."
                )
                self._send({"id": request.get("id"), "error": _described(unknown)})
        os._exit(0)  # at end of file nobody is left to hear the rest of an answer

    def _work(self, waiting: "queue.SimpleQueue[Request]") -> NoReturn:
        while True:
            self._answer(waiting.get())

    def _answer(self, request: Request) -> None:
        number = request.get("id")

        def stopped() -> bool:
            return number in self.cancelled

        try:
            parts = iter(()) if stopped() else self._parts(request, stopped)
            for part in parts:
                if stopped():
                    break
                self._send({"id": number, **part})
            self._send({"id": number, "done": True, "cancelled": stopped()})
        except Exception as error:
            if isinstance(error, FtError):
                told = error
            else:
                traceback.print_exc()
                told = _told(error)
            if is_exhaustion(error):  # also where it was taken for a file that does not load
                told = OutOfMemoryError(f"There is not enough memory for this: {told}", FREE)
            self._send({"id": number, "error": _described(told)})
        finally:
            self.cancelled.discard(number)

    def _parts(self, request: Request, stopped: Stopped) -> Iterator[Request]:
        """What there is to say to a request, bit by bit."""
        match request["op"]:
            case "generate":
                yield from ({"token": piece} for piece in self._generate(request))
            case "answers":
                yield {"value": self._answers(request, stopped)}
            case "convert":
                yield {"value": self._convert(request)}
            case "plan":
                yield {"value": self._plan(request)}
            case "check":
                self._check(request)
                yield {"value": None}
            case "rows":
                view = View(**request.get("view", {}))
                yield {"value": as_json(self._previews().open(str(request.get("source")), view))}
            case "preview":
                numbers = [int(row) for row in request.get("rows", ())]
                view, how = View(**request.get("view", {})), request.get("how", "tokens")
                rows = self._previews().show(str(request.get("source")), numbers, view, how)
                yield {"value": [as_json(row) for row in rows]}
            case "lengths":
                view = View(**request.get("view", {}))
                yield {"value": as_json(self._previews().lengths(str(request.get("source")), view, stopped))}
            case "find":
                view = View(**request.get("view", {}))
                source, words = str(request.get("source")), str(request.get("words"))
                start = int(request.get("start", 0))
                yield {"value": self._previews().find(source, words, start, view, stopped)}

    def _previews(self) -> "Previews":
        from engine.data.preview.previews import Previews

        with self.opening:
            self.previews = self.previews or Previews()
            return self.previews

    def _convert(self, request: Request) -> Any:
        from engine.backends.mlx.convert import convert

        return convert(Path(request["model"]), Path(request["out"]), request["quantization"])

    def _plan(self, request: Request) -> Any:
        from engine.planning.cached import CachedPlanner
        from engine.runs.directory.start_adapter import start_of

        self.planner = self.planner or CachedPlanner(start_of)
        plan = self.planner.plan(str(request.get("text")), Path(str(request.get("path"))))
        return json.loads(plan.to_json())

    def _check(self, request: Request) -> None:
        """What `ft train` looks at before it starts an engine."""
        from engine.config.load import load_text
        from engine.process.preflight import check

        check(load_text(str(request.get("text")), Path(str(request.get("path")))).config)

    def _generate(self, request: Request) -> Iterator[str]:
        run = Run.open(Path(str(request.get("run"))))
        wanted = TrainedModel.before(run) if request.get("base", False) else TrainedModel.of(run)
        loaded = (wanted.base_folder(), wanted.adapter, wanted.spec)
        generator = self._generator(loaded, run.config.model.trust_remote_code)
        max_tokens, temperature = int(request["max_tokens"]), float(request["temperature"])
        return generator.stream(prompt_of(request), max_tokens, temperature)

    def _answers(self, request: Request, stopped: Stopped) -> list[Request]:
        """Answers of a model that stands in its folder, to many prompts at once."""
        from engine.backends.base import Interrupted

        def poll() -> None:
            if stopped():
                raise Interrupted

        spec = TokenSpec(**request.get("spec", {})).prompts()
        generator = self._generator((Path(request["model"]), None, spec))
        prompts = [*map(prompt_of, request["prompts"])]
        try:
            answers = generator.answers(
                prompts, int(request["max_tokens"]), float(request["temperature"]), poll
            )
        except Interrupted:
            return []  # nobody waits for them any more
        return [asdict(answer) for answer in answers]

    def _generator(self, wanted: Wanted, trust_remote_code: bool = False) -> "Generator":
        from engine.inference.generation import Generator

        if wanted not in self.loaded:
            while self.loaded and (len(self.loaded) >= WARM or not _has_room(wanted[0])):
                self.loaded.popitem(last=False)  # let go of an old model before the new one is loaded
                gc.collect()
            self.loaded[wanted] = generator = Generator.open(*wanted, trust_remote_code)
            if generator.model.device.type == "cpu":
                self.sharing.start()
        self.loaded.move_to_end(wanted)
        return self.loaded[wanted]

    def _renew(self, request: Request) -> None:
        try:
            secrets.renew(str(request.get("name")), request.get("value"))
        except FtError as error:
            self._send({"id": request.get("id"), "error": _described(error)})

    def _send(self, answer: Request) -> None:
        with self.writing:
            self.answers.write(json.dumps(answer) + "\n")


def _has_room(base: Path) -> bool:
    """Whether another model of this kind fits beside what is loaded, with as much again left free."""
    from engine.hardware.probe import probe
    from engine.models.sizing import shape_of

    machine = probe()
    free = machine.available_bytes if machine.device == "cpu" else machine.gpu_free_bytes or 0
    return free > 2 * shape_of(base).parameters * (4 if machine.device == "cpu" else 2)


def _told(error: Exception) -> FtError:
    """What failed, for a person, where nobody has put it into words."""
    if isinstance(error, OSError) and error.strerror:
        return explained(error)
    return FtError(f"{type(error).__name__}: {error}".removesuffix(": "))


def _described(error: FtError) -> Request:
    described: Request = {"kind": error.kind, "message": error.message, "hint": error.hint}
    if isinstance(error, RecipeError):
        described["problems"] = [asdict(problem) for problem in error.problems]
    return described


if __name__ == "__main__":
    main()
