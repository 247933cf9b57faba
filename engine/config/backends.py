"""What a recipe may say as `backend`: ft's own, and those that other packages bring."""

from typing import Annotated, Any

from pydantic import AfterValidator, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError

from engine import plugins

OWN = ("auto", "mlx", "unsloth", "peft")


def _known(name: str) -> str:
    if name not in OWN and name not in plugins.installed(plugins.BACKENDS):
        raise PydanticCustomError("unknown_backend", "there is no such backend")
    return name


class _Names:
    """The names there are on this machine, looked for when the schema is shown and not at every start."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "enum": [*OWN, *sorted(plugins.installed(plugins.BACKENDS))]}


BackendKey = Annotated[str, AfterValidator(_known), _Names()]
