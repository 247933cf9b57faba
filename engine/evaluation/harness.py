"""Tasks of lm-evaluation-harness (the extra `eval`), scored by a loaded model."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.backends.base import Model
from engine.backends.refilled import greedy_answers
from engine.data.tokenization.tokenizer import Tokenizer
from engine.errors import ConfigError, MachineError, first_line
from engine.evaluation.measuring import Measuring
from engine.evaluation.scores import ANSWER_ROWS, within_memory

if TYPE_CHECKING:
    from lm_eval.api.model import TemplateLM

MOST_TOKENS = 256
"""Most tokens of an answer where a task names none, as in lm-eval's own models."""
POSITIONS = 2048
"""Tokens of a text and its context where the model sets no bound."""


@dataclass(frozen=True)
class Scored:
    """One task's score with its standard error; `metric` is as lm-eval names it, `acc,none`."""

    task: str
    metric: str
    value: float
    error: float | None


def names(text: str) -> list[str]:
    """Tasks with commas between them; the path of a task's YAML file is made absolute."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    return [
        str(Path(name).expanduser().absolute()) if name.endswith((".yaml", ".yml")) else name
        for name in found
    ]


def require() -> None:
    """Raise MachineError where lm-eval is not installed."""
    from importlib.util import find_spec

    if find_spec("lm_eval") is None:
        raise MachineError(
            "--tasks needs lm-evaluation-harness, which is not installed.", "pip install 'ft-studio[eval]'"
        )


def score(
    tasks: Sequence[str], model: Model, tokenizer: Tokenizer, measuring: Measuring, positions: int | None
) -> list[Scored]:
    """Scores of the tasks, prompts as lm-eval writes them, without a chat template, as published figures are.

    Raises ConfigError for a task that there is not, or that cannot be run here.
    """
    import lm_eval
    from lm_eval.tasks import TaskManager

    files = [Path(task) for task in tasks if Path(task).suffix in (".yaml", ".yml")]
    for file in files:
        if not file.is_file():
            raise ConfigError(
                f"{file}: no such file.", "A task of your own is a YAML file: --tasks ./mine.yaml"
            )
    folders = sorted({str(file.parent) for file in files})
    # Looking through lm-eval's own thousands of tasks takes many seconds.
    manager = TaskManager(include_path=folders or None, include_defaults=len(files) < len(tasks))
    wanted = [_name(Path(task)) if Path(task) in files else task for task in tasks]
    unknown = [task for task in wanted if task not in manager.all_tasks]
    if unknown:
        raise ConfigError(f"lm-eval has no task {unknown[0]!r}.", "Its list: lm-eval ls tasks")
    harness = harness_model(model, tokenizer, measuring, positions)
    try:
        found = lm_eval.simple_evaluate(model=harness, tasks=wanted, task_manager=manager, log_samples=False)
    except Exception as error:  # a task may fetch data, or run code of its own
        if error is harness.failure:
            raise
        raise ConfigError(
            f"lm-eval cannot run {', '.join(wanted)}: {type(error).__name__}: {first_line(error)}",
            "Tasks of lm-eval fetch their data from the hub; the whole message is in the run's worker.log.",
        ) from error
    return _scores(found["results"] if found else {})


def harness_model(
    model: Model, tokenizer: Tokenizer, measuring: Measuring, positions: int | None
) -> "TemplateLM":
    """The model as lm-eval asks it: log-likelihoods by `Model.logps`, greedy answers many at a time."""
    from lm_eval.api.model import TemplateLM
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    bound = positions or POSITIONS

    class Harness(TemplateLM):  # type: ignore[misc]  # lm-eval is read as untyped
        failure: Exception | None = None
        """What went wrong as the model answered: an error of ours, a stop, or a lack of memory."""

        @property
        def eot_token_id(self) -> int:
            return tokenizer.eos_id

        @property
        def prefix_token_id(self) -> int:
            return tokenizer.prefix_ids[0] if tokenizer.prefix_ids else tokenizer.eos_id

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
            ids = tokenizer.encode([string], special=add_special_tokens is not False)[0]
            prefix = tokenizer.prefix_ids
            doubled = prefix and ids[: 2 * len(prefix)] == [*prefix, *prefix]  # the text had it already
            return ids[len(prefix) :] if doubled else ids

        def _loglikelihood_tokens(self, requests: Any, **_: Any) -> list[tuple[float, bool]]:
            pairs = [_within(context, said, bound) for _, context, said in requests]
            with self._ours():
                sums = measuring.answers_logps(model, pairs)
                likeliest = _likeliest(model, pairs, measuring)
            return [
                (total, likeliest[tuple(context)][: len(said)] == said)
                for total, (context, said) in zip(sums, pairs, strict=True)
            ]

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
            texts = [self.tok_encode(request.args[0], add_special_tokens=False) for request in requests]
            windows = [
                [
                    *map(
                        make_disjoint_window,
                        get_rolling_token_windows(ids, self.prefix_token_id, bound - 1, 1),
                    )
                ]
                for ids in texts
            ]
            with self._ours():
                return [sum(measuring.answers_logps(model, each)) for each in windows]

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
            with self._ours():
                asked = [_generation(request, self._prompt, bound) for request in requests]
                answers = _greedy(model, asked, tokenizer.stop_ids, measuring)
            return [
                _until(tokenizer.decode(answer), request.args[1].get("until") or [])
                for answer, request in zip(answers, requests, strict=True)
            ]

        def _prompt(self, text: str) -> list[int]:
            return self.tok_encode(text) or [self.prefix_token_id]

        @contextmanager
        def _ours(self) -> Iterator[None]:
            try:
                yield
            except Exception as error:
                self.failure = error
                raise

    return Harness()


def _within(context: Sequence[int], said: Sequence[int], bound: int) -> tuple[list[int], list[int]]:
    """Context and answer within the model's positions; the beginning of a long context is left out."""
    said = list(said)[-(bound - 1) :]
    return list(context)[-(bound - len(said)) :], said


