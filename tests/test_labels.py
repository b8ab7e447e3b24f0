"""Labels checked on the host, and the mean that weighs rows and classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss

from jaxnn.heads import HEADS
from jaxnn.labels import check_labels, one_hot, weighted_mean

RNG = np.random.default_rng(2)
SCORES, LABELS = jnp.asarray(RNG.normal(size=(30, 3)), jnp.float32), jnp.asarray(RNG.integers(0, 3, 30))
LOSSES = HEADS["softmax"].loss(SCORES, LABELS)
CLASS_WEIGHT, SAMPLE_WEIGHT = jnp.array([0.5, 1.0, 3.0]), jnp.asarray(RNG.random(30), jnp.float32)


@pytest.mark.parametrize("class_weight", [None, CLASS_WEIGHT])
@pytest.mark.parametrize("sample_weight", [None, SAMPLE_WEIGHT])
def test_weighted_mean_is_the_one_of_scikit_learn(class_weight, sample_weight, strict):
    rows = np.ones(30) if sample_weight is None else np.asarray(sample_weight)
    rows = rows if class_weight is None else rows * np.asarray(class_weight)[LABELS]
    reference = log_loss(LABELS, jax.nn.softmax(SCORES), sample_weight=rows)
    got = jax.jit(weighted_mean)(LOSSES, LABELS, class_weight, sample_weight)
    np.testing.assert_allclose(got, reference, rtol=1e-5)


def test_a_class_of_weight_two_is_a_class_seen_twice():
    twice = np.concatenate([np.arange(30), np.flatnonzero(LABELS == 1)])
    got = weighted_mean(LOSSES, LABELS, class_weight=jnp.array([1.0, 2.0, 1.0]))
    np.testing.assert_allclose(got, LOSSES[twice].mean(), rtol=1e-6)
    assert abs(got - LOSSES.mean()) > 0.01


def test_a_row_of_weight_zero_has_no_say_and_no_gradient():
    losses, weights = jnp.array([1.0, jnp.inf, jnp.nan, 3.0]), jnp.array([1.0, 0.0, 0.0, 1.0])
    value, grad = jax.value_and_grad(weighted_mean)(losses, jnp.zeros(4, int), None, weights)
    assert value == 2
    np.testing.assert_array_equal(grad, [0.5, 0, 0, 0.5])
    assert jnp.isnan(weighted_mean(losses, jnp.zeros(4, int), None, jnp.zeros(4)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_dtype_is_kept_and_many_rows_are_counted_right(dtype, strict):
    many = jnp.full(70_000, 2.0, dtype)  # half precision can neither count nor hold so many
    mean = weighted_mean(many, jnp.zeros(70_000, int), CLASS_WEIGHT, jnp.ones(70_000))
    assert mean.dtype == dtype
    assert mean == 2


def test_one_hot_marks_the_class_and_keeps_dtype():
    got = one_hot(jnp.array([[0, 2], [1, 3]]), jnp.zeros((2, 2, 3), jnp.bfloat16))
    assert got.dtype == jnp.bfloat16
    np.testing.assert_array_equal(got, [[[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 0, 0]]])


@pytest.mark.parametrize("labels", [[0, 1, 2], np.array([2, 0], np.int64), jnp.array([1], jnp.int8), np.zeros(0, int)])
def test_good_labels_pass(labels):
    check_labels(labels, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_labels([0, 3, 4], 3), "2 outside the 3 classes, the first is 3; expected 0 to 2"),
        (lambda: check_labels([-1, 0], 2), "the first is -1"),
        (lambda: check_labels([0.0, 1.0], 2), r"float64; expected integers: labels.astype\('int32'\)"),
        (lambda: check_labels([True], 2), "bool; expected integers"),
        (
            lambda: weighted_mean(LOSSES, LABELS, jnp.ones((30, 3))),
            r"class_weight of shape \(30, 3\); expected \(classes,\)",
        ),
        (lambda: weighted_mean(LOSSES, LABELS, None, jnp.ones(3)), r"sample_weight of shape \(3,\); expected \(30,\)"),
        (lambda: one_hot(jnp.zeros(3, int), jnp.zeros((2, 3))), r"labels of shape \(3,\) do not fit"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("losses", "labels"), [((4, 1), (4,)), ((4,), (4, 1)), ((3,), (1,)), ((3,), (2,))])
@pytest.mark.parametrize("class_weight", [None, [1.0, 3.0]])
def test_losses_and_labels_of_other_shapes_are_refused(losses, labels, class_weight):
    with pytest.raises(ValueError, match="expected one shape for both"):
        weighted_mean(jnp.ones(losses), jnp.zeros(labels, int), class_weight)


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 1, -1]])
def test_a_label_beyond_the_class_weights_is_refused(labels):
    """It had weight zero, and the mean forgot its row."""
    with pytest.raises(ValueError, match="outside the 2 classes"):
        weighted_mean([1.0, 1.0, 100.0], labels, class_weight=[1.0, 1.0])
    traced = jax.jit(weighted_mean)(jnp.array([1.0, 1.0, 100.0]), jnp.array(labels), jnp.ones(2))
    assert np.isnan(traced)
    assert weighted_mean([1, 1, 100], [0, 1, 1], class_weight=[1, 1]) == 34
