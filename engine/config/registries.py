"""Registry keys: names in a recipe that are ft's own or another package's, as backends, formats, methods, metrics."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError

from engine import methods, plugins
from engine.metrics import registry as metrics

BACKENDS = ("auto",)
"""The rest of them are entry points, ft's own too."""
FORMATS = (
    "auto",
    "chat",
    "sharegpt",
    "alpaca",
    "preference",
    "kto",
    "prompt_completion",
    "completion",
)
"""Names alone, so that `ft validate` imports no reader of rows; `data/formats/registry.py` has the formats."""
TEMPLATES = ("auto", "chatml", "llama3", "alpaca", "mistral", "gemma", "phi")
METHODS = tuple(methods.OWN)
METRICS = metrics.computed()
BEST = (metrics.EVAL_LOSS, *METRICS, *metrics.reported())


def _known(own: tuple[str, ...], group: str) -> Callable[[str], str]:
    def check(name: str) -> str:
        if name not in own and name not in plugins.installed(group):
            raise PydanticCustomError("unknown_name", "there is no such name")
        return name

    return check


class _Names:
    """The names known on this machine, looked up when the schema is shown and not at every start."""

    def __init__(self, own: tuple[str, ...], group: str) -> None:
        self.own, self.group = own, group

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "enum": [*self.own, *plugins.installed(self.group)]}


BackendKey = Annotated[
    str, AfterValidator(_known(BACKENDS, plugins.BACKENDS)), _Names(BACKENDS, plugins.BACKENDS)
]
FormatKey = Annotated[str, AfterValidator(_known(FORMATS, plugins.FORMATS)), _Names(FORMATS, plugins.FORMATS)]
TemplateKey = Annotated[
    str, AfterValidator(_known(TEMPLATES, plugins.TEMPLATES)), _Names(TEMPLATES, plugins.TEMPLATES)
]
MethodKey = Annotated[str, AfterValidator(_known(METHODS, plugins.METHODS)), _Names(METHODS, plugins.METHODS)]
MetricKey = Annotated[str, AfterValidator(_known(METRICS, plugins.METRICS)), _Names(METRICS, plugins.METRICS)]
BestKey = Annotated[str, AfterValidator(_known(BEST, plugins.METRICS)), _Names(BEST, plugins.METRICS)]
