"""Our methods as rows of the conformance suite: quick settings from ``QUICK``, and what is special about each."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from natmu.methods import METHODS, SalUn, method_named
from natmu.methods.amun import adversarial_examples
from natmu.methods.unseen import drawn_alike
from natmu.testing import Row
from natmu.testing.row import WILD
from natmu.types import seed_for

from .problems import QUICK
from .test_saliency import moving

VISIBLE = {"epochs": 8, "lr": 1e-2}


def cross_entropy(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean over the rows, one after the other."""
    answers = model(images).double()
    losses = [-answers[row].log_softmax(0)[label] for row, label in enumerate(labels.tolist())]
    return torch.stack(losses).mean()


def divergence(teacher: Tensor, student: Tensor, temperature: float = 1) -> Tensor:
    """KL(teacher ‖ student) of one sample's logits; classes that the teacher rules out add nothing."""
    first, second = ((logits.double() / temperature).log_softmax(0) for logits in (teacher, student))
    allowed = first > -torch.inf
    return (first[allowed].exp() * (first[allowed] - second[allowed])).sum()


def answers_of(model: nn.Module, images: Tensor) -> Tensor:
    """A frozen network's logits in eval mode."""
    with torch.no_grad():
        return copy.deepcopy(model).eval()(images)


def plain_loss(method, problem, seen):
    return cross_entropy(seen.student, seen.batch.images, seen.batch.labels)


def bad_teacher_loss(method, problem, seen):
    bad = problem.fresh(seed_for(problem.seed, "bad teacher"))
    batch, forgotten = seen.batch, set(problem.forget.indices.tolist())
    good_BC, bad_BC, student_BC = (
        *(answers_of(teacher, batch.images) for teacher in (problem.model, bad)),
        seen.student(batch.images),
    )
    rows = [
        divergence(bad_BC[row] if position in forgotten else good_BC[row], student_BC[row], method.config.temperature)
        for row, position in enumerate(batch.positions.tolist())
    ]
    return torch.stack(rows).mean()


def scrub_loss(method, problem, seen):
    batch, config = seen.batch, method.config
    teacher_BC, student_BC = answers_of(problem.model, batch.images), seen.student(batch.images)
    rows = [divergence(*pair, config.temperature) for pair in zip(teacher_BC, student_BC, strict=True)]
    distance = torch.stack(rows).mean() * config.temperature**2
    if int(batch.positions[0]) in problem.forget.indices:
        return -distance
    labelled = torch.stack([-row.log_softmax(0)[label] for row, label in zip(student_BC, batch.labels, strict=True)])
    return config.alpha * distance + config.gamma * labelled.mean()


def delete_loss(method, problem, seen):
    batch = seen.batch
    teacher_BC, student_BC = answers_of(problem.model, batch.images), seen.student(batch.images)
    teacher_BC[torch.arange(len(batch.labels)), batch.labels] = -torch.inf
    return torch.stack([divergence(*pair) for pair in zip(teacher_BC, student_BC, strict=True)]).mean()


def paired_loss(method, problem, seen):
    keep, paired = method.config.retain_weight, seen.batch.paired
    retained = plain_loss(method, problem, seen)
    return keep * retained - (1 - keep) * cross_entropy(seen.student, paired.images, paired.labels)


def sparse_loss(method, problem, seen):
    weight = method.config.l1 * (1 - seen.batch.epoch / method.config.epochs)
    return plain_loss(method, problem, seen) + weight * sum(p.abs().sum() for p in seen.student.parameters())


def amun_loss(method, problem, seen):
    """Rows of a label that is not a forget sample's own show its example; ``test_amun.py`` has a slow attack."""
    images, answers = adversarial_examples(problem, method.config.epsilon, method.config.attack_steps)
    batch, shown = seen.batch, seen.batch.images.clone()
    own = dict(zip(problem.forget.indices.tolist(), range(len(problem.forget)), strict=True))
    for row, position in enumerate(batch.positions.tolist()):
        if position in own and int(batch.labels[row]) != int(problem.data.labels[position]):
            assert batch.labels[row] == answers[own[position]]
            shown[row] = images[own[position]]
    return cross_entropy(seen.student, shown, batch.labels)


def regun_loss(method, problem, seen):
    batch, weight, unseen = seen.batch, method.config.retain_weight, problem.holdout
    answers_HC = answers_of(problem.model, unseen.images.float() / 255).double()
    labels = problem.labels(problem.forget_positions).numpy()
    drawn = drawn_alike(labels, unseen.labels.numpy(), problem.rng("reference", batch.epoch))
    q = torch.stack([answers_HC[drawn[row]].softmax(0) for row in batch.rows.tolist()]).mean(0)
    rows = [divergence(q.log(), answer) for answer in seen.student(batch.images)]
    retained = cross_entropy(seen.student, batch.paired.images, batch.paired.labels)
    return (1 - weight) * torch.stack(rows).mean() + weight * retained


