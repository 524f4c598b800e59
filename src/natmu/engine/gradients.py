"""Gradients of a loss for each sample on its own, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.func import grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from natmu.data.batches import Samples, render
from natmu.data.images import ImageData
from natmu.engine import processes
from natmu.engine.compute import Compute
from natmu.engine.functional import called_with
from natmu.engine.modes import evaluating
from natmu.engine.passes import counted_as
from natmu.engine.predict import EVALUATION_BATCH
from natmu.engine.products import Keep, PerSample, Rule, Unserved, everything
from natmu.progress import say, task
from natmu.records.passes import Shown

SampleLoss = Callable[[Tensor, Tensor], Tensor]
"""From the logits of one sample, float32 ``(C,)``, and its label, an int64 scalar, to a scalar."""

CHUNK_BYTES = 256 * 2**20
"""What the gradients of a chunk of samples, and the activations that they come from, may take."""

PIECE_BYTES = 8 * 2**20
"""What the gradients of one weight may take while they are summed; larger pieces leave a CPU's cache."""

REFUSALS = (RuntimeError, ValueError, IndexError, TypeError)
"""How ``vmap`` turns down what a model does."""

Way = Callable[[nn.Module, Tensor, Tensor, SampleLoss], list[Tensor]]


def per_sample_gradients(
    model: nn.Module, data: ImageData, samples: Samples, compute: Compute, function: SampleLoss
) -> Iterator[list[Tensor]]:
    """Gradients of a loss of each sample, chunk by chunk, in eval mode.

    They equal those of one backward pass per sample to 1e-5 of their size, except where rounding takes the input of a
    rectifier to the other side of 0. Always in fp32, TF32 left out: squares of gradients span many powers of ten, and
    what is selected by their ratios should not depend on the precision of the training. The model's modes are its
    own between chunks, and its statistics, weights and ``grad`` are never touched.

    Memory does not grow with the number of samples: a chunk has as many as keep gradients and activations within
    256 MiB, at most 512, or a single one where that alone is larger. What is computed on the way takes as much again.

    Where all layers are convolutions, linear layers, batch or layer normalisation, each with weights of its own, the
    samples go through the model together (see ``natmu.engine.products``); other models go through ``torch.func``, and
    those that it cannot serve go sample by sample.

    With several processes, each computes all rows, and a last bit may differ between them.

    Args:
        model: On the device.
        data: Source of the images.
        samples: The rows, shown as they are, un-augmented.
        compute: The device.
        function: Loss of one sample.

    Yields:
        For each parameter that requires a gradient, in the order of ``trainable``, float32 ``(B, *shape)``: one row
        per sample, in the order of the rows. Weights that the loss does not reach have gradients of 0.
    """
    work = _Work(model, data, samples, compute, function)
    rows = torch.arange(len(samples))
    chunks = torch.split(rows, work.chunk) if len(rows) else ()
    with task("gradients", len(chunks)) as advance:
        for chunk in chunks:
            yield [gradient.float() for gradient in work.gradients(chunk)]
            advance()