def _generation(request: Any, encode: Callable[[str], list[int]], bound: int) -> tuple[list[int], int]:
    """Prompt of a request and most tokens of its answer. Raises ConfigError where the answer is to be drawn."""
    context, settings = request.args
    if settings.get("do_sample") or float(settings.get("temperature") or 0) > 0:
        raise ConfigError(
            f"The task {request.task_name} draws its answers, and ft scores greedy ones.",
            "Set do_sample: false in its generation_kwargs.",
        )
    most = min(int(settings.get("max_gen_toks", MOST_TOKENS)), bound - 1)
    return encode(context)[-(bound - most) :], most


def _likeliest(
    model: Model, pairs: Sequence[tuple[list[int], list[int]]], measuring: Measuring
) -> Mapping[tuple[int, ...], list[int]]:
    """What the model itself would say after each context, as far as the longest answer to it that is scored."""
    longest: dict[tuple[int, ...], int] = {}
    for context, said in pairs:
        longest[tuple(context)] = max(longest.get(tuple(context), 1), len(said))
    answers = _greedy(model, list(longest.items()), frozenset(), measuring)
    return dict(zip(longest, answers, strict=True))


def _greedy(
    model: Model,
    asked: Sequence[tuple[Sequence[int], int]],
    stop: Collection[int],
    measuring: Measuring,
) -> list[list[int]]:
    """The answer to each prompt, of at most so many tokens, in their order; many are written together."""
    prompts, most = [prompt for prompt, _ in asked], [tokens for _, tokens in asked]

    def answered(rows: int) -> list[list[int]]:
        measuring.poll(0, len(asked))
        found: dict[int, list[int]] = {}
        for place, answer in greedy_answers(model, prompts, most, stop, rows, measuring.check):
            found[place] = answer
            measuring.poll(len(found), len(asked))
        return [found[place] for place in range(len(asked))]

    answers, _ = within_memory(answered, ANSWER_ROWS, measuring.smaller)
    return answers


def _until(text: str, stops: Sequence[str] | str) -> str:
    for stop in [stops] if isinstance(stops, str) else stops:
        if stop:
            text = text.split(stop)[0]
    return text


def _name(file: Path) -> str:
    """Name of the task in a YAML file. Raises ConfigError."""
    import re

    found = re.search(r"^task:\s*[\"']?([\w./-]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ConfigError(f"{file} names no task.", "It needs a line `task: NAME`.")
    return found[1]


def _scores(results: Mapping[str, Mapping[str, Any]]) -> list[Scored]:
    found = []
    for task, values in results.items():
        for metric, value in values.items():
            name, _, kind = metric.partition(",")
            if name.endswith("_stderr") or not isinstance(value, int | float) or not kind:
                continue
            error = values.get(f"{name}_stderr,{kind}")
            found.append(Scored(task, metric, float(value), error if isinstance(error, float) else None))
    return found
