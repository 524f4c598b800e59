"""The smallest study that has everything in it."""

from __future__ import annotations

from natmu.studies.recipe import Recipe

DIVERGING = {"optimizer": "sgd", "lr": 100.0, "weight_decay": 1.0, "momentum": 0.9, "epochs": 10}
FAST = [
    {"method": "natmu", "settings": {"epochs": 1, "n": 2}},
    {"method": "amnesiac", "settings": {"epochs": 1, "lr": 1e-3}},
]


def recipe(**changed):
    values = {
        "name": "tiny",
        "data": {"source": "digits", "train_size": 150},
        "model": "small_cnn",
        "training": {"epochs": 2, "lr": 0.05, "schedule": "cosine", "batch_size": 32, "warmup_epochs": 0},
        "forget": ["random:10%", "hardest:5%", "class:3"],
        "methods": [*FAST, {"method": "amnesiac", "label": "diverging", "settings": DIVERGING}],
        "seeds": {"split": [0], "training": [0, 1], "unlearning": [0, 1]},
        "precision": "fp32",
    }
    return Recipe.parse(values | changed)