def mean_over_samples(
    model: nn.Module,
    data: ImageData,
    samples: Samples,
    compute: Compute,
    function: SampleLoss,
    transform: Callable[[Tensor], Tensor],
) -> list[Tensor]:
    """The mean over all samples of a function of each one's gradient, such as its square.

    As ``per_sample_gradients``, in the same memory. Sums over chunks are in fp64. Several processes share the work, and
    each has the same result.

    Args:
        model: On the device.
        data: Source of the images.
        samples: The rows, at least one.
        compute: The device.
        function: Loss of one sample.
        transform: Applied to each weight's gradients ``(B, *shape)``, element by element.

    Returns:
        float32 of the shape of each parameter that requires a gradient, in the order of ``trainable``.
    """
    work = _Work(model, data, samples, compute, function)
    rows = torch.arange(len(samples)).tensor_split(processes.count())[processes.rank()]
    totals = [torch.zeros_like(weight, dtype=torch.float64, requires_grad=False) for weight in trainable(model)]
    with task("gradients", len(rows)) as advance:
        while len(rows):
            size = work.large_chunk if work.streams else work.chunk
            for total, part in zip(totals, work.sums(rows[:size], transform), strict=True):
                total.add_(part)
            for _ in rows[:size]:
                advance()
            rows = rows[size:]
    means = [processes.total(total).div_(len(samples)).float() for total in totals]
    processes.same_everywhere(means)
    return means


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that require a gradient, in the model's order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def chunk_size(sample_bytes: int) -> int:
    """Samples that are held at a time, where what is held of one takes so many bytes."""
    return max(1, min(EVALUATION_BATCH, CHUNK_BYTES // max(1, sample_bytes)))


class _Work:
    """The gradients of some rows, by the fastest way that serves the model.

    Attributes:
        chunk: Rows whose gradients are held at a time.
        large_chunk: Rows that go through the model at a time where gradients are not held.
    """

    def __init__(
        self, model: nn.Module, data: ImageData, samples: Samples, compute: Compute, function: SampleLoss
    ) -> None:
        device = compute.device
        self._model, self._data, self._compute, self._function = model, data, compute, function
        self._samples = Samples(samples.positions.to(device), samples.labels.to(device), samples.augmented)
        self._ways: list[Way] = [_by_layers, _by_vmap, _in_turn]
        self._checked = False
        if len(samples):
            images, _ = self._shown(torch.arange(1))
            with exact(model, compute), counted_as(model, Shown()):
                activations = _activation_bytes(model, images)
            self.chunk = chunk_size(activations + sum(4 * weight.numel() for weight in trainable(model)))
            self.large_chunk = chunk_size(activations)

    @property
    def streams(self) -> bool:
        """Whether sums need not hold the gradients of all their rows."""
        return self._checked and self._ways[0] is _by_layers

    def gradients(self, rows: Tensor) -> list[Tensor]:
        """One per row, ``(B, *shape)``, of each trainable weight."""
        images, labels = self._shown(rows)
        with exact(self._model, self._compute), counted_as(self._model, Shown(trained=len(rows))):
            return self._by_first(images, labels)

    def sums(self, rows: Tensor, transform: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """The sum over rows of a function of their gradients, of each trainable weight."""
        if not self.streams:
            return [_sum_of_rows(transform(gradient)) for gradient in self.gradients(rows)]

        def keep(weight: nn.Parameter, rule: Rule, gradient: Tensor) -> Tensor:
            size = max(1, PIECE_BYTES // (4 * weight.numel()))
            pieces = [slice(start, start + size) for start in range(0, len(gradient), size)]
            total = torch.zeros_like(weight, requires_grad=False)
            for piece in pieces:
                total += _sum_of_rows(transform(rule(gradient, piece)))
            return total

        images, labels = self._shown(rows)
        with exact(self._model, self._compute), counted_as(self._model, Shown(trained=len(rows))):
            return _by_layers(self._model, images, labels, self._function, keep)

    def _shown(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Images and labels of these rows."""
        rows = rows.to(self._compute.device)
        return render(self._data, self._samples, rows), self._samples.labels[rows]

    def _by_first(self, images: Tensor, labels: Tensor) -> list[Tensor]:
        """Gradients by the first of the ways that serves the model; those that do not are taken off the list.

        The first way takes each sample's logits for its own, which only a trial can show: the first time that several
        samples go together, one with a large gradient must have the same one when it is alone.
        """
        given = self._model, images, labels, self._function
        while True:
            way = self._ways[0]
            try:
                gradients = way(*given)
                if way is not _by_layers or self._checked or len(images) == 1:
                    return gradients
                if _as_alone(gradients, *given):
                    self._checked = True
                    return gradients
            except torch.OutOfMemoryError:
                raise
            except (*REFUSALS, Unserved):
                if len(self._ways) == 1:
                    raise  # one sample after another is what models are made for: the fault is the model's own
            self._ways.pop(0)
            if len(self._ways) == 1:
                say("gradients: vmap cannot serve this model, so its samples go one by one")


@contextmanager
def exact(model: nn.Module, compute: Compute) -> Iterator[None]:
    """Inside, the model is in eval mode and computes in fp32, reproducibly, by operations that ``vmap`` knows."""
    cudnn = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    whole = torch.autocast(compute.device.type, enabled=False)
    with evaluating(model), compute.kernels(), cudnn, whole, sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
        yield


def _sum_of_rows(rows: Tensor) -> Tensor:
    """``rows.sum(0)`` as a product in the order of memory, which a CPU computes several times faster.

    Args:
        rows: ``(B, *shape)``.
    """
    axes = sorted(range(1, rows.dim()), key=rows.stride().__getitem__, reverse=True)
    dense = rows.permute(0, *axes)
    total = rows.new_ones(len(rows)) @ dense.reshape(len(rows), -1)
    places = [axes.index(axis) for axis in range(1, rows.dim())]
    return total.view(dense.shape[1:]).permute(places)


def _as_alone(gradients: list[Tensor], model: nn.Module, images: Tensor, labels: Tensor, function: SampleLoss) -> bool:
    """Whether the sample with the largest gradient of the last weight has the same gradients when it is alone."""
    row = int(gradients[-1].reshape(len(images), -1).norm(dim=1).argmax())
    alone = _in_turn(model, images[row : row + 1], labels[row : row + 1], function)
    sizes = torch.stack([part.norm() for part in alone])
    errors = torch.stack([(part[row] - own[0]).norm() for part, own in zip(gradients, alone, strict=True)])
    return bool((errors <= 1e-2 * sizes + 1e-6 * sizes.norm()).all())


def _by_layers(
    model: nn.Module, images: Tensor, labels: Tensor, function: SampleLoss, keep: Keep = everything
) -> list[Tensor]:
    """One pass over all samples, and products of each layer's inputs and output gradients."""
    weights = trainable(model)
    layers = PerSample(weights, len(images), keep)
    with layers:
        logits = model(images)
    losses = vmap(function)(logits.float(), labels)
    return layers.gradients(losses.sum())


def _by_vmap(model: nn.Module, images: Tensor, labels: Tensor, function: SampleLoss) -> list[Tensor]:
    """``torch.func``: the gradient of a pure function of the weights, batched over samples."""
    named = dict(model.named_parameters())
    moving = {name: weight.detach() for name, weight in named.items() if weight.requires_grad}
    fixed = {name: weight.detach() for name, weight in named.items() if not weight.requires_grad}
    fixed |= {name: buffer.clone() for name, buffer in model.named_buffers()}

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = called_with(model, weights | fixed, image.unsqueeze(0))
        return function(logits.squeeze(0).float(), label)

    gradients: dict[str, Tensor] = vmap(grad(loss), in_dims=(None, 0, 0))(moving, images, labels)
    return list(gradients.values())


def _in_turn(model: nn.Module, images: Tensor, labels: Tensor, function: SampleLoss) -> list[Tensor]:
    """One backward pass per sample."""
    weights = trainable(model)
    found = []
    for image, label in zip(torch.split(images, 1), labels, strict=True):
        loss = function(model(image).squeeze(0).float(), label)
        found.append(torch.autograd.grad(loss, weights, materialize_grads=True))
    return [torch.stack(column) for column in zip(*found, strict=True)]


def _activation_bytes(model: nn.Module, image: Tensor) -> int:
    """Bytes that a forward pass keeps of one sample for its gradients.

    Args:
        model: In eval mode.
        image: ``(1, C, H, W)``.
    """
    stored = {tensor.untyped_storage().data_ptr() for tensor in chain(model.parameters(), model.buffers())}
    kept = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in stored:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        logits = model(image)
    del logits
    return sum(kept.values())
