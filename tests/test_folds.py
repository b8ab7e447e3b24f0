"""Every row is tested as often as every other; what is learnt from rows is learnt from training rows alone."""

import jax
import numpy as np
import pytest

from jaxnn.lab import Task, splits, stack, task
from jaxnn.lab.folds import POINTS, scaling

NAMES = ["iris", "wine", "digits", "moons"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_folds_part_the_rows(name, repeats):
    found = splits(task(name), repeats=repeats)
    rows, fold = found.task.rows, found.task.rows // 5
    assert len(found) == 5 * repeats
    assert [part.shape for part in (found.train, found.validation, found.test)] == [
        (5 * repeats, rows - 2 * fold), (5 * repeats, fold), (5 * repeats, fold),
    ]  # fmt: skip
    for train, validation, test in zip(found.train, found.validation, found.test, strict=True):
        assert sorted(np.concatenate([train, validation, test])) == list(range(rows))
    for repeat in range(repeats):
        for part in (found.validation, found.test):
            held = np.concatenate(part[5 * repeat : 5 * repeat + 5])
            assert len(np.unique(held)) == len(held) == 5 * fold  # up to four rows stay in training
    assert len(np.unique(found.test)) == (rows if repeats > 2 or rows % 5 == 0 else len(np.unique(found.test)))


@pytest.mark.parametrize("name", NAMES)
def test_every_part_has_every_class_in_proportion(name):
    found = splits(task(name))
    share = np.bincount(found.task.y) / found.task.rows
    for part in (found.train, found.validation, found.test):
        for rows in part:
            count = np.bincount(found.task.y[rows], minlength=len(share))
            assert np.all(np.abs(count - share * len(rows)) <= 3)


def test_a_class_with_five_rows_is_in_every_part_and_one_with_fewer_is_not():
    y = (np.arange(100) < 5).astype(np.int32)
    found = splits(Task("rare", np.zeros((100, 1)), y, ("no", "yes")))
    for part in (found.train, found.validation, found.test):
        assert all(y[rows].any() for rows in part)
    found = splits(Task("rarer", np.zeros((100, 1)), (np.arange(100) < 4).astype(np.int32), ("no", "yes")))
    assert not all(found.task.y[rows].any() for rows in found.test)


def test_the_seed_decides():
    one, again, other = (splits(task("iris"), seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.test, again.test)
    assert one.digest == again.digest != other.digest
    assert not np.array_equal(one.test, other.test)
    assert not np.array_equal(np.sort(one.test[0]), np.sort(one.test[5]))  # the second repeat deals anew


def test_parts_are_scaled_by_their_training_rows():
    found = splits(task("wine"))
    for split in (0, 7):
        parts = found.parts(split)
        np.testing.assert_allclose(parts.train[0].mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(parts.train[0].std(0), 1, atol=1e-5)
        assert abs(parts.test[0].mean(0)).max() > 0.05
        raw = found.task.x[found.test[split]]
        train = found.task.x[found.train[split]].astype(float)
        np.testing.assert_allclose(parts.test[0], (raw - train.mean(0)) / train.std(0), rtol=1e-4, atol=1e-5)


def test_a_truth_table_has_one_split_in_which_all_rows_are_everything():
    found = splits(task("xor"), repeats=7)
    assert (len(found), found.train_rows) == (1, 4)
    parts = found.parts(0)
    assert (parts.validation, parts.test) == (None, None)
    np.testing.assert_array_equal(parts.train[0], task("xor").x)


def test_rows_that_were_brought_along_are_those_of_every_split():
    iris = task("iris")
    train, test = np.arange(0, 150, 2), np.arange(1, 150, 2)
    brought = task((iris.x[train], iris.y[train]), test=(iris.x[test], iris.y[test]))
    found = splits(brought)
    assert found.train.shape == (10, 60)
    assert np.all(found.test == np.arange(75))
    parts = found.parts(3)
    np.testing.assert_array_equal(parts.test[1], iris.y[test])
    assert not set(found.train[0].tolist()) & set(found.validation[0].tolist())


def test_whole_numbers_are_codes_and_stay():
    rows = {"tokens": np.arange(6).reshape(3, 2), "size": np.array([[1.0], [3.0], [5.0]])}
    scaled = scaling(rows)(rows)
    np.testing.assert_array_equal(scaled["tokens"], rows["tokens"])
    np.testing.assert_allclose(scaled["size"].ravel(), [-1.2247, 0, 1.2247], rtol=1e-4)


def test_a_task_in_the_plane_has_a_grid_over_its_rows():
    found = splits(task("moons"))
    grid = found.parts(0).plane
    assert grid.shape == (POINTS**2, 2)
    (left, right), (low, high) = found.axes
    assert left < found.task.x[:, 0].min() < found.task.x[:, 0].max() < right
    assert low < found.task.x[:, 1].min() < found.task.x[:, 1].max() < high
    assert grid[1, 0] > grid[0, 0]
    assert grid[POINTS, 1] > grid[0, 1]
    assert splits(task("iris")).parts(0).plane is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: splits(task("iris"), repeats=0), "repeats=0; expected at least 1"),
        (lambda: splits(task(([[0.0], [1.0]], [0, 1]))), "rows has 2 rows; expected at least 10, two for each fold"),
    ],
)
def test_what_cannot_be_split(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_splits_are_the_same_whatever_the_devices_draw():
    """Dealing is numpy's, seeded by the key's bits."""
    with jax.default_prng_impl("threefry2x32"):
        np.testing.assert_array_equal(splits(task("iris")).test, splits(task("iris")).test)


def test_stacked_tables_have_the_parts_of_each():
    several = [splits(task("moons", seed=seed), repeats=1, seed=seed) for seed in range(3)]
    stacked = stack(several)
    for table, one in enumerate(several):
        for split in range(5):
            for found, part in zip(stacked.parts(5 * table + split)[:3], one.parts(split)[:3], strict=True):
                np.testing.assert_array_equal(found[0], part[0])
                np.testing.assert_array_equal(found[1], part[1])
    some = stacked.take([3, 7])
    np.testing.assert_array_equal(some.parts(1).test[1], stacked.parts(7).test[1])
