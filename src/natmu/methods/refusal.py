"""What methods cannot do is refused before anything is trained: each checks a stand-in of each of its problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from natmu.errors import ScenarioError
from natmu.methods.base import Method
from natmu.methods.problem import Problem


def unserved_by(methods: Iterable[tuple[str, Method]], problems: Mapping[str, Problem]) -> dict[tuple[str, str], str]:
    """Let each method check each problem.

    Args:
        methods: Label and method.
        problems: By text of the forget request.

    Returns:
        By request and label, why a method does not serve a forget set, where it serves another of them.

    Raises:
        UsageError: A method does not fit the model or its settings, or it serves none of the forget sets.
    """
    unserved: dict[tuple[str, str], str] = {}
    for label, method in methods:
        faults = {text: fault for text, problem in problems.items() if (fault := _fault(method, problem))}
        if len(faults) == len(problems):
            raise next(iter(faults.values()))
        unserved |= {(text, label): str(fault) for text, fault in faults.items()}
    return unserved


def _fault(method: Method, problem: Problem) -> ScenarioError | None:
    """Why a method does not serve a kind of forget set."""
    try:
        method.check(problem)
    except ScenarioError as error:
        return error
    return None
