from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from natmu.scores import Panel, exposed_samples, margin
from natmu.scores.exposure import COLUMNS, RISEN

from .test_examine import COUNTS, World


@pytest.fixture(scope="module")
def panel():
    world = World(3)
    original = world.model("retain", "forget")
    return Panel(world.model("retain"), world.retrained(3), original)


@pytest.fixture(scope="module")
def positions():
    order = np.random.default_rng(0).permutation(COUNTS["forget"] + COUNTS["retain"])
    return np.sort(order[: COUNTS["forget"]]), np.sort(order[COUNTS["forget"] :])


def test_every_forget_sample_has_a_row_with_its_own_numbers(panel, positions):
    forget, retain = positions
    difficulty = np.arange(len(forget) + len(retain), dtype=np.float32)
    rows = [row for row in exposed_samples(panel, forget, retain, difficulty) if row["part"] == "forget"]
    assert sorted(row["index"] for row in rows) == forget.tolist()
    assert [row["rank"] for row in rows] == [*range(1, len(rows) + 1)]
    without = np.mean([margin(one.forget) for one in panel.retrained], axis=0)
    for row in rows:
        place = int(np.searchsorted(forget, row["index"]))
        assert list(row) == list(COLUMNS)
        assert row["class"] == panel.model.forget.labels[place]
        assert row["difficulty"] == row["index"]
        assert row["margin_retrained"] == pytest.approx(without[place])
        assert row["exposure"] == pytest.approx(margin(panel.model.forget)[place] - without[place])


def test_the_most_exposed_come_first(panel, positions):
    rows = [row for row in exposed_samples(panel, *positions, None) if row["part"] == "forget"]
    ranked = [row["rmia"] for row in rows]
    assert ranked == sorted(ranked, reverse=True)
    assert 0 <= ranked[-1] < ranked[0] <= 1
    alone = Panel(panel.model, panel.retrained[:1], panel.original)
    rows = [row for row in exposed_samples(alone, *positions, None) if row["part"] == "forget"]
    assert all(row["rmia"] is None for row in rows)
    assert [row["exposure"] for row in rows] == sorted((row["exposure"] for row in rows), reverse=True)


def test_retain_samples_are_listed_by_the_rise_over_the_original(panel, positions):
    rows = [row for row in exposed_samples(panel, *positions, None) if row["part"] == "retain"]
    rise = margin(panel.model.retain) - margin(panel.original.retain)
    assert 0 < len(rows) <= RISEN
    assert [row["exposure"] for row in rows] == pytest.approx(np.sort(rise[rise > 0])[::-1][:RISEN])
    for row in rows:
        place = int(np.searchsorted(positions[1], row["index"]))
        assert row["exposure"] == pytest.approx(rise[place])


def test_without_a_retrained_model_samples_are_listed_by_their_margin(panel, positions):
    rows = exposed_samples(Panel(panel.model, original=panel.original), *positions, None)
    assert all(row["margin_retrained"] is None for row in rows)
    margins = [row["margin"] for row in rows if row["part"] == "forget"]
    assert margins == sorted(margins, reverse=True)
    assert all(row["exposure"] is None for row in rows if row["part"] == "forget")


def test_without_unseen_samples_of_a_forgotten_class_the_exposure_decides(panel, positions):
    def bare(one):
        return replace(one, forget_test=one.test.take(np.arange(0)))

    lacking = Panel(bare(panel.model), [bare(one) for one in panel.retrained])
    rows = exposed_samples(lacking, *positions, None)
    assert all(row["rmia"] is None for row in rows)
    assert [row["exposure"] for row in rows] == sorted((row["exposure"] for row in rows), reverse=True)


def test_without_an_original_no_rise_is_known(panel, positions):
    rows = exposed_samples(Panel(panel.model, panel.retrained), *positions, None)
    assert {row["part"] for row in rows} == {"forget"}
