"""Digits with wrong labels, as the demo forgets them."""

from __future__ import annotations

import numpy as np

from natmu.data.digits import load_digits, with_wrong_labels
from natmu.studies import demo_recipe, with_listed_labels


def test_a_twelfth_of_the_digits_below_nine_has_another_label_below_nine():
    (true, test), (wrong, same) = load_digits(), with_wrong_labels()
    differs = true.labels != wrong.labels
    below = true.labels < 9
    assert int(differs.sum()) == int(below.sum()) // 12
    assert bool(below[differs].all())
    assert int(wrong.labels[differs].max()) < 9
    assert (true.images == wrong.images).all()
    assert (test.labels == same.labels).all()
    assert (with_wrong_labels()[0].labels == wrong.labels).all()


def test_the_list_names_each_wrong_label_with_the_true_one(tmp_path):
    recipe = with_listed_labels(demo_recipe(), tmp_path)
    assert recipe.forget[0].file == tmp_path / "demo/wrong-labels.csv"
    assert recipe.forget[1:] == demo_recipe().forget[1:]
    listed = np.loadtxt(recipe.forget[0].file, int, delimiter=",", skiprows=1)
    corrected = with_wrong_labels()[0].labels.numpy().copy()
    corrected[listed[:, 0]] = listed[:, 1]
    assert len(np.unique(listed[:, 0])) == len(listed)
    assert (corrected == load_digits()[0].labels.numpy()).all()
