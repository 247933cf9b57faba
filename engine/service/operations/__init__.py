"""Operations of the service, a module for each group. Their modules are light: what computes is imported in a call."""

from collections.abc import Mapping
from typing import Any

from engine.service.operation import Operation, Stream
from engine.service.operations import answers, data, plan, shape, token

OPERATIONS: Mapping[str, Operation[Any, Any] | Stream[Any, Any]] = {
    operation.name: operation
    for operation in (
        answers.generate,
        answers.answers,
        data.rows,
        data.preview,
        data.lengths,
        data.find,
        plan.plan,
        plan.check,
        shape.shape,
        token.token,
    )
}
"""All operations by name."""
