"""Which classes lose their outputs, in the Python interface."""

from __future__ import annotations

from torch import nn

from natmu.data import ImageData, parse_forget, resolve_forget
from natmu.errors import ModelError, SettingError
from natmu.models import WithoutOutputs
from natmu.types import ForgetSet


def classes_to_drop(forgotten: ForgetSet) -> tuple[int, ...]:
    """The classes that lose their outputs with their samples.

    Raises:
        SettingError: No whole classes are forgotten.
    """
    if forgotten.scenario != "class":
        raise SettingError(
            f"drop_class takes the output of a class away, and {forgotten.request} forgets no whole class; give "
            'forget="class:NAME".'
        )
    return forgotten.classes


def refuse_without_outputs(model: nn.Module) -> None:
    """Refuse to forget more with a model that lost outputs."""
    if isinstance(model, WithoutOutputs):
        raise ModelError(
            "model no longer has an output for a class that it forgot, so no method can start from it. Start from the "
            "model before that, and drop the class with the last request."
        )


def classes_asked(forget: object, data: ImageData) -> tuple[int, ...]:
    """The classes that are forgotten as a whole, where that is asked for; known without any model."""
    if isinstance(forget, ForgetSet):
        return forget.classes if forget.scenario == "class" else ()
    if not isinstance(forget, str) or parse_forget(forget).kind != "class":
        return ()
    return resolve_forget(parse_forget(forget), data, seed=0).classes
