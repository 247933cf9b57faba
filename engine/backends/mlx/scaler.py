"""fp16 overflows and underflows: its loss is scaled up, and the scale follows what the gradients stand."""

START, GROWTH_EVERY = 2.0**16, 2000
"""The first scale, and after how many steps without an overflow it is doubled (torch's GradScaler does the same)."""


class LossScale:
    """Factor of a loss before its gradients are taken; 1 where none is needed."""

    def __init__(self, needed: bool) -> None:
        self.needed = needed
        self.state = [START if needed else 1.0, 0.0]
        """The scale, and the steps since it was last changed."""

    @property
    def value(self) -> float:
        return self.state[0]

    def allows(self, finite: bool) -> bool:
        """Take note of a step's gradients; a step whose gradients are no numbers would poison the weights."""
        if self.needed:
            scale, steps = self.state
            if not finite:
                self.state = [scale / 2, 0.0]
            else:
                self.state = [scale * 2, 0.0] if steps + 1 == GROWTH_EVERY else [scale, steps + 1]
        return finite
