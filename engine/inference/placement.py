"""The backend that answers: the first at home on this machine that holds the model and its adapter."""

from pathlib import Path

from engine.backend_spec import BackendSpec, backend_specs
from engine.errors import ModelError
from engine.hardware.probe import probe
from engine.models import adapter_files
from engine.models.local import read_config
from engine.planning.backend_choice import missing


def answering(base: Path, adapter: Path | None) -> BackendSpec:
    """The backend for answers of the model in `base`, with the adapter in `adapter` where there is one.

    On a Mac that is MLX where it knows both, and torch elsewhere. Raises ModelError, and MachineError where none is
    installed.
    """
    machine, model_type = probe(), str(read_config(base).get("model_type"))
    settings = None
    if adapter is not None:
        try:
            settings = adapter_files.read_settings(adapter)
        except ModelError:
            settings = {}  # what loads it says what is wrong with it
    able = [spec for spec in backend_specs() if spec.open and spec.home in (None, machine.device)]
    for spec in able:
        if missing(spec, machine) is None and spec.holds(machine, model_type, settings):
            return spec
    problem = missing(able[-1], machine)
    assert problem is not None  # torch holds every model
    raise problem
