"""Ridge regression in rational numbers: nothing is rounded, and nothing is fast."""

from fractions import Fraction

import numpy as np


def exact_weights(features, labels, num_classes, l2):
    """Weights ``(P, C)`` as fractions, by Gauss-Jordan elimination of ``(XᵀX + l2 I) W = XᵀY``."""
    rows = [[Fraction(float(entry)) for entry in row] for row in features]
    columns = range(len(rows[0]))
    system = [
        [sum(row[i] * row[j] for row in rows) + (Fraction(l2) if i == j else 0) for j in columns]
        + [sum(row[i] for row, label in zip(rows, labels, strict=True) if label == c) for c in range(num_classes)]
        for i in columns
    ]
    for i in columns:
        system[i] = [entry / system[i][i] for entry in system[i]]
        for j in columns:
            if j != i:
                system[j] = [b - system[j][i] * a for a, b in zip(system[i], system[j], strict=True)]
    return [row[len(columns) :] for row in system]


def true_error(head, features, labels):
    """Relative error of a head's weights in the Frobenius norm."""
    exact = exact_weights(features, labels, len(head.weights), head.l2)
    off = sum(
        (Fraction(float(head.weights[c, i])) - exact[i][c]) ** 2
        for i in range(len(exact))
        for c in range(len(head.weights))
    )
    return float(off / sum(entry**2 for row in exact for entry in row)) ** 0.5


def difference(first, second):
    """Relative difference of two heads' weights in the Frobenius norm."""
    return np.linalg.norm(first.weights - second.weights) / np.linalg.norm(second.weights)
