"""Sections of a recipe that are named after a training method, as `dpo:`; `engine.methods` says which there are."""

from collections.abc import Iterable, Iterator
from dataclasses import MISSING, fields
from typing import Annotated, Any, get_type_hints

from pydantic import AfterValidator, BaseModel, Field, create_model
from pydantic_core import PydanticCustomError

from engine import methods, plugins
from engine.config.values import Section


def _section_name(name: str) -> str:
    if name not in methods.OWN and name not in plugins.installed(plugins.METHODS):
        raise PydanticCustomError("extra_forbidden", "there is no such key")
    return name


SectionName = Annotated[str, AfterValidator(_section_name)]
"""Name of a method that is installed here."""


def section_model(config: type) -> type[BaseModel]:
    """The pydantic model of a method's `config`: itself, or one with the fields of a dataclass."""
    if issubclass(config, BaseModel):
        return config
    types = get_type_hints(config, include_extras=True)
    keys: dict[str, Any] = {
        field.name: (
            types[field.name],
            Field(default_factory=field.default_factory)
            if field.default_factory is not MISSING
            else ...
            if field.default is MISSING
            else field.default,
        )
        for field in fields(config)  # type: ignore[arg-type]
    }
    return create_model(config.__name__, __base__=Section, __module__=config.__module__, **keys)


def read_section(name: str, config: type, section: Any) -> Any:
    """The section as a value of the method's `config`. Raises pydantic's ValidationError, located in the section."""
    if isinstance(section, config):
        return section
    model = section_model(config)
    whole = create_model("Recipe", **{name: (model, ...)})  # type: ignore[call-overload]
    body = {} if section is None else section  # left out, or all of its keys are commented out
    found = getattr(whole.model_validate({name: body}, strict=True, extra="forbid"), name)
    return found if model is config else config(**{key: getattr(found, key) for key in model.model_fields})


def misplaced(chosen: str, sections: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Sections that the chosen method does not read, each with the reason."""
    for name in sections:
        if name != chosen:
            yield (
                name,
                f"is the section of training.method: {name}, and training.method is {chosen}; "
                f"leave it out, or use training.method: {name}",
            )
        elif methods.method_named(name).config is None:
            yield name, f"training.method: {name} has no keys of its own; leave it out"
