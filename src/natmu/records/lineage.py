"""How a model comes about, as a value: everything that determines it and nothing else. Its digest names its run folder.

There are few kinds, and each names the models that it starts from by their own values, so that a lineage holds all that
is needed to make the model again.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from natmu.records.data_lineage import DataLineage
from natmu.records.digests import Digest, digest_of
from natmu.records.files import Value
from natmu.records.forgetting import Request
from natmu.records.settings import AnyTraining, Training


class Architecture(Value):
    """A network without its weights.

    Attributes:
        name: Of a model of ours, of a library's as in ``timm:resnet18``, or ``package.module:factory``.
        source: Digest of the file that defines a factory, or of the version of a library; None for a model of ours.
        outputs: What the network returns.
        unit_head: Whether its last linear layer is a head on features that are scaled to one length
            (``natmu.models.UnitLinear``), which can forget exactly.
    """

    name: str
    source: Digest | None = None
    outputs: Literal["logits", "probabilities"] = "logits"
    unit_head: bool = False


class Arithmetic(Value):
    """What changes the last digits of numbers.

    Attributes:
        precision: Of products of matrices.
        processes: How many processes shared the work.
        sync_batch_norm: With several, whether batch normalisation saw the samples of all of them.
    """

    precision: Literal["fp32", "bf16"]
    processes: int = 1
    sync_batch_norm: bool = False


class Forget(Value):
    """Which samples are forgotten, by a rule: with the data and the original model, it gives the same ones again.

    Attributes:
        request: What was asked for.
        seed: Of a random draw; None where nothing is drawn.
        by: The model by which samples are the hardest; None for other requests.
        positions: Digest of the positions, where the request lists them; None for other requests.
        copies: Whether byte-identical copies of these samples are forgotten with them.
        after: What was forgotten before, whose samples it does not hold; None for a first request.
    """

    request: Request
    seed: int | None = None
    by: Trained | Imported | None = None
    positions: Digest | None = None
    copies: bool = False
    after: Forget | None = None


class Everything(Value):
    """All training samples."""

    rule: Literal["everything"] = "everything"


class AllBut(Value):
    """All training samples but those of a forget set and of those before it.

    Attributes:
        forget: The forget set.
    """

    rule: Literal["all but"] = "all but"
    forget: Forget


class HalfOfPool(Value):
    """All but a forget set and those before it, and half of a pool of the forget set and as many test samples.

    Attributes:
        forget: The forget set.
        number: Which half; 2k and 2k + 1 complement each other.
    """

    rule: Literal["half of pool"] = "half of pool"
    forget: Forget
    number: int


Subset = Annotated[Everything | AllBut | HalfOfPool, Field(discriminator="rule")]


class Lineage(Value):
    """What all kinds have in common."""

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that name the run of this lineage."""
        return digest_of(self.plain())

    def __hash__(self) -> int:
        return hash(self.digest)

    def but(self, **changed: object) -> Self:
        """The same lineage with other values of some fields; Pydantic's ``model_copy`` would keep the old digest."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self)(**(fields | changed))


class Initial(Lineage):
    """A network with fresh weights.

    Attributes:
        data: Decides the shape of images, the classes and the normalisation.
        architecture: The network.
        arithmetic: Of its predictions.
        seed: All that the weights depend on beyond the architecture.
        reset: Whether each layer draws its weights anew once the network is built, so that none stay that a factory
            loads.
    """

    kind: Literal["initial"] = "initial"
    data: DataLineage
    architecture: Architecture
    arithmetic: Arithmetic
    seed: int
    reset: bool = False


class Imported(Lineage):
    """A model that was trained elsewhere.

    Attributes:
        data: What it is said to have been trained on.
        architecture: The network.
        arithmetic: Of its predictions.
        weights: Digest of the file.
        recipe: How it is said to have been trained; None where nobody says.
    """

    kind: Literal["imported"] = "imported"
    data: DataLineage
    architecture: Architecture
    arithmetic: Arithmetic
    weights: Digest
    recipe: Training | None


class Backbone(Lineage):
    """A frozen network whose features a head is fitted on, with the features of the data beside it; the head is zero.

    Attributes:
        data: What its features are of.
        architecture: The network, with a head for the classes of the data.
        arithmetic: Of its features.
        weights: Digest of the weights but for those of the head.
        origin: Where the weights come from, as the user said it: a run, a file, a name on a hub.
    """

    kind: Literal["backbone"] = "backbone"
    data: DataLineage
    architecture: Architecture
    arithmetic: Arithmetic
    weights: Digest
    origin: str


class Started(Lineage):
    """What is trained from something, on that one's data.

    Attributes:
        start: Where its weights begin.
    """

    start: Annotated[Initial | Backbone | Stage, Field(discriminator="kind")]

    @property
    def data(self) -> DataLineage:
        """Its data."""
        return self.start.data

    @property
    def architecture(self) -> Architecture:
        """The network."""
        return self.start.architecture

    @property
    def arithmetic(self) -> Arithmetic:
        """Of its training and its predictions."""
        return self.start.arithmetic


class Stage(Started):
    """The model of one shard after some of its slices; what sisa goes back to.

    A stage from which nothing was left out has the same lineage whatever was forgotten elsewhere, so that it is found
    and not trained again.

    Attributes:
        start: The stage before it; the initial weights of the shard for the first.
        recipe: How the whole model is trained, with the division.
        seed: Of the training of the whole model.
        shard: Number of the shard, from 0.
        slices: How many of its slices the stage has seen: its own and those before it, from 1.
        left_out: Digest of the positions that are left out of these slices; None where none are.
    """

    kind: Literal["stage"] = "stage"
    start: Annotated[Initial | Stage, Field(discriminator="kind")]
    recipe: Training
    seed: int
    shard: int
    slices: int
    left_out: Digest | None = None


class Trained(Started):
    """A model that was trained here: an original, a retrained model or a shadow model, by what it was trained on.

    Attributes:
        start: Its initial weights, or the backbone of a head; the user's own function starts where it does, whatever
            these are.
        on: The samples.
        recipe: How it was trained.
        seed: Of the order of samples, augmentation and dropout.
    """

    kind: Literal["trained"] = "trained"
    start: Annotated[Initial | Backbone, Field(discriminator="kind")]
    on: Subset = Everything()
    recipe: Training
    seed: int

    @property
    def reset(self) -> bool:
        """Whether it started from weights that each layer drew anew, and not as an original does."""
        return isinstance(self.start, Initial) and self.start.reset


class Referenced(Lineage):
    """A model that others go on from, by its run, where repeating its whole sequence of requests would be too long.

    Attributes:
        root: Where the sequence began: an original, or a model that was retrained since.
        run: Digest of the lineage of its run.
        arithmetic: Of its predictions.
        forgotten: All that it has forgotten.
    """

    kind: Literal["referenced"] = "referenced"
    root: Trained | Imported = Field(discriminator="kind")
    run: Digest
    arithmetic: Arithmetic
    forgotten: Forget

    @cached_property
    def digest(self) -> str:
        """That of the run."""
        return self.run

    @property
    def data(self) -> DataLineage:
        """Its data."""
        return self.root.data

    @property
    def architecture(self) -> Architecture:
        """The network."""
        return self.root.architecture

    @property
    def recipe(self) -> AnyTraining | None:
        """How the original was trained; None where nobody says."""
        return self.root.recipe


class Made(Lineage):
    """What is made of another model, on that one's data.

    Attributes:
        source: The model.
    """

    source: Trained | Imported | Unlearned | Referenced = Field(discriminator="kind")

    @property
    def data(self) -> DataLineage:
        """Its data."""
        return self.source.data

    @property
    def architecture(self) -> Architecture:
        """The network."""
        return self.source.architecture

    @property
    def recipe(self) -> AnyTraining | None:
        """How the original was trained; None where nobody says."""
        return self.source.recipe


class DroppedOutputs(Value):
    """Outputs that a model lost with the classes that it forgot.

    Attributes:
        layer: The layer that gives the logits, by its name in the user's model.
        classes: Which of its rows are gone.
    """

    layer: str
    classes: tuple[int, ...]


class Unlearned(Made):
    """What a method makes of a model.

    Attributes:
        source: The model that it starts from, which may have forgotten something already.
        forget: What it forgets, after what the source forgot; a shadow model forgets its half of the pool.
        method: Name of the method.
        settings: All settings of the method.
        batch_size: Samples per step.
        seed: Of everything random in the method.
        arithmetic: Of the method and of the predictions.
        dropped: The outputs of the forgotten classes, where they were dropped afterwards; None where all are there.
    """

    kind: Literal["unlearned"] = "unlearned"
    forget: Forget
    method: str
    settings: dict[str, Any]
    batch_size: int
    seed: int
    arithmetic: Arithmetic
    dropped: DroppedOutputs | None = None


class Finding(Made):
    """What is found out about a model and a forget set, and no model itself.

    Attributes:
        forget: The forget set.
        settings: How it is found out.
    """

    forget: Forget
    settings: dict[str, Any]

    @property
    def arithmetic(self) -> Arithmetic:
        """That of the model."""
        return self.source.arithmetic


class Relearned(Finding):
    """How fast a model learns a forget set again: a curve of losses.

    Attributes:
        shown: Forget samples on which the loss is measured, at most.
    """

    kind: Literal["relearned"] = "relearned"
    source: Trained | Unlearned = Field(discriminator="kind")
    shown: int


class Probed(Finding):
    """What can be read within a model and beside a forget set: right answers and nats."""

    kind: Literal["probed"] = "probed"


Model = Initial | Backbone | Imported | Trained | Stage | Unlearned
AnyLineage = Annotated[
    Initial | Backbone | Imported | Trained | Stage | Unlearned | Relearned | Probed, Field(discriminator="kind")
]
