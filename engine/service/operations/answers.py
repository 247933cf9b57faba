"""Operations in which a model answers: one conversation as a stream of text, or many prompts in one batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.data.token_spec import TokenSpec
from engine.data.types import Completion, Prompt
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel
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
    model = TrainedModel.before(run) if request.base else TrainedModel.of(run)
    wanted = Wanted(model.base_folder(), model.adapter, model.spec, run.config.model.trust_remote_code)
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
