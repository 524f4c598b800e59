"""Classifiers for small images, the user's own models, and their weights.

All of ours take images in [0, 1] and normalise them in their first layer. Any other classifier is adapted to return
logits.
"""

from natmu.models.adapters import Outputs, WithoutOutputs, adapted, network_of, unadapted
from natmu.models.containers import weights_files
from natmu.models.ensemble import Ensemble, load_ensemble, shards_in
from natmu.models.factory import source_digest
from natmu.models.fast import FastCNN
from natmu.models.foreign import load_weights
from natmu.models.heads import FEWEST_CLASSES, head_of, moved_outputs, require_enough, without_outputs
from natmu.models.hub import check_class_order, is_pretrained_folder
from natmu.models.initial import last_linear, reinitialised, reset_head
from natmu.models.layers import ImageShape, Normalize
from natmu.models.preprocessing import Preprocessing, preprocessing_of
from natmu.models.registry import ModelInfo, build_model, models
from natmu.models.resnet import ResNet
from natmu.models.small import SmallCNN
from natmu.models.unit_head import UnitLinear, features_before, set_unit_head, unit_head_of, with_unit_head
from natmu.models.vgg import VGG
from natmu.models.vit import ViT

__all__ = [
    "FEWEST_CLASSES",
    "VGG",
    "Ensemble",
    "FastCNN",
    "ImageShape",
    "ModelInfo",
    "Normalize",
    "Outputs",
    "Preprocessing",
    "ResNet",
    "SmallCNN",
    "UnitLinear",
    "ViT",
    "WithoutOutputs",
    "adapted",
    "build_model",
    "check_class_order",
    "features_before",
    "head_of",
    "is_pretrained_folder",
    "last_linear",
    "load_ensemble",
    "load_weights",
    "models",
    "moved_outputs",
    "network_of",
    "preprocessing_of",
    "reinitialised",
    "require_enough",
    "reset_head",
    "set_unit_head",
    "shards_in",
    "source_digest",
    "unadapted",
    "unit_head_of",
    "weights_files",
    "with_unit_head",
    "without_outputs",
]
