"""Classifiers for small images, the user's own models, and their weights.

All of ours take images in [0, 1] and normalise them in their first layer.
"""

from natmu.models.factory import check_fit, current_directory_first, source_digest
from natmu.models.foreign import load_weights
from natmu.models.initial import last_linear, reinitialised, reset_head
from natmu.models.layers import ImageShape, Normalize
from natmu.models.registry import ModelInfo, build_model, models
from natmu.models.resnet import ResNet
from natmu.models.small import SmallCNN
from natmu.models.vgg import VGG
from natmu.models.vit import ViT

__all__ = [
    "VGG",
    "ImageShape",
    "ModelInfo",
    "Normalize",
    "ResNet",
    "SmallCNN",
    "ViT",
    "build_model",
    "check_fit",
    "current_directory_first",
    "last_linear",
    "load_weights",
    "models",
    "reinitialised",
    "reset_head",
    "source_digest",
]
