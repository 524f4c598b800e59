"""Methods that make the model's predictions vary less around the forget set."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from natmu.data.batches import Batch
from natmu.data.inputs import InputRange
from natmu.engine import processes
from natmu.engine.modes import batch_norms
from natmu.methods import published
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.problem import Problem
from natmu.methods.settings import SGDSettings


class JiT(Method):
    """Smooth the model around each forget sample, with nothing but the forget images at hand.

    Descends on the mean over ``draws`` of ``‖f(x) - f(x + ξ)‖ / ‖ξ‖``, summed over the forget images ``x`` of a step,
    where ``f`` gives logits, ``ξ`` is normal noise of deviation ``sigma`` in each pixel, and both norms are Euclidean.

    When to use:
        Where there is no retain data and no labels are known. ``lr`` has to be searched for each model, and so with
        care: between forgetting nothing and losing accuracy everywhere there is a factor of less than ten.

    Cost:
        One forward and backward pass over D_f per epoch and ``draws`` forward passes, none over D_r; no extra memory.
        With ``both``, ``draws + 1`` forward and backward passes, and activations of as many batches at once.

    Decisions:
        - Gradients flow through ``f(x)`` alone, as in the official code, while the paper's rule has ``f(x + ξ)`` depend
          on the weights too. The step then moves ``f(x)`` towards what the model predicts for noisy images, and is not
          the gradient of the loss. On small networks this is what forgets: the exact gradient (``both``) hardly
          touched a whole class at rates where other classes suffered.
        - The loss is a sum over the images of a step, as in the code: with a mean the same ``lr`` would be a hundred
          times less. An epoch then moves the weights about as far, whatever the batch size.
        - Training mode, as in the code, so that batch normalisation's running statistics drift towards the forget set;
          ``freeze_statistics`` keeps them, and so does a single forget sample.
        - ``sigma`` is in units of the range of each channel, ``[0, 1]`` for images of 8 bits, before the model's own
          normalisation, which not every model has as a layer of its own. The code adds noise after normalisation, where
          the same number is about a quarter of it; since a ratio is taken, that is mostly a matter of ``lr``. Noisy
          images are not clipped; the code clips them, which is no longer normal noise.
        - Plain SGD without momentum and weight decay, as in the code. All is computed in full precision, as differences
          of close predictions are lost in bfloat16.

    References:
        An Information Theoretic Approach to Machine Unlearning (Jack Foster, Kyle Fogarty, Stefan Schoepf, Zack Dugue,
        Cengiz Öztireli, Alexandra Brintrup, 2024), https://arxiv.org/abs/2402.01401

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = JiT(draws=3)(problem_for("random"))
        >>> unlearned.passes.passes > 0  # over the training set
        True
    """

    name = "jit"
    paper = Paper(
        "An Information Theoretic Approach to Machine Unlearning",
        "Foster et al.",
        2024,
        "https://arxiv.org/abs/2402.01401",
    )
    needs_labels = False
    needs_retain = False
    presets = published.JIT

    class Config(SGDSettings):
        """Settings of ``jit``; the defaults are the official code's for CIFAR-10 and random samples."""

        epochs: int = Field(1, ge=1, le=100_000, description="passes over the forget set")
        lr: float = Field(3e-4, gt=0, le=100, description="base learning rate, for a loss summed over images")
        momentum: float = Field(0, ge=0, lt=1, description="momentum of SGD; the others ignore it")
        weight_decay: float = Field(0, ge=0, le=1, description="weight decay, decoupled for adamw")
        sigma: float = Field(0.01, gt=0, le=10, description="deviation of the noise, in units of the images' range")
        draws: int = Field(25, ge=1, le=10_000, description="noisy copies of each forget image")
        both: bool = Field(False, description="gradients flow through the predictions on noisy images too")
        freeze_statistics: bool = Field(False, description="batch normalisation keeps its running statistics")

    def run(self, problem: Problem) -> nn.Module:
        """Take steps on forget images, each compared with all its noisy copies."""
        config, width = self.config, InputRange.of(problem.data, problem.compute.device).width

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            images = batch.images
            with torch.autocast(images.device.type, enabled=False):
                clean = model(images).float()
                total = torch.zeros(len(images), device=images.device)
                for _ in range(config.draws):
                    noise = config.sigma * torch.randn_like(images)
                    with torch.set_grad_enabled(config.both):
                        noisy = model(images + noise * width).float()
                    total = total + roughness(clean, noisy, noise)
            share = batch.weight / processes.count()  # of the step's rows; the loop multiplies by it, as for a mean
            mean: Tensor = total.sum() / config.draws / share
            return mean

        still = batch_norms(problem.model) if config.freeze_statistics else ()
        return fine_tune(self, problem, problem.forget_samples(), loss, in_eval=still)


def roughness(clean_BC: Tensor, noisy_BC: Tensor, noise: Tensor) -> Tensor:
    """How much predictions change per change of the image.

    Args:
        clean_BC: Answers to the images.
        noisy_BC: Answers to the images with noise added.
        noise: What was added, ``(B, ...)``, in units of the images' range.

    Returns:
        float32 ``(B,)``, at least 0. Its gradient is 0 where a prediction has not changed at all.
    """
    changes_B = torch.linalg.vector_norm(noisy_BC - clean_BC, dim=1)
    ratios_B: Tensor = changes_B / torch.linalg.vector_norm(noise.flatten(1), dim=1)
    return ratios_B
