"""Schema of `train.yml`: its sections, and the combinations of their values that work."""

from pydantic import model_validator

from engine.config.combinations import impossible
from engine.config.sections import Recipe


class TrainConfig(Recipe):
    """A whole recipe. Besides the sections below it has one named after its method, where that has keys of its own."""

    @model_validator(mode="after")
    def _combinations(self) -> "TrainConfig":
        """Refuse what cannot work together: one line for each, the key at fault in front."""
        problems = impossible(self)
        if problems:
            raise ValueError("\n".join(problems))
        return self
