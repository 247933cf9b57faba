"""Operations in which a model answers: one conversation as a stream of text, or many prompts in one batch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from engine.data.token_spec import TokenSpec
from engine.data.types import Completion, Prompt
from engine.errors import ConfigError
from engine.models.local import require_regular_files
from engine.runs.directory.checkpoints import latest
from engine.runs.directory.run import Run
from engine.service.loaded_models import LoadedModels, Wanted
from engine.service.operation import Context, operation, streaming


@dataclass(frozen=True)
class GenerateRequest:
    """A conversation for a trained run."""

    run: Path
    """The folder of a run, or of one of its checkpoints."""
    prompt: Prompt
    max_tokens: int
    temperature: float
    base: bool = False
    """Answer with the model as it was before training."""


@dataclass(frozen=True)
class AnswersRequest:
    """Prompts for the model in a folder; `spec` names its chat template."""

    model: Path
    spec: TokenSpec
    prompts: tuple[Prompt, ...]
    max_tokens: int
    temperature: float


@streaming("generate", lane="model")
def generate(context: Context, request: GenerateRequest) -> Iterator[str]:
    """The answer to a conversation in pieces of text, one for each token."""
    run = Run.open(request.run)
    base, adapter = model_of(run, request.base)
    spec = TokenSpec.of(run.config).prompts()
    # The base has no such tokens, and a model that is trained whole has them already.
    if adapter is not None:
        spec = replace(spec, add_tokens=tuple(run.config.model.add_tokens))
    wanted = Wanted(base, adapter, spec, run.config.model.trust_remote_code)
    generator = context.shared.of(LoadedModels).generator(wanted)
    return generator.stream(request.prompt, request.max_tokens, request.temperature)


@operation("answers", lane="model")
def answers(context: Context, request: AnswersRequest) -> tuple[Completion, ...]:
    """The answers to many prompts; none where the asker has cancelled."""
    from engine.backends.base import Interrupted

    def poll() -> None:
        if context.stopped():
            raise Interrupted

    generator = context.shared.of(LoadedModels).generator(Wanted(request.model, None, request.spec.prompts()))
    try:
        return tuple(generator.answers(request.prompts, request.max_tokens, request.temperature, poll))
    except Interrupted:
        return ()


def model_of(run: Run, base: bool) -> tuple[Path, Path | None]:
    """The model's folder and the adapter's: those of the checkpoint that the run's reference named, else
    the run's result, else those of its last checkpoint.

    With `base`, the model as it was before training. Raises ConfigError where nothing is trained yet.
    """
    from engine.models.resolve import resolve

    config = run.config
    if base:
        return resolve(config.model.base, config.model.revision).folder, None
    result = "model" if config.adapter.type == "none" else "adapter"
    published = None if run.checkpoint else run.folder / result
    checkpoint = run.checkpoint or latest(run.folder)
    trained = published if published and published.is_dir() else checkpoint and checkpoint / result
    if trained is None or not trained.is_dir():
        raise ConfigError(
            f"Run {run.id} has no trained {result} yet; it is {run.state().status}.",
            "It is there from the first checkpoint on. --base answers with the untrained model.",
        )
    require_regular_files(trained)
    if result == "model":
        return trained, None
    return resolve(config.model.base, config.model.revision).folder, trained
