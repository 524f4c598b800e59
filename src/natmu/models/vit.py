"""A small vision transformer."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from natmu.errors import ModelError
from natmu.models.layers import ImageShape, check_image_shape


class ViT(nn.Module):
    """Patches and a class token through pre-norm transformer blocks, then one linear layer on the class token.

    As wide as DeiT-Ti (width 192, three heads) and half as deep. Class token and position embedding start from a
    truncated normal of standard deviation 0.02, everything else from PyTorch's default initialisation.

    Args:
        normalize: First layer, applied to images in [0, 1].
        image_shape: Channels, height, width; at least 8 pixels high and wide, see ``patch_size``.
        num_classes: Number of classes.
        width: Length of a token.
        depth: Number of blocks.
        heads: Number of attention heads.

    Raises:
        ModelError: The images are smaller than 8 pixels or cannot be cut into patches.

    References:
        An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale (Dosovitskiy et al., 2020),
        https://arxiv.org/abs/2010.11929

        Training data-efficient image transformers & distillation through attention (Touvron et al., 2020),
        https://arxiv.org/abs/2012.12877

    Examples:
        >>> import torch
        >>> model = build_model("small_vit", num_classes=10, image_shape=(1, 32, 32), mean=[0.5], std=[0.25], seed=0)
        >>> isinstance(model, ViT), model.eval()(torch.zeros(2, 1, 32, 32)).shape
        (True, torch.Size([2, 10]))
    """

    min_size: ClassVar[int] = 8

    def __init__(
        self,
        normalize: nn.Module,
        image_shape: ImageShape,
        num_classes: int,
        width: int = 192,
        depth: int = 6,
        heads: int = 3,
    ) -> None:
        super().__init__()
        check_image_shape("ViT", image_shape, self.min_size)
        channels, height, image_width = image_shape
        patch = patch_size(height, image_width)
        self.normalize = normalize
        self.patches = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, 1 + (height // patch) * (image_width // patch), width))
        self.blocks = nn.Sequential(*(_block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw class token and position embedding anew; every other layer resets itself."""
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, num_classes)`` of images ``(B, C, H, W)`` in [0, 1]."""
        patches: Tensor = self.patches(self.normalize(images)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1)
        tokens = self.norm(self.blocks(tokens + self.positions))
        logits: Tensor = self.head(tokens[:, 0])
        return logits


def patch_size(height: int, width: int) -> int:
    """The side of a patch, in pixels, for images of this size.

    It is the largest that divides both sides and leaves at least seven patches along the shorter one, and never less
    than two pixels: 4 for 28 and 32 pixels, 8 for 64, 32 for 224, 2 for 8.

    Raises:
        ModelError: No such patch exists.
    """
    for patch in range(max(2, min(height, width) // 7), 1, -1):
        if height % patch == 0 and width % patch == 0:
            return patch
    raise ModelError(
        f"ViT cannot cut images of {height} x {width} pixels into equal patches: crop or pad them to even sides."
    )


def _block(width: int, heads: int) -> nn.TransformerEncoderLayer:
    """Attention and a perceptron four times as wide, each after a layer norm and around a shortcut."""
    return nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
