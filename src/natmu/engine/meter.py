"""What is learnt about training from the forward passes that training makes anyway."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from natmu.data.batches import Batch
from natmu.engine import processes


class Meter:
    """Counts hits, and sums each sample's probability of its label, on the device and without waiting for it.

    Args:
        num_samples: Size of the source of images.
        device: Where batches live.

    Attributes:
        confidence_sum: float32 ``(num_samples,)``, sum over visits of the probability of the label, up to the last
            closed epoch.
        visits: float32 ``(num_samples,)``, likewise.
    """

    def __init__(self, num_samples: int, device: torch.device) -> None:
        self.confidence_sum = torch.zeros(num_samples, device=device)
        self.visits = torch.zeros(num_samples, device=device)
        self._counts = torch.zeros(2, device=device)  # hits and rows of this epoch and process
        self._sums = torch.zeros(2, num_samples, device=device)  # confidences and visits, likewise

    def cross_entropy(self, model: nn.Module, batch: Batch) -> Tensor:
        """Mean cross-entropy of a batch, noting what the model predicted."""
        logits = model(batch.images).float()
        self.note(batch, logits.detach())
        return functional.cross_entropy(logits, batch.labels)

    def note(self, batch: Batch, logits_BC: Tensor) -> None:
        """Count one batch's predictions."""
        self._counts[0] += (logits_BC.argmax(1) == batch.labels).sum()
        self._counts[1] += len(batch.labels)
        confidence = logits_BC.softmax(1).gather(1, batch.labels[:, None]).squeeze(1)
        self._sums[0].index_add_(0, batch.positions, confidence)
        self._sums[1].index_add_(0, batch.positions, torch.ones_like(confidence))

    def close_epoch(self) -> float | None:
        """Add what was noted since the last call, by all processes; percent correct, None where nothing was noted."""
        confidences, visits = processes.total(self._sums)
        self.confidence_sum += confidences
        self.visits += visits
        hits, rows = processes.total(self._counts).tolist()
        self._sums.zero_()
        self._counts.zero_()
        return 100 * hits / rows if rows else None

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs, at the end of an epoch."""
        return {"confidence_sum": self.confidence_sum, "visits": self.visits}

    def load(self, state: dict[str, Tensor]) -> None:
        """Continue from a saved state."""
        self.confidence_sum.copy_(state["confidence_sum"])
        self.visits.copy_(state["visits"])

    def confidence(self) -> Tensor:
        """Mean probability of the label over all visits, float32 ``(num_samples,)`` on the CPU; NaN where never seen.

        Source:
            The cumulative-confidence proxy of Jiang et al., Characterizing Structural Regularities of Labeled Data in
            Overparameterized Models, 2021, https://arxiv.org/abs/2002.03206.
        """
        return (self.confidence_sum / self.visits).cpu()
