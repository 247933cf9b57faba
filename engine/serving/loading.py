"""Models brought up to be served: one alone, or a base with several adapters on it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.backend_spec import BackendSpec, backend_specs
from engine.errors import ConfigError
from engine.hardware.probe import probe
from engine.inference.placement import answering
from engine.models.starter import Progress, silent
from engine.planning.backend_choice import missing
from engine.runs.directory.registry import name_in
from engine.runs.directory.run import Run
from engine.runs.directory.trained_model import TrainedModel
from engine.serving.grammar import Grammars
from engine.serving.served import Catalogue, Served

if TYPE_CHECKING:
    from engine.backends.base import Model


@dataclass(frozen=True)
class Wish:
    """What is to be served: a model under its name, and adapters on its base under theirs."""

    model: TrainedModel
    name: str
    adapters: Mapping[str, TrainedModel]

    @staticmethod
    def of(reference: str, adapters: Mapping[str, str], name: str | None = None) -> "Wish":
        """The models that the references mean. Raises ConfigError where one means none, or names are given twice."""
        model = TrainedModel.find(reference)
        found = {own: TrainedModel.find(one) for own, one in adapters.items()}
        wish = Wish(model, name or name_of(model, reference), found)
        for own, one in wish.adapters.items():
            if own in (wish.name, wish.base_name):
                raise ConfigError(f"--adapter {own}: the name is taken.", "Give the adapter another name.")
            if one.adapter is None:
                raise ConfigError(
                    f"--adapter {own}: {adapters[own]} is a whole model, not an adapter.",
                    "Serve it by a server of its own.",
                )
        if wish.shared and wish.model.adapter is not None and wish.name == wish.base_name:
            raise ConfigError(
                f"The run and its base are both called {wish.name}.", "Name the run: --name NAME"
            )
        return wish

    @property
    def shared(self) -> bool:
        """True if the base answers too, and adapters are told apart row by row."""
        return bool(self.adapters)

    @property
    def base_name(self) -> str:
        """Name of the model as it was before training."""
        return self.name if self.model.adapter is None else Path(str(self.model.base)).name

    def load(self, loading: Progress = silent, before: Callable[[str], None] = lambda _: None) -> "Loaded":
        """Bring the models up; `before` is called with what is loaded. Raises ModelError, ConfigError, MachineError."""
        folder = self.model.base_folder(loading)
        before(folder.name)
        trust = _trusts(self.model)
        if not self.shared:
            spec = answering(folder, self.model.adapter)
            spec.before_import()
            served = served_of(self.name, self.model, folder, None)
            spec.before_load()
            assert spec.open is not None
            model = spec.open(folder, self.model.adapter, served.tokenizer.new, trust)
            return Loaded(model, Catalogue({self.name: served}))
        return self._load_shared(folder, trust, loading)

    def _load_shared(self, folder: Path, trust: bool, loading: Progress) -> "Loaded":
        on_base = dict(self.adapters)
        if self.model.adapter is not None:
            on_base = {self.name: self.model} | on_base
        base = TrainedModel(self.model.base, revision=self.model.revision)
        catalogue = {self.base_name: served_of(self.base_name, base, folder, None)}
        for name, one in on_base.items():
            if one.base_folder(loading).resolve() != folder.resolve():
                raise ConfigError(
                    f"--adapter {name}: it was trained on {one.base}, and the others on {self.model.base}.",
                    "Adapters of one base can share it; serve this one by a server of its own.",
                )
            if one.spec.add_tokens:
                raise ConfigError(
                    f"--adapter {name}: it has tokens of its own, which the base lacks.", "Serve it alone."
                )
            catalogue[name] = served_of(name, one, folder, name)
        adapters = {name: one.adapter for name, one in on_base.items() if one.adapter is not None}
        spec = _sharing(answering(folder, next(iter(adapters.values()))))
        assert spec.open_shared is not None
        spec.before_import()
        spec.before_load()
        return Loaded(spec.open_shared(folder, adapters, trust), Catalogue(catalogue))


@dataclass(frozen=True)
class Loaded:
    """A model that answers, and the names that it answers to."""

    model: "Model"
    catalogue: Catalogue


def name_of(model: TrainedModel, reference: str) -> str:
    """The name that a model is served under where none is given: its run's, else its folder's."""
    return name_in(model.run.name) if model.run else Path(reference).name


def _sharing(answers: BackendSpec) -> BackendSpec:
    """The backend that answers, or the first here that lets adapters share a base. Raises ConfigError."""
    machine = probe()
    for spec in (answers, *backend_specs()):
        if spec.open_shared and machine.device in spec.devices and missing(spec, machine) is None:
            return spec
    raise ConfigError(
        f"The backend {answers.name} serves one adapter at a time.", "Serve each by a server of its own."
    )


def _trusts(model: TrainedModel) -> bool:
    return bool(model.run and Run.open(model.run).config.model.trust_remote_code)


def served_of(name: str, model: TrainedModel, folder: Path, adapter: str | None) -> Served:
    """A model as requests name it; `adapter` is its name in the decoder. Raises ModelError, ConfigError."""
    encoder = model.spec.encoder(folder)
    tokenizer = encoder.tokenizer
    about = model.run.name if model.run else Path(str(model.base)).name
    return Served(name, tokenizer, encoder.room, Grammars(folder, tokenizer.stop_ids), adapter, about)
