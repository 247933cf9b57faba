"""Kinds of values and the base of all sections of a recipe."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

YES = ("true", "yes", "on")
NO = ("false", "no", "off")


EXACT = 2**53
"""Beyond it a float no longer stands for a single whole number."""


def _switch(value: Any) -> Any:
    """`yes`, `no`, `on` and `off`, which YAML 1.2 reads as text, mean what they say where a switch is."""
    word = value.lower() if isinstance(value, str) else None
    return True if word in YES else False if word in NO else value


def _whole(value: Any) -> Any:
    """`1e3` is a whole number, though YAML reads it as a float."""
    exact = isinstance(value, float) and value.is_integer() and abs(value) < EXACT
    return int(value) if exact else value


Auto = Literal["auto"]
Whole = BeforeValidator(_whole)
PositiveInt = Annotated[int, Field(gt=0), Whole]
Switch = Annotated[bool, BeforeValidator(_switch)]
AutoSwitch = Annotated[Auto | bool, BeforeValidator(_switch)]
Checkpointing = Annotated[Literal["auto", "offload"] | bool, BeforeValidator(_switch)]
Text = Annotated[str, Field(min_length=1)]


def pattern(form: str, rule: str) -> Any:
    """Text of a certain form, and that form in words (editors show them, and so do our errors)."""
    return Field(pattern=form, json_schema_extra={"patternErrorMessage": rule})


Reference = Annotated[str, pattern(r"^[^\x00]+$", "some text")]
"""Text that may be a path: no system accepts one with a zero byte."""


class Section(BaseModel):
    """A mapping of the recipe: frozen, and closed to keys that it does not know.

    Pydantic could read the text under each field itself (`use_attribute_docstrings`), but would at every
    start; `engine.config.rules` reads it where it is shown.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, serialize_by_alias=True
    )

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: Any) -> Any:
        """A section whose keys are all commented out is its defaults."""
        return {} if value is None else value
