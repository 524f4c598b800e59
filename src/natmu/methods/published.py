"""The presets of our methods: settings with which they were published, and where they stand.

Each holds what its source says and no more. What a source does that no setting expresses is said in ``source``.
"""

from __future__ import annotations

from collections.abc import Mapping

from natmu.methods import dual_optim, natmu_table
from natmu.methods.presets import Preset

Presets = Mapping[str, Preset]

SGD = {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
SPARSE = SGD | {"schedule": "constant", "batch_size": 256}
"""What Unlearn-Sparse and the projects that grew from it share: arg_parser.py and unlearn/impl.py of each."""
HUANG = SGD | {"schedule": "cosine", "batch_size": 128}
"""What the methods that SFRon is compared with share in its code."""
HUANG_CODE = "K1nght/Unified-Unlearning-w-Remain-Geometry, Classification/unlearn"
HUANG_DATA = "a random tenth of CIFAR-10, ResNet18; its rate falls between epochs"

AMNESIAC: Presets = {
    **natmu_table.AMNESIAC,
    "ssd": Preset(
        {"epochs": 3, "optimizer": "adam", "lr": 1e-4, "weight_decay": 0, "schedule": "constant", "batch_size": 128},
        "if-loops/selective-synaptic-dampening, src/forget_random_strategies.py, lines 186-215; 100 random samples of "
        "CIFAR-10, ResNet18",
    ),
}

BAD_TEACHER: Presets = {
    **natmu_table.BAD_TEACHER,
    "paper": Preset(
        {
            "epochs": 1, "optimizer": "adam", "lr": 1e-4, "weight_decay": 0, "schedule": "constant", "batch_size": 256,
            "temperature": 1, "reduction": "mean", "retain_fraction": 0.3,
        },
        "vikram2000b/bad-teaching-unlearning, unlearn.py, lines 9-19, and CIFARSuper20_Rocket_Unlearn.ipynb; a "
        "sub-class of CIFAR-20, ResNet18",
    ),
    "sfron": Preset(
        HUANG | {"epochs": 10, "lr": 0.02, "temperature": 1, "reduction": "mean", "augment_retain": True},
        f"{HUANG_CODE}/bad_teacher.py, lines 29 and 53-59; {HUANG_DATA}",
    ),
}  # fmt: skip

SALUN: Presets = {
    **natmu_table.SALUN,
    "paper": Preset(
        SPARSE
        | {"epochs": 10, "lr": 0.013, "threshold": 0.5, "relabel": "any", "order": "forget_first"}
        | {"augment_retain": True},
        "OPTML-Group/Unlearn-Saliency, Classification/README.md, line 34, and Classification/unlearn/RL.py, lines "
        "109-159; 4,500 random samples of CIFAR-10, ResNet18; it augments forget images too",
    ),
    "sfron": Preset(
        HUANG | {"epochs": 10, "lr": 0.007, "threshold": 0.2, "augment_retain": True},
        f"{HUANG_CODE}/salun.py, lines 37-60; {HUANG_DATA}, and it augments forget images too",
    ),
    **dual_optim.SALUN,
}

RANDOM_LABEL: Presets = {
    "sfron": Preset(
        HUANG | {"epochs": 10, "lr": 0.003, "augment_retain": True},
        f"{HUANG_CODE}/random_label.py, lines 35-63; {HUANG_DATA}, labels are drawn once, and forget images augmented",
    )
}

SPARSE_DATA = "4,500 random samples of CIFAR-10, ResNet18"
FINETUNE: Presets = {
    "unlearn-sparse": Preset(
        SPARSE | {"epochs": 10, "lr": 0.01, "augment_retain": True},
        f"OPTML-Group/Unlearn-Sparse, README.MD, command of FT; {SPARSE_DATA}",
    ),
    "rum": Preset(
        SPARSE | {"epochs": 10, "lr": 0.1},
        "kairanzhao/RUM, main_rum.py, lines 48-52; the 1,000 samples of CIFAR-10 with medium memorisation, ResNet18",
    ),
    "sfron": Preset(
        HUANG | {"epochs": 10, "lr": 0.01, "augment_retain": True},
        f"{HUANG_CODE}/finetune.py, lines 27-32; {HUANG_DATA}",
    ),
    "scrub": Preset(
        {"epochs": 10, "optimizer": "sgd", "lr": 0.04, "momentum": 0, "weight_decay": 0, "schedule": "constant"},
        "meghdadk/SCRUB, MIA_experiments.ipynb, ft_lr; 100 samples of a class of CIFAR-10, ResNet",
    ),
}

L1_SPARSE: Presets = {
    "paper": Preset(
        SPARSE | {"epochs": 10, "lr": 0.01, "augment_retain": True},
        f"OPTML-Group/Unlearn-Sparse, README.MD, command of l1-sparse, which leaves its weight open; {SPARSE_DATA}",
    )
}

GRAD_ASCENT: Presets = {
    "unlearn-sparse": Preset(
        SPARSE | {"epochs": 5, "lr": 1e-4},
        "OPTML-Group/Unlearn-Sparse, README.MD, command of GA; "
        f"{SPARSE_DATA}; in training mode, on augmented images and without a clip",
    ),
    "sfron": Preset(
        HUANG | {"epochs": 9, "lr": 1e-4, "max_grad_norm": 0.1, "schedule": "constant"},
        f"{HUANG_CODE}/gradient_ascent.py, lines 28-66; a random tenth of CIFAR-10, ResNet18, on augmented images",
    ),
}

PLAIN_SGD = {"optimizer": "sgd", "lr": 0.01, "momentum": 0, "weight_decay": 0, "schedule": "constant"}
SCRUB_DATA = "100 samples of a class of CIFAR-10, ResNet"
NEGGRAD_PLUS: Presets = {
    "paper": Preset(
        PLAIN_SGD | {"epochs": 5, "retain_weight": 0.9999},
        f"meghdadk/SCRUB, MIA_experiments.ipynb, ng_alpha, ng_epochs and ng_lr; {SCRUB_DATA}",
    ),
    "paper-small": Preset(
        PLAIN_SGD | {"epochs": 10, "retain_weight": 0.95, "batch_size": 32},
        "meghdadk/SCRUB, small_scale_ictest.ipynb, ng_alpha, ng_epochs and ng_lr; a few hundred images of Lacuna-5, "
        "All-CNN; it also penalises the distance to the original's weights",
    ),
}

SCRUB: Presets = {
    "paper": Preset(
        SGD
        | {"epochs": 3, "max_steps": 2, "lr": 5e-4, "schedule": "constant", "temperature": 4, "alpha": 0.001}
        | {"gamma": 0.99},
        "meghdadk/SCRUB, large_scale_unlearning.ipynb, the cell of args.gamma; CIFAR-10, All-CNN; batches of 256 of "
        "the retain set and 512 of the forget set",
    ),
    "paper-small": Preset(
        {
            "epochs": 10, "max_steps": 3, "optimizer": "adam", "lr": 5e-4, "weight_decay": 0.1, "temperature": 2,
            "alpha": 0.5, "gamma": 1, "batch_size": 32,
        },
        "meghdadk/SCRUB, small_scale_unlearning.ipynb, the cell of args.gamma; Lacuna-6, All-CNN; batches of 64 of the "
        "forget set, and a rate that falls tenfold after epochs 5, 8 and 9",
    ),
    "sfron": Preset(
        SGD
        | {"epochs": 6, "max_steps": 2, "lr": 8e-5, "schedule": "cosine", "temperature": 4, "alpha": 0.001}
        | {"gamma": 0.99, "batch_size": 128, "augment_retain": True},
        f"{HUANG_CODE}/scrub.py, lines 66-82; {HUANG_DATA}, and it augments forget images too",
    ),
    **dual_optim.SCRUB,
}  # fmt: skip

LAYERS = {"schedule": "constant", "optimizer": "sgd", "momentum": 0, "weight_decay": 0, "batch_size": 64}
CF_K: Presets = {
    "scrub": Preset(
        LAYERS | {"epochs": 10, "lr": 0.01, "augment_retain": False},
        f"meghdadk/SCRUB, MIA_experiments.ipynb, cfk_lr; {SCRUB_DATA}, of which the last block is trained",
    )
}
EU_K: Presets = {
    "scrub": Preset(
        LAYERS | {"epochs": 25, "lr": 0.01, "augment_retain": False},
        f"meghdadk/SCRUB, MIA_experiments.ipynb, euk_lr and training_epochs; {SCRUB_DATA}, of which the last block is "
        "drawn anew",
    )
}

SSD_CODE = "if-loops/selective-synaptic-dampening, src"
SSD: Presets = {
    "paper": Preset(
        {"alpha": 10, "dampening": 1, "importance_batch": 128},
        f"{SSD_CODE}/forget_random_main.py, lines 57 and 147-148; 100 random samples of CIFAR-10, ResNet18",
    ),
    "paper-class": Preset(
        {"alpha": 10, "dampening": 1, "importance_batch": 64},
        f"{SSD_CODE}/forget_full_class_main.py, lines 58 and 176-177, and forget_subclass_main.py; a class of "
        "CIFAR-100, a sub-class of CIFAR-20, ResNet18",
    ),
    "paper-class-vit": Preset(
        {"alpha": 5, "dampening": 1, "importance_batch": 64},
        f"{SSD_CODE}/forget_full_class_main.py, lines 58 and 161-177; a class of CIFAR-100, ViT",
    ),
    "paper-subclass-vit": Preset(
        {"alpha": 25, "dampening": 1, "importance_batch": 64},
        f"{SSD_CODE}/forget_subclass_main.py, lines 60 and 174-188; a sub-class of CIFAR-20, ViT",
    ),
}

BOUNDARY_CODE = "TY-LEE-KR/Boundary-Unlearning-Code, boundary_unlearning.py"
BOUNDARY = {
    "epochs": 10, "optimizer": "sgd", "lr": 1e-5, "momentum": 0.9, "weight_decay": 0, "schedule": "constant",
    "batch_size": 64,
}  # fmt: skip
BOUNDARY_SHRINK: Presets = {
    "paper": Preset(
        BOUNDARY | {"bound": 0.25},
        f"{BOUNDARY_CODE}, lines 14-72, and adv_generator.py; a class of CIFAR-10, All-CNN; its bound of 0.1 is in "
        "another scale",
    )
}
BOUNDARY_EXPAND: Presets = {"paper": Preset(BOUNDARY, f"{BOUNDARY_CODE}, lines 101-154; a class of CIFAR-10, All-CNN")}

UNSIR: Presets = {
    "paper": Preset(
        {
            "epochs": 1, "repair_epochs": 1, "optimizer": "adam", "lr": 0.02, "repair_lr": 0.01, "weight_decay": 0,
            "schedule": "constant", "batch_size": 256, "retain_per_class": 1000, "noise_images": 3, "noise_copies": 20,
            "noise_steps": 40, "noise_lr": 0.1, "noise_penalty": 0.1,
        },
        "vikram2000b/Fast-Machine-Unlearning, Machine Unlearning.ipynb, the cells of the noise, of impair and of "
        "repair; two classes of CIFAR-10, ResNet18",
    )
}  # fmt: skip

JIT_CODE = "jwf40/Zeroshot-Unlearning-At-Scale, src"
JIT_RECIPE = {"optimizer": "sgd", "momentum": 0, "weight_decay": 0, "schedule": "constant", "draws": 25}
JIT_SCALE = "sigma is that of normalised images there"
JIT: Presets = {
    "paper": Preset(
        JIT_RECIPE | {"lr": 3e-4, "sigma": 0.01},
        f"{JIT_CODE}/forget_random_main.py, lines 153-157; 100 random samples of CIFAR-10, VGG16; {JIT_SCALE}",
    ),
    "paper-class": Preset(
        JIT_RECIPE | {"lr": 3e-4, "sigma": 0.5},
        f"{JIT_CODE}/forget_full_class_main.py, lines 149-168; a class of CIFAR-100, VGG16; {JIT_SCALE}",
    ),
    "paper-subclass": Preset(
        JIT_RECIPE | {"lr": 3e-4, "sigma": 0.01},
        f"{JIT_CODE}/forget_subclass_main.py, lines 179-183; a sub-class of CIFAR-20, VGG16; {JIT_SCALE}",
    ),
}

DELETE_RECIPE = {
    "epochs": 20, "optimizer": "sgd", "momentum": 0.9, "weight_decay": 0, "schedule": "constant", "batch_size": 128,
}  # fmt: skip
DELETE_CODE = "shaaaaron/DELETE, method/delete.py, line 33, and config"
DELETE: Presets = {
    "paper": Preset(DELETE_RECIPE | {"lr": 1e-4}, f"{DELETE_CODE}/cifar10_resnet18.yaml; a class of it"),
    "paper-vgg16": Preset(DELETE_RECIPE | {"lr": 5e-5}, f"{DELETE_CODE}/cifar10_vgg16.yaml; a class of it"),
    "paper-vit": Preset(DELETE_RECIPE | {"lr": 5e-5}, f"{DELETE_CODE}/cifar10_vit-s-16.yaml; a class of it"),
    "paper-cifar100": Preset(DELETE_RECIPE | {"lr": 5e-5}, f"{DELETE_CODE}/cifar100_resnet18.yaml; a class of it"),
    "paper-tiny-imagenet": Preset(
        DELETE_RECIPE | {"lr": 5e-5, "batch_size": 64, "freeze_statistics": True},
        f"{DELETE_CODE}/tiny_imagenet_resnet18.yaml, and main.py, lines 311-313; a single class of it",
    ),
}

SFRON: Presets = {
    "paper": Preset(
        SGD
        | {"steps": 1500, "lr": 0.01, "schedule": "cosine", "forget_every": 5, "forget_scale": 25, "loss_power": 0.5}
        | {"saliency_ratio": 1, "max_grad_norm": 7, "augment_retain": True, "augment_forget": True}
        | {"batch_size": 128},
        f"{HUANG_CODE}/sfron.py, lines 101-121; a random tenth of CIFAR-10, ResNet18",
    ),
    "paper-tiny-imagenet": Preset(
        {
            "steps": 500, "optimizer": "adamw", "lr": 2e-5, "weight_decay": 0.05, "schedule": "cosine",
            "forget_every": 1, "forget_scale": 500, "loss_power": 0.6, "saliency_ratio": 1, "max_grad_norm": 7,
        },
        f"{HUANG_CODE}/sfron.py, lines 78-98; a random tenth of Tiny-ImageNet",
    ),
    **dual_optim.SFRON,
}  # fmt: skip

MUNBA: Presets = {
    "paper": Preset(
        SPARSE
        | {"epochs": 10, "lr": 0.01, "forget_loss": "random_label", "max_grad_norm": 1}
        | {"augment_retain": True, "augment_forget": True},
        "JingWu321/MUNBa, Classification/unlearn/MUNBa.py, lines 117-225, and arg_parser.py; it goes through the "
        "forget set once per epoch, and its retain steps after that are plain",
    )
}

RUM: Presets = {
    "paper": Preset(
        {
            "low": "none",
            "medium": "finetune",
            "medium_settings": {"preset": "rum"},
            "high": "salun",
            "high_settings": SPARSE | {"epochs": 5, "lr": 0.1, "relabel": "any"},
        },
        "kairanzhao/RUM, main_rum.py, lines 48-52; 3,000 samples of CIFAR-10, ResNet18; it leaves the fraction of "
        "weights that salun moves open",
    )
}