def mu_mis_loss(method, problem, seen):
    """The gradient by one image at a time."""
    batch, terms = seen.batch, []
    for image, position, other in zip(batch.images, batch.positions.tolist(), batch.labels.tolist(), strict=True):
        shown = image[None].clone().requires_grad_()
        logits = seen.student(shown)[0]
        for sign, label in ((1, int(problem.data.labels[position])), (-1, other)):
            (gradient,) = torch.autograd.grad(logits[label], shown, create_graph=True)
            terms.append(sign * (gradient.double() ** 2).sum())
    return torch.stack(terms).sum() / len(batch.labels)


def raised_loss(method, problem, seen):
    """UAM: the student is moved up the forget loss, which it has on a batch of both kinds, and judged there."""
    paired, student = seen.batch.paired, seen.student
    weights = list(student.parameters())
    together = student(torch.cat([paired.images, seen.batch.images])).double()[: len(paired.labels)]
    forgotten = torch.stack([-row.log_softmax(0)[label] for row, label in zip(together, paired.labels, strict=True)])
    uphill = torch.autograd.grad(forgotten.mean(), weights)
    length = torch.cat([up.flatten() for up in uphill]).norm()
    with torch.no_grad():
        for weight, up in zip(weights, uphill, strict=True):
            weight += method.config.rho * up / length
    return plain_loss(method, problem, seen)


def climbing_loss(method, problem, seen):
    return -plain_loss(method, problem, seen)


def per_sample(problem, positions, function, change):
    """The mean over samples of each one's changed gradient, one after the other in double precision."""
    model = copy.deepcopy(problem.model).eval().double()
    total = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    for position in positions.tolist():
        image = problem.data.images[position : position + 1].double() / 255
        value = function(model(image)[0], problem.data.labels[position])
        gradients = torch.autograd.grad(value, list(model.parameters()))
        for name, gradient in zip(total, gradients, strict=True):
            total[name] += change(gradient) / len(positions)
    return total


def per_batch(problem, positions, size, function, change):
    """The mean over batches of the changed gradient of each one's mean, a batch after the other in double precision."""
    batches = torch.split(positions, size)
    found = [per_sample(problem, batch, function, lambda gradient: gradient) for batch in batches]
    return {name: sum(change(one[name]) for one in found) / len(batches) for name in found[0]}


def dampened(function, change):
    def weights(method, problem):
        config, size = method.config, method.config.importance_batch
        ordered = torch.cat([problem.retain_positions, problem.forget_positions])
        on_all = per_batch(problem, ordered, size, function, change)
        on_forget = per_batch(problem, problem.forget_positions, size, function, change)
        return {
            name: torch.where(
                on_forget[name] > config.alpha * on_all[name],
                value.double() * (config.dampening * on_all[name] / on_forget[name]).clamp(max=1),
                value.double(),
            )
            for name, value in problem.model.named_parameters()
        }

    return weights


def fisher_noise(method, problem):
    """The deviation by its formula, from the information of all classes of all retain samples."""
    total = {name: torch.zeros_like(value).double() for name, value in problem.model.named_parameters()}
    for label in range(problem.data.num_classes):

        def weighted(logits, _, label=label):
            chances = logits.log_softmax(0)
            return chances[label] * chances[label].exp().sqrt().detach()

        for name, squares in per_sample(problem, problem.retain_positions, weighted, torch.square).items():
            total[name] += squares
    config = method.config
    return {
        name: (config.alpha / total[name]).pow(0.25).clamp(max=config.cap * value.double().square().mean().sqrt())
        for name, value in problem.model.named_parameters()
    }


def unselected(method, problem):
    """SalUn: the weights outside the top share by the slow saliency."""
    parameters = dict(problem.model.named_parameters())
    chosen = torch.split(moving(problem, method.config.threshold), [value.numel() for value in parameters.values()])
    return {name: ~piece.view_as(value) for (name, value), piece in zip(parameters.items(), chosen, strict=True)}


def below_the_head(method, problem):
    """Everything but the last layer of ``small_net``."""
    return {name: True for name in problem.model.state_dict() if not name.startswith("5.")}


RELABELLING = {"visible": VISIBLE, "raises_forget_loss": True, "passes": ("both", "both"), "loss": plain_loss}
REPAIRING = {"visible": VISIBLE, "passes": ("retain", "retain"), "loss": plain_loss}
FORGETTING = {"visible": VISIBLE, "raises_forget_loss": True, "passes": ("forget", "forget")}
PAIRING = {"visible": VISIBLE, "raises_forget_loss": True, "passes": ("retain with forget", "retain with forget")}

