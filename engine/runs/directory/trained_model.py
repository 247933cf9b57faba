"""TrainedModel: weights that a run, a checkpoint or a folder holds, and all that using them takes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.data.token_spec import TokenSpec
from engine.errors import ConfigError, ModelError
from engine.runs.directory import registry
from engine.runs.directory.checkpoints import latest, step_of
from engine.runs.directory.result import FOLDERS, result_name
from engine.runs.directory.run import Run

TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class TrainedModel:
    """A model to be used: a base with an adapter, or a whole model, which is then its own base."""

    base: str | Path
    """`starter`, a folder or a hub id as recipes name it; a Path where it is a folder that is known to be whole."""
    adapter: Path | None = None
    """Folder in PEFT's layout."""
    spec: TokenSpec = field(default_factory=TokenSpec)
    """Chat template, its variables, and the tokens that were added for the adapter."""
    revision: str | None = None
    """Of a base from the hub."""
    task: str = "causal_lm"
    run: Path | None = None
    """Folder of the run that trained it."""
    step: int | None = None
    """Step of its checkpoint; None where the weights are not trained, or no run tells."""

    @staticmethod
    def of(run: Run) -> "TrainedModel":
        """The weights of the checkpoint that the run's reference named, else its result, else its last checkpoint.

        Raises ConfigError where nothing is trained yet, and where its recipe is gone.
        """
        from engine.models.local import require_regular_files

        config = run.config
        name = result_name(config)
        published = None if run.checkpoint else run.folder / name
        checkpoint = run.checkpoint or latest(run.folder)
        if published is not None and published.is_dir():
            found, step = published, run.state().published
        elif checkpoint is not None and (checkpoint / name).is_dir():
            found, step = checkpoint / name, step_of(checkpoint)
        else:
            raise ConfigError(
                f"Run {run.id} has no trained {name} yet; it is {run.state().status}.",
                "It is there from the first checkpoint on. --base answers with the untrained model.",
            )
        require_regular_files(found)
        untrained = TrainedModel.before(run)
        if name == "model":
            return replace(untrained, base=found, revision=None, step=step)
        spec = replace(untrained.spec, add_tokens=tuple(config.model.add_tokens))
        return replace(untrained, adapter=found, spec=spec, step=step)

    @staticmethod
    def before(run: Run) -> "TrainedModel":
        """The model as it was before a run trained it. Raises ConfigError where the recipe is gone."""
        config = run.config
        spec = TokenSpec.of(config).prompts()
        return TrainedModel(config.model.base, None, spec, config.model.revision, run=run.folder)

    @staticmethod
    def find(reference: str | Path) -> "TrainedModel":
        """The weights that a reference means: a run's id or path, a checkpoint's path, the path of a model or an
        adapter, `starter`, or a model of the hub.

        Raises ConfigError where it means none of these, ModelError where an adapter's files are damaged.
        """
        found = _named(reference)
        return TrainedModel.of(found) if isinstance(found, Run) else found

    @staticmethod
    def find_untrained(reference: str | Path) -> "TrainedModel":
        """The model that those weights were trained on. Raises as `find` does, and ConfigError for a whole model of
        which no run tells what it was."""
        found = _named(reference)
        if isinstance(found, Run):
            return TrainedModel.before(found)
        if found.adapter is None:
            raise ConfigError(
                f"{reference} is a whole model, so there is no model without its adapter.",
                "Name the run that trained it, or the folder of the model that it was made from.",
            )
        return replace(found, adapter=None)

    def base_folder(self, progress: Callable[[str, int, int], None] | None = None) -> Path:
        """The base's folder on this disk; it is fetched where that is needed. Raises ModelError."""
        from engine.models.resolve import is_hub_id, resolve
        from engine.models.starter import NAME, silent

        if isinstance(self.base, Path):
            return self.base
        folder = Path(self.base).expanduser()
        if self.adapter is not None and self.base != NAME and not (is_hub_id(self.base) or folder.is_dir()):
            trained = f"Run {self.run.name}" if self.run else f"The adapter in {self.adapter}"
            raise ModelError(
                f"{trained} was trained on {self.base}, and there is no folder {folder.absolute()}.",
                "Put the model there"
                + (
                    "."
                    if self.run
                    else ", or write where it is into adapter_config.json: base_model_name_or_path"
                ),
            )
        return resolve(self.base, self.revision, progress or silent).folder


def _named(reference: str | Path) -> "TrainedModel | Run":
    """The model in the folder that is named, else the run, else a model by its name. Raises ConfigError, ModelError."""
    from engine.models import adapter_files

    folder = Path(reference).expanduser().absolute()
    if folder.name in FOLDERS and (
        folder.parent.parent.name == "checkpoints" or registry.is_run(folder.parent)
    ):
        return Run.open(folder.parent)
    if (folder / adapter_files.CONFIG).is_file():
        return _adapter_in(folder)
    if (folder / "config.json").is_file():
        return TrainedModel(folder)
    try:
        return Run.open(reference)
    except ConfigError:
        if folder.is_dir():
            raise ConfigError(
                f"{folder} holds no run, model or adapter.",
                f"A model's folder has a config.json, an adapter's an {adapter_files.CONFIG}.",
            ) from None
        if _is_model_name(str(reference)):
            return TrainedModel(str(reference))
        raise


def _is_model_name(reference: str) -> bool:
    """True for the starter and for OWNER/NAME; a name without an owner is more likely a misspelt run's."""
    from engine.models import starter
    from engine.models.resolve import is_hub_id

    return reference == starter.NAME or ("/" in reference and is_hub_id(reference))


def _adapter_in(folder: Path) -> TrainedModel:
    """An adapter of any kind that PEFT or mlx-lm writes: those too which no run can start from."""
    from engine.models import adapter_files
    from engine.models.weight_headers import read_header

    settings = adapter_files.read_settings(folder)
    read_header(adapter_files.weights_file(folder, settings))
    base = adapter_files.base_named(settings)
    if not base:
        raise ModelError(
            f"{folder} does not say which model it was trained on.",
            f"Write its folder or hub id into {adapter_files.CONFIG}: base_model_name_or_path",
        )
    template = folder / TEMPLATE
    spec = TokenSpec(chat_template=str(template) if template.is_file() else "auto").prompts()
    return TrainedModel(base, folder, spec)
