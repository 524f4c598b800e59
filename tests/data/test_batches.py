"""Batches of derived data sets, against loops over single rows."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from natmu.data import ImageData
from natmu.data import batches as batches_module
from natmu.data.augment import crop_padding
from natmu.data.batches import Batches, Blend, Samples, joined, plain, render

from .test_augment import slow_shift

CPU = torch.device("cpu")


def image_data(count, shape=(1, 8, 8), classes=3, seed=0):
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 256, (count, *shape), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(0, classes, count))
    return ImageData(images, labels, tuple(f"class {number}" for number in range(classes)))


def mapped(data, folder):
    """The same data, its images read from a file."""
    path = folder / "images.npy"
    np.save(path, data.images.numpy())
    return ImageData(np.load(path, mmap_mode="r"), data.labels, data.class_names)


def make(data, batch_size=4, seed=0, augment=False, samples=None):
    rows = plain(torch.arange(len(data)), data.labels, augment=augment) if samples is None else samples
    return Batches(data, rows, batch_size=batch_size, seed=seed, device=CPU)


def order(batches, epoch):
    return torch.cat([batch.rows for batch in batches.epoch(epoch)]).tolist()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 5), st.integers(0, 10**6))
def test_every_row_comes_once_and_steps_are_of_the_promised_size(rows, batch_size, epoch, seed):
    data = image_data(rows)
    batches = make(data, batch_size, seed)
    found = list(batches.epoch(epoch))
    assert sorted(torch.cat([batch.rows for batch in found]).tolist()) == list(range(rows))
    assert len(found) == batches.steps(epoch)
    sizes = [len(batch.labels) for batch in found]
    whole, rest = divmod(rows, batch_size)
    if rest == 1 and whole:
        assert sizes == [batch_size] * (whole - 1) + [batch_size + 1]
    else:
        assert sizes == [batch_size] * whole + ([rest] if rest else [])
    for batch in found:
        assert batch.images.shape == (len(batch.rows), 1, 8, 8)
        assert batch.labels.tolist() == data.labels[batch.rows].tolist()
        assert torch.equal(batch.positions, batch.rows)


def test_the_order_depends_on_seed_and_epoch_alone():
    data = image_data(50)
    first, again, other = make(data, seed=1), make(data, batch_size=7, seed=1), make(data, seed=2)
    assert order(first, 3) == order(again, 3) == order(first, 3)
    assert len({tuple(order(first, epoch)) for epoch in range(6)}) == 6
    assert order(first, 0) != order(other, 0)


def test_epochs_can_be_asked_for_in_any_order():
    batches = make(image_data(20), augment=True)
    late = [batch.images for batch in batches.epoch(5)]
    list(batches.epoch(0))
    assert all(torch.equal(one, two.images) for one, two in zip(late, batches.epoch(5), strict=True))


def test_batches_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    list(make(image_data(20), augment=True).epoch(0))
    assert torch.equal(torch.get_rng_state(), state)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([(1, 8, 8), (3, 8, 8), (1, 9, 5), (3, 16, 24)]), st.booleans(), st.booleans(), st.integers(0, 10**6)
)
def test_pixels_are_those_of_a_loop_over_single_rows(shape, augment, blended, seed):
    """The augmented images are recovered from one another: crop and flip of each row must be one of those possible."""
    rng = np.random.default_rng(seed)
    data = image_data(12, shape, seed=seed)
    positions = torch.from_numpy(rng.integers(0, 12, 20))
    augmented = torch.from_numpy(rng.random(20) < 0.5) & augment
    blend, unblended = None, 20
    if blended:
        unblended = int(rng.integers(0, 21))
        blend = Blend(
            torch.from_numpy(rng.integers(0, 12, 20 - unblended)),
            torch.from_numpy(rng.integers(0, 3, 20 - unblended)),
            torch.from_numpy(rng.random((3, *shape[1:]), dtype=np.float32)),
        )
    samples = Samples(positions, data.labels[positions], augmented, blend)
    assert samples.unblended == unblended
    padding = crop_padding(shape)
    for batch in make(data, 6, seed, samples=samples).epoch(0):
        assert batch.images.dtype == torch.float32
        for row, image in zip(batch.rows.tolist(), batch.images.numpy(), strict=True):
            first = data.images[positions[row]].numpy()
            moves = [(padding, padding, False)]
            if augmented[row]:
                places = range(2 * padding + 1)
                moves = [(down, right, flip) for down in places for right in places for flip in (False, True)]
            candidates = (slow_shift(first, *move, padding).astype(np.float32) for move in moves)
            if blend is not None and row >= unblended:
                weight = blend.weights[blend.masks[row - unblended]].numpy()
                other = data.images[blend.others[row - unblended]].numpy().astype(np.float32)
                candidates = (np.floor(one * (1 - weight) + other * weight) for one in candidates)
            assert any(np.allclose(image, np.clip(one, 0, 255) / 255, atol=2e-6, rtol=0) for one in candidates)
        assert batch.labels.tolist() == samples.labels[batch.rows].tolist()
        assert batch.positions.tolist() == positions[batch.rows].tolist()


def test_a_blend_of_weight_zero_and_one_is_exact():
    data = image_data(4)
    weights = torch.stack([torch.zeros(8, 8), torch.ones(8, 8)])
    samples = Samples(
        torch.tensor([0, 0]),
        data.labels[[0, 0]],
        torch.zeros(2, dtype=torch.bool),
        Blend(torch.tensor([1, 1]), torch.tensor([0, 1]), weights),
    )
    images = render(data, samples, torch.tensor([0, 1]))
    assert torch.equal(images, data.images[:2].float() / 255)


def test_hybrids_are_not_augmented_but_the_retain_images_beside_them_are():
    data = image_data(200)
    augmented = torch.arange(200) < 100
    blend = Blend(torch.arange(100, 200), torch.zeros(100, dtype=torch.int64), torch.zeros(1, 8, 8))
    samples = Samples(torch.arange(200), data.labels, augmented, blend)
    for batch in make(data, 50, samples=samples).epoch(0):
        same = (batch.images == data.images[batch.rows].float() / 255).flatten(1).all(1)
        assert same[batch.rows >= 100].all()
        assert same[batch.rows < 100].float().mean() < 0.4


def tail_blended(data, count):
    """Every image once, some augmented, and another one blended into each of the last few."""
    rows = torch.arange(len(data))
    others, masks = rows.flip(0)[:count] // 2, rows[:count] % 2
    weights = torch.rand(2, *data.image_shape[1:], generator=torch.Generator().manual_seed(0))
    return Samples(rows, data.labels, rows % 3 > 0, Blend(others, masks, weights))


def blended_with_all(data, samples):
    """The same rows with an image blended into every one of them, at weight 0 where there was none."""
    blend, first = samples.blend, samples.unblended
    everywhere = Blend(
        torch.cat([samples.positions[:first], blend.others]),
        torch.cat([torch.zeros(first, dtype=torch.int64), blend.masks + 1]),
        torch.cat([torch.zeros(1, *data.image_shape[1:]), blend.weights]),
    )
    return Samples(samples.positions, samples.labels, samples.augmented, everywhere)


@pytest.mark.parametrize("share", [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize("count", [0, 1, 12, 30])
def test_pixels_are_to_the_bit_those_of_blending_every_row(share, count):
    data = image_data(30, (3, 12, 7))
    samples = tail_blended(data, count)
    one, other = (
        Batches(data, rows, batch_size=7, seed=5, device=CPU, share=share).epoch(2)
        for rows in (samples, blended_with_all(data, samples))
    )
    for some, every in zip(one, other, strict=True):
        assert torch.equal(some.rows, every.rows)
        assert torch.equal(some.images, every.images)


@pytest.mark.parametrize("batch_size", [7, 29])  # 29 leaves one row over, which joins the step before it
def test_rows_are_blended_alike_in_a_batch_and_on_their_own(batch_size):
    data = image_data(30)
    samples = tail_blended(data, 12)
    still = Samples(samples.positions, samples.labels, torch.zeros(30, dtype=torch.bool), samples.blend)
    for batch in make(data, batch_size, samples=still).epoch(0):
        assert torch.equal(render(data, still, batch.rows), batch.images)
        for row, image in zip(batch.rows, batch.images, strict=True):
            assert torch.equal(render(data, still, row[None])[0], image)


@pytest.mark.parametrize("count", [0, 5, 30])
def test_second_images_are_read_for_blended_rows_alone(tmp_path, monkeypatch, count):
    data = mapped(image_data(30), tmp_path)
    read, take = [], ImageData.take

    def noted(self, indices):
        read.extend(indices.tolist())
        return take(self, indices)

    monkeypatch.setattr(ImageData, "take", noted)
    samples = tail_blended(data, count)
    list(make(data, 7, samples=samples).epoch(0))
    assert sorted(read) == sorted([*range(30), *samples.blend.others.tolist()])


@pytest.mark.parametrize("share", [(0, 1), (1, 2)])
def test_nothing_in_an_epoch_asks_the_device_for_a_value(share):
    """Tensors on the meta device have none: whatever would wait for a GPU fails on them."""
    nowhere = torch.device("meta")
    data = image_data(30, (3, 12, 7))
    samples = tail_blended(data, 12)
    batches = Batches(data.to(nowhere), samples, batch_size=7, seed=5, device=nowhere, share=share)
    for batch in batches.epoch(0):
        assert batch.images.shape == (len(batch.rows), 3, 12, 7)
        assert {tensor.device for tensor in (batch.images, batch.labels, batch.positions)} == {nowhere}


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 7)])
def test_mapped_and_resident_data_give_the_same_batches(tmp_path, shape):
    data = image_data(30, shape)
    samples = tail_blended(data, 12)
    resident, lazy = make(data, 7, 5, samples=samples), make(mapped(data, tmp_path), 7, 5, samples=samples)
    assert resident.data.resident
    assert not lazy.data.resident
    for epoch in range(2):
        for one, two in zip(resident.epoch(epoch), lazy.epoch(epoch), strict=True):
            assert torch.equal(one.images, two.images)
            assert torch.equal(one.labels, two.labels)
            assert torch.equal(one.rows, two.rows)
            assert torch.equal(one.positions, two.positions)


def test_mapped_batches_are_prepared_one_step_ahead_in_one_other_thread(tmp_path, monkeypatch):
    seen = []

    def noted(*arguments):
        seen.append(threading.current_thread().name)
        return render(*arguments)

    monkeypatch.setattr(batches_module, "render", noted)
    iterator = make(mapped(image_data(20), tmp_path), 5).epoch(0)
    next(iterator)
    next(iterator)
    for _ in range(2):
        next(iterator)
    assert len(seen) == 4
    assert len(set(seen)) == 1
    assert threading.current_thread().name not in seen
    assert next(iterator, None) is None


def prefetching():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_abandoned_iteration_leaves_no_thread_behind(tmp_path):
    iterator = make(mapped(image_data(20), tmp_path), 5).epoch(0)
    next(iterator)
    assert prefetching()
    iterator.close()
    assert not prefetching()


def test_an_error_while_reading_ahead_reaches_the_loop(tmp_path, monkeypatch):
    calls = []

    def broken(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise OSError("the disk is gone")
        return render(*arguments)

    monkeypatch.setattr(batches_module, "render", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        list(make(mapped(image_data(20), tmp_path), 5).epoch(0))
    assert not prefetching()


def test_samples_may_be_derived_anew_for_each_epoch():
    data = image_data(40)

    def samples(epoch):
        return plain(torch.arange(10) + 10 * epoch, torch.full((10,), epoch), augment=False)

    batches = make(data, 4, samples=samples)
    assert (batches.rows(0), batches.steps(0)) == (10, 3)
    for epoch in range(3):
        found = list(batches.epoch(epoch))
        assert sorted(torch.cat([batch.positions for batch in found]).tolist()) == list(
            range(10 * epoch, 10 * epoch + 10)
        )
        assert {label for batch in found for label in batch.labels.tolist()} == {epoch}


def test_epochs_may_have_rows_of_their_own():
    data = image_data(40)
    passes = [
        plain(torch.arange(start, stop), data.labels[start:stop], augment=False) for start, stop in ((0, 9), (9, 40))
    ]
    batches = make(data, 4, samples=passes)
    assert [batches.rows(epoch) for epoch in (0, 1)] == [9, 31]
    assert [batches.steps(epoch) for epoch in (0, 1)] == [2, 8]
    for epoch, positions in enumerate((range(9), range(9, 40))):
        found = list(batches.epoch(epoch))
        assert len(found) == batches.steps(epoch)
        assert {batch.epoch for batch in found} == {epoch}
        assert sorted(torch.cat([batch.positions for batch in found]).tolist()) == list(positions)


def paired_batches(data, count, every=1, batch_size=4, augment=False, **options):
    rows = plain(torch.arange(20), data.labels[:20], augment=False)
    second = plain(torch.arange(20, 20 + count), data.labels[20 : 20 + count] + 10, augment=augment)
    return Batches(data, rows, batch_size=batch_size, seed=3, device=CPU, paired=second, paired_every=every, **options)


@pytest.mark.parametrize(("count", "size"), [(1, 2), (2, 2), (3, 3), (4, 4), (7, 4)])
def test_paired_rows_come_round_and_round_in_full_batches(count, size):
    data = image_data(40)
    found = [batch.paired for batch in paired_batches(data, count).epoch(0)]
    assert [len(batch.rows) for batch in found] == [size] * 5
    rows = torch.cat([batch.rows for batch in found])
    for start in range(0, len(rows) - count + 1, count):  # each round has every row once
        assert sorted(rows[start : start + count].tolist()) == list(range(count))
    for batch in found:
        assert torch.equal(batch.positions, batch.rows + 20)
        assert torch.equal(batch.labels, data.labels[batch.positions] + 10)
        assert torch.equal(batch.images, data.images[batch.positions].float() / 255)


@pytest.mark.parametrize("every", [1, 2, 3, 9])
def test_only_some_steps_have_paired_rows(every):
    found = list(paired_batches(image_data(40), 7, every).epoch(0))
    assert [batch.paired is not None for batch in found] == [step % every == 0 for step in range(5)]
    rows = torch.cat([batch.paired.rows for batch in found if batch.paired is not None])
    assert len(set(rows[:7].tolist())) == min(7, len(rows))


def test_paired_rows_differ_between_epochs_and_leave_the_others_alone():
    data = image_data(40)
    batches = paired_batches(data, 7)
    first, again, other = ([b.paired.rows.tolist() for b in batches.epoch(epoch)] for epoch in (0, 0, 1))
    assert first == again
    assert first != other
    alone = Batches(data, plain(torch.arange(20), data.labels[:20], augment=False), batch_size=4, seed=3, device=CPU)
    assert order(alone, 0) == order(batches, 0)


def test_paired_rows_are_augmented_where_they_are_asked_to_be():
    data = image_data(40)
    batches = paired_batches(data, 20, batch_size=20, augment=True)
    (batch,) = batches.epoch(0)
    still = (batch.paired.images == data.images[batch.paired.positions].float() / 255).flatten(1).all(1)
    assert still.float().mean() < 0.5
    assert torch.equal(batch.images, data.images[batch.positions].float() / 255)


def test_alternating_flips_show_each_image_both_ways_in_two_epochs():
    """Own rows and paired ones, each against the image and its mirror image."""
    data = image_data(30)
    rows = plain(torch.arange(20), data.labels[:20], augment=True)
    pairs = plain(torch.arange(20, 30), data.labels[20:], augment=True)
    batches = Batches(data, rows, batch_size=10, seed=3, device=CPU, paired=pairs, alternate=True)
    pixels = data.images.float() / 255
    sides = {"own": torch.zeros(4, 30), "paired": torch.zeros(4, 30)}
    for epoch in range(4):
        for batch in batches.epoch(epoch):
            for name, part in (("own", batch), ("paired", batch.paired)):
                straight = (part.images == pixels[part.positions]).flatten(1).all(1)
                mirrored = (part.images == pixels[part.positions].flip(3)).flatten(1).all(1)
                assert torch.equal(straight, ~mirrored)
                sides[name][epoch].index_add_(0, part.positions, mirrored.float() - straight.float())
    assert torch.equal(sides["own"][0], -sides["own"][1])
    assert torch.equal(sides["own"], sides["own"][[2, 3, 0, 1]])
    assert set(sides["own"][0, :20].tolist()) == {-1, 1}
    # a pair comes twice an epoch here, once each way
    assert not sides["paired"].any()


def test_paired_rows_of_mapped_data_are_the_same(tmp_path):
    data = image_data(40)
    for one, two in zip(
        paired_batches(data, 7).epoch(0), paired_batches(mapped(data, tmp_path), 7).epoch(0), strict=True
    ):
        assert torch.equal(one.paired.images, two.paired.images)


@pytest.mark.parametrize(("count", "rows"), [(1, 4), (3, 4), (5, 4), (6, 4)])
def test_several_processes_divide_paired_rows_between_them(count, rows):
    data = image_data(40)
    parts = [list(paired_batches(data, count, share=(rank, 2)).epoch(0)) for rank in (0, 1)]
    for first, second in zip(*parts, strict=True):
        assert len(first.paired.rows) == len(second.paired.rows) == rows // 2
        assert first.paired.weight == second.paired.weight == 1
    if count >= 4:
        whole = [batch.paired.rows.tolist() for batch in paired_batches(data, count).epoch(0)]
        both = [sorted([*a.paired.rows.tolist(), *b.paired.rows.tolist()]) for a, b in zip(*parts, strict=True)]
        assert both == [sorted(rows) for rows in whole]


def test_uneven_shares_of_paired_rows_are_weighted_by_their_rows():
    data = image_data(40)
    parts = [list(paired_batches(data, 5, batch_size=10, share=(rank, 2)).epoch(0)) for rank in (0, 1)]
    assert [(len(part[0].paired.rows), part[0].paired.weight) for part in parts] == [(3, 1.2), (2, 0.8)]


def test_images_are_channels_last_for_the_convolutions_that_follow():
    batch = next(iter(make(image_data(8, (3, 8, 8))).epoch(0)))
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_joined_rows_follow_one_another():
    data = image_data(6)
    both = joined(
        plain(torch.tensor([4, 2]), torch.tensor([0, 1]), augment=True),
        plain(torch.tensor([5]), torch.tensor([2]), augment=False),
    )
    assert both.positions.tolist() == [4, 2, 5]
    assert both.labels.tolist() == [0, 1, 2]
    assert both.augmented.tolist() == [True, True, False]
    assert len(both) == 3
    assert make(data, samples=both).rows(0) == 3


def test_joined_rows_keep_the_blend_of_the_second():
    data = image_data(6)
    blended = tail_blended(data, 6)
    both = joined(plain(torch.tensor([4, 2]), torch.tensor([0, 1]), augment=False), blended)
    assert both.unblended == 2
    images = render(data, both, torch.arange(8))
    assert torch.equal(images[:2], data.images[[4, 2]].float() / 255)
    assert torch.equal(images[2:], render(data, blended, torch.arange(6)))