SPECIAL: dict[str, dict[str, Any]] = {
    "natmu": {"visible": VISIBLE, "raises_forget_loss": True, "loss": plain_loss},
    "amnesiac": RELABELLING | {"draws_labels": "once"},
    "random_label": RELABELLING | {"draws_labels": "each_pass"},
    "salun": RELABELLING | {"visible": VISIBLE | {"threshold": 0.5}, "frozen": unselected, "draws_labels": "once"},
    "bad_teacher": RELABELLING | {"teachers": 1, "loss": bad_teacher_loss},
    "finetune": REPAIRING | {"lowers_retain_loss": True},
    "l1_sparse": REPAIRING | {"lowers_retain_loss": True, "loss": sparse_loss},
    "cf_k": REPAIRING | {"lowers_retain_loss": True, "frozen": below_the_head},
    "eu_k": REPAIRING | {"frozen": below_the_head},
    "msg": REPAIRING,
    "conv_transpose": REPAIRING,
    "grad_ascent": FORGETTING | {"eval_mode": True, "loss": climbing_loss},
    "boundary_shrink": FORGETTING | {"loss": plain_loss},
    "boundary_expand": FORGETTING,
    "delete": FORGETTING | {"loss": delete_loss},
    "jit": FORGETTING | {"passes": ("forget",), "own_draws": "each process draws the noise on its own rows"},
    "neggrad_plus": PAIRING
    | {"visible": VISIBLE | {"retain_weight": 0.7}, "lowers_retain_loss": True, "loss": paired_loss},
    "rurk": PAIRING
    | {
        "visible": VISIBLE | {"forget_weight": 0.3},
        "own_draws": "each process draws the neighbours of its own rows",
    },
    "munba": PAIRING,
    "sfron": {"visible": {"lr": 1e-2}, "raises_forget_loss": True},
    "uam": PAIRING | {"visible": VISIBLE | {"rho": 1, "rho_schedule": "constant"}, "loss": raised_loss},
    "negmerge": {
        "visible": {"scale": 5},
        "raises_forget_loss": True,
        "passes": ("forget",) * 10,
        "diverging": {
            "lr": 100,
            "weight_decay_grid": [1.0],
            "epoch_grid": [60],
            "momentum": 0.99,
            "schedule": "constant",
        },
    },
    "scrub": {
        "visible": VISIBLE | {"max_steps": 4},
        "raises_forget_loss": True,
        "teachers": 1,
        "passes": ("forget", "retain", "retain"),
        "loss": scrub_loss,
    },
    "unsir": {"visible": {"lr": 5e-2, "noise_steps": 40}, "raises_forget_loss": True, "passes": ("retain", "retain")},
    "amun": RELABELLING | {"raises_forget_loss": False, "loss": amun_loss},
    "regun": {
        "visible": VISIBLE,
        "raises_forget_loss": True,
        "passes": ["forget with retain"] * 6,
        "loss": regun_loss,
    },
    "lotus": {
        "visible": VISIBLE,
        "raises_forget_loss": True,
        "teachers": 1,
        "passes": ("both", "both"),
        "own_draws": "each process draws the noise on its own rows",
        "diverging": WILD | {"tolerance": 1},  # it would end where the accuracy of the forget set falls
    },
    "quantile_match": {"visible": VISIBLE, "raises_forget_loss": True, "passes": ("both", "both")},
    "mu_mis": {
        "visible": {"epochs": 8, "lr": 1e-3, "delta": 100},
        "eval_mode": True,
        "passes": ("forget", "forget"),
        "draws_labels": "each_pass",
        "loss": mu_mis_loss,
        "diverging": WILD | {"delta": 1e30},  # it would end where sensitivity rises
    },
    "reload": REPAIRING,
    "fisher": {"visible": {"draws": 10, "alpha": 1e-6}, "noise": fisher_noise},
    "ssd": {
        "raises_forget_loss": True,
        "weights": dampened(lambda logits, label: -logits.log_softmax(0)[label], torch.square),
    },
    "lfssd": {"weights": dampened(lambda logits, _: (logits**2).sum(), torch.abs)},
}
"""What the declarations of a method do not say."""

ALTERNATING = {"visible": VISIBLE | {"forget_lr": 1e-2}, "passes": ("forget", "retain") * 2}
DUAL: dict[str, dict[str, Any]] = {
    "salun": ALTERNATING
    | {
        "visible": ALTERNATING["visible"] | {"threshold": 0.5},
        "raises_forget_loss": True,
        "frozen": unselected,
        "draws_labels": "once",
    },
    "scrub": ALTERNATING
    | {"visible": ALTERNATING["visible"] | {"max_steps": 4}, "passes": ("forget", "retain", "retain"), "teachers": 1},
    "sfron": {"visible": {"lr": 1e-2, "forget_lr": 1e-2}, "raises_forget_loss": True},
}
"""The same with an optimiser of their own for forget steps."""

AS_PUBLISHED = {"relabel": "any", "order": "forget_first"}
ROWS = [
    *(Row(method, QUICK.get(method.name, {}), **SPECIAL.get(method.name, {})) for method in METHODS),
    *(
        Row(method_named(name), QUICK[name] | {"forget_lr": 1e-3}, label=f"{name}-dual", **special)
        for name, special in DUAL.items()
    ),
    Row(
        SalUn,
        QUICK["salun"] | AS_PUBLISHED,
        label="salun-as-published",
        **SPECIAL["salun"] | {"passes": ("forget", "retain") * 2, "draws_labels": "each_pass"},
    ),
]
