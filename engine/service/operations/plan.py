"""Operations on the text of a recipe: its plan, and the check before training."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.planning.plan import Plan
from engine.service.operation import Context, operation

if TYPE_CHECKING:
    from engine.planning.cached import CachedPlanner


@dataclass(frozen=True)
class RecipeText:
    """A recipe that stands, or would stand, at `path`."""

    text: str
    path: Path


@operation("plan", lane="plan")
def plan(context: Context, request: RecipeText) -> Plan:
    """The plan of a recipe. Raises what planning raises."""
    return context.shared.of(_planner).plan(request.text, request.path)


@operation("check", lane="plan")
def check(context: Context, request: RecipeText) -> None:
    """Check the data and model of a recipe, as `ft train` does before it starts an engine."""
    from engine.config.load import load_text
    from engine.process import preflight

    preflight.check(load_text(request.text, request.path).config)


def _planner() -> "CachedPlanner":
    from engine.planning.cached import CachedPlanner
    from engine.runs.directory.start_adapter import start_of

    return CachedPlanner(start_of)
