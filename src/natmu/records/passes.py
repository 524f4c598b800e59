"""What unlearning took in passes over the training set, which do not depend on the machine."""

from __future__ import annotations

from pydantic import Field

from natmu.records.files import Value

FORWARD = 1 / 3
"""What a forward pass costs of a forward and a backward pass."""


class Shown(Value):
    """Samples that went through a model, each as often as it did.

    Attributes:
        trained: Forward and backward. A further backward pass after the same forward pass counts as one of these.
        forward: Forward alone.
    """

    trained: int = Field(0, ge=0)
    forward: int = Field(0, ge=0)

    @property
    def samples(self) -> float:
        """All of them, in units of a forward and a backward pass of one sample."""
        return self.trained + FORWARD * self.forward


class Passes(Value):
    """What a run sent through models, counted where it went; an interrupted run counts what it did before as well.

    The unit of a cost is one forward and one backward pass over all training samples. A forward pass alone counts a
    third of that.

    Attributes:
        training_set: Samples of the training data, those to forget among them.
        request: What was shown after the request came.
        preparation: What may be shown before any request comes; the same for all requests.
    """

    training_set: int = Field(gt=0)
    request: Shown
    preparation: Shown = Shown()

    @property
    def passes(self) -> float:
        """Passes over the training set that the request itself took."""
        return self.request.samples / self.training_set

    @property
    def prepared(self) -> float:
        """Passes over the training set that were made before it came."""
        return self.preparation.samples / self.training_set
