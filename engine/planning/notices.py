"""Warnings that come with a plan, or with a recipe before there is one: it can run, but ft is not tested with it."""

from engine.backend_spec import BackendName
from engine.config.adapters import PROMPT_TYPES, Adapter
from engine.config.schema import TrainConfig
from engine.errors import ModelError, Notice
from engine.models import starter
from engine.models.adapters import adapted
from engine.models.architectures import untested
from engine.models.shape import ModelShape
from engine.text import listed

DEFAULT = Adapter()


def of_model(
    shape: ModelShape, backend: BackendName, adapter: Adapter = DEFAULT, own_code: bool = False
) -> tuple[Notice, ...]:
    """Warnings for a model that this backend trains with that adapter; `own_code`: the model's own code may run."""
    found = untested(shape.architecture, backend, _how(shape, adapter), own_code)
    return () if found is None else (found,)


def of_recipe(config: TrainConfig) -> tuple[Notice, ...]:
    """Warnings for a recipe whose model may not be here yet: then there are none. Reads its config.json alone."""
    base, revision = config.model.base, config.model.revision
    if base == starter.NAME:  # on its first use it is converted, which is nothing to wait for here
        return ()
    # The libraries that these need take longer than all else that checks a recipe.
    from engine.models.local import read_config
    from engine.models.resolve import on_disk

    try:
        kind = read_config(on_disk(base, revision)).get("model_type")
    except ModelError:  # a run fetches the model, or says what is wrong with it
        return ()
    backend = None if config.backend == "auto" else config.backend
    own_code = config.model.trust_remote_code
    found = untested(kind, backend, own_code=own_code) if isinstance(kind, str) else None
    return () if found is None else (found,)


def _how(shape: ModelShape, adapter: Adapter) -> str:
    """What is trained, in words."""
    if adapter.type == "none":
        return "in all its weights"
    if adapter.type in PROMPT_TYPES:
        return "with virtual tokens in front of each row"
    wanted = adapter.target_modules
    if wanted == "all-linear":
        names = dict.fromkeys(layer.name for layer in adapted(shape, wanted))
    else:  # names, or whole paths from an adapter that is trained on
        names = dict.fromkeys(path.rpartition(".")[2] for path in wanted)
    return f"with adapters on {listed(names)}" if names else "though none of its layers is known to be linear"
