"""Operations in which a model answers: one conversation as a stream of text, or many prompts in one batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.data.token_spec import TokenSpec
from engine.data.types import Completion, Prompt, Sampling
from engine.inference.answer import Piece
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel
from engine.service.loaded_models import LoadedModels, Wanted
from engine.service.operation import Context, operation, streaming


@dataclass(frozen=True)
class GenerateRequest:
    """A conversation for a trained model."""

    model: str
    """A run, one of its checkpoints, or the folder of a model or an adapter, as `TrainedModel.find` takes it."""
    prompt: Prompt
    sampling: Sampling
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
def generate(context: Context, request: GenerateRequest) -> Iterator[Piece]:
    """The answer to a conversation in pieces, one for each token."""
    find = TrainedModel.find_untrained if request.base else TrainedModel.find
    model = find(request.model)
    trusted = model.run is not None and Run.open(model.run).config.model.trust_remote_code
    generator = context.shared.of(LoadedModels).generator(Wanted.of(model, trusted))
    return generator.stream(request.prompt, request.sampling)


@operation("answers", lane="model")
def answers(context: Context, request: AnswersRequest) -> tuple[Completion, ...]:
    """The answers to many prompts; none where the asker has cancelled."""
    from engine.backends.base import Interrupted

    def poll() -> None:
        if context.stopped():
            raise Interrupted

    sampling = Sampling(request.max_tokens, request.temperature)
    generator = context.shared.of(LoadedModels).generator(Wanted(request.model, None, request.spec.prompts()))
    try:
        return tuple(generator.answers(request.prompts, sampling, poll))
    except Interrupted:
        return ()
