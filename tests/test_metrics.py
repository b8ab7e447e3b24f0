"""Every metric against scikit-learn, with and without weights, ties, padding; the record recomputed."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as reference

from jaxnn.metrics import (
    METRICS,
    calibration_error,
    confusion_matrix,
    get,
    log_likelihood,
    row_values,
    zero_probability_share,
)

ROWS = 200
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
class_counts = pytest.mark.parametrize("classes", [2, 4])
weighting = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])


# All metrics in one program, compiled once for each shape and dtype.
evaluate = jax.jit(lambda p, y, w=None: {name: metric.fn(p, y, w) for name, metric in METRICS.items()})
mapped = jax.jit(jax.vmap(evaluate, (0, None)))


def draw(classes, seed=0):
    """Probabilities rounded to quarters of the likelihood, so that there are ties and zeros, and imbalanced labels."""
    rng = np.random.default_rng(seed)
    labels = np.minimum(rng.geometric(0.4, ROWS) - 1, classes - 1)
    scores = np.round(2 * (rng.normal(size=(ROWS, classes)) + 1.5 * np.eye(classes)[labels])) / 2
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    return p, labels, rng.integers(0, 4, ROWS) / 2.0


def expected_calibration_error(p, y, w, bins=15):
    """The definition with a loop over the bins; edges belong to the bin below."""
    confidence, right, total = p.max(1), p.argmax(1) == y, 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if w[inside].sum() > 0:
            gap = np.average(right[inside], weights=w[inside]) - np.average(confidence[inside], weights=w[inside])
            total += abs(gap) * w[inside].sum() / w.sum()
    return total


def area(p, y, w):
    """The mean over the classes that have rows and leave some to others; of two classes it is the area for class 1."""
    classes = [k for k in range(int(p.shape[1] == 2), p.shape[1]) if 0 < w[y == k].sum() < w.sum()]
    areas = [reference.roc_auc_score(y == k, p[:, k], sample_weight=w) for k in classes]
    return np.mean(areas) if areas else np.nan


REFERENCES = {
    "accuracy": lambda p, y, w: reference.accuracy_score(y, p.argmax(1), sample_weight=w),
    "balanced_accuracy": lambda p, y, w: reference.balanced_accuracy_score(y, p.argmax(1), sample_weight=w),
    "macro_f1": lambda p, y, w: reference.f1_score(y, p.argmax(1), average="macro", sample_weight=w),
    "log_likelihood": lambda p, y, w: -reference.log_loss(y, p, sample_weight=w, labels=range(p.shape[1])),
    "least_probability": lambda p, y, w: p[np.arange(len(y)), y][w > 0].min(),
    "brier": lambda p, y, w: reference.brier_score_loss(
        y, p, sample_weight=w, scale_by_half=False, labels=range(p.shape[1])
    ),
    "calibration_error": expected_calibration_error,
    "roc_auc": area,
    "zero_probability_share": lambda p, y, w: np.average(p[np.arange(len(y)), y] == 0, weights=w),
}


@every_metric
@class_counts
@weighting
def test_metric_equals_its_reference(metric, classes, weighted):
    p, y, w = draw(classes)
    w = w if weighted else np.ones(ROWS)
    with jax.enable_x64(True):
        got = evaluate(jnp.asarray(p), jnp.asarray(y), jnp.asarray(w) if weighted else None)[metric.name]
        np.testing.assert_allclose(got, REFERENCES[metric.name](p, y, w), rtol=1e-12, atol=1e-14)


@every_metric
@class_counts
def test_weights_matter_and_equal_repeated_rows(metric, classes):
    p, y, w = draw(classes)
    p[:20] = np.eye(classes)[(y[:20] + 1) % classes]
    counts = (2 * w).astype(int)
    again = np.repeat(np.arange(ROWS), counts)
    with jax.enable_x64(True):
        weighted = evaluate(p, y, counts)[metric.name]
        np.testing.assert_allclose(weighted, evaluate(p[again], y[again])[metric.name], rtol=1e-12)
        assert weighted != evaluate(p, y, jnp.asarray(counts).at[:20].set(0))[metric.name]


@class_counts
@weighting
def test_confusion_matrix(classes, weighted):
    p, y, w = draw(classes)
    got = confusion_matrix(jnp.asarray(p, jnp.float32), jnp.asarray(y), jnp.asarray(w) if weighted else None)
    expected = reference.confusion_matrix(y, p.argmax(1), sample_weight=w if weighted else None)
    np.testing.assert_array_equal(got, expected)


@every_metric
def test_padding_jit_vmap_dtype_and_strictness(metric, strict):
    p, y, _ = draw(4)
    p, y = p.astype(np.float32), y.astype(np.int32)
    plain = metric.fn(jnp.asarray(p), jnp.asarray(y))
    assert plain.shape == ()
    np.testing.assert_allclose(evaluate(p, y)[metric.name], plain, rtol=1e-6)
    # Padding that is confident and wrong, with p_y = 0.
    padded = np.concatenate([p, np.eye(4, dtype=p.dtype)[np.ones(7, int)]]), np.concatenate([y, np.zeros(7, y.dtype)])
    weights = np.repeat(np.array([1, 0], np.float32), [ROWS, 7])
    np.testing.assert_allclose(evaluate(*padded, weights)[metric.name], plain, rtol=1e-6)
    both = mapped(np.stack([p, p[::-1]]), y)[metric.name]
    np.testing.assert_allclose(both, [plain, evaluate(p[::-1], y)[metric.name]], rtol=1e-6)
    for dtype in (jnp.bfloat16, jnp.float16):
        half = jax.eval_shape(evaluate, p.astype(dtype), y, np.ones(ROWS, dtype))[metric.name]
        assert half.dtype == jnp.float32


@every_metric
@class_counts
def test_range_is_attained_by_the_right_and_the_wrong_answer(metric, classes):
    y, sure = np.arange(12, dtype=np.int32) % classes, np.eye(classes, dtype=np.float32)
    right, wrong = (evaluate(sure[shown], y)[metric.name] for shown in (y, (y + 1) % classes))
    low, high = metric.range
    best, worst = (high, low) if metric.greater_is_better else (low, high)
    assert right == best
    assert (right > wrong) == metric.greater_is_better
    # With more than two classes an always-wrong ranking is not the reversed one; a logarithm of zero is held finite.
    assert wrong == worst or (metric.name, classes) == ("roc_auc", 4) or np.isinf(worst)
    for seed in range(3):
        p, labels, w = draw(classes, seed)
        got = evaluate(jnp.asarray(p, jnp.float32), jnp.asarray(labels), jnp.asarray(w, jnp.float32))
        assert low <= got[metric.name] <= high


# Edges.


def test_ties_in_the_prediction_go_to_the_first_class():
    p = jnp.full((2, 2), 0.5)
    np.testing.assert_array_equal(confusion_matrix(p, jnp.array([0, 1])), [[1, 0], [1, 0]])


@every_metric
@pytest.mark.parametrize(("classes", "present"), [(4, [0, 1, 2]), (4, [1, 3]), (4, [2]), (2, [1])], ids=str)
@pytest.mark.filterwarnings("ignore:y_pred contains classes:UserWarning")  # they are what this is about
def test_labels_that_lack_a_class(metric, classes, present):
    """The class is still predicted, and has probabilities; scikit-learn where it has an answer."""
    p, y, w = draw(classes)
    y = np.array(present)[y % len(present)]
    assert set(p.argmax(1)) == set(range(classes))
    with jax.enable_x64(True):
        got = float(evaluate(jnp.asarray(p), jnp.asarray(y), jnp.asarray(w))[metric.name])
    np.testing.assert_allclose(got, REFERENCES[metric.name](p, y, w), rtol=1e-12, atol=1e-14)
    assert np.isnan(got) == (metric.name == "roc_auc" and len(present) == 1)
    if metric.name == "balanced_accuracy":  # a recall of 0 for a class without rows would be another number
        zero = reference.recall_score(
            y, p.argmax(1), labels=range(classes), average="macro", zero_division=0, sample_weight=w
        )
        assert got > 1.1 * zero


def test_classes_without_rows_are_left_out():
    p, y = jnp.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]), jnp.array([0, 1, 1])
    got = evaluate(p, y)
    assert got["balanced_accuracy"] == 0.75
    np.testing.assert_allclose(got["macro_f1"], 2 / 3, rtol=1e-6)
    assert got["roc_auc"] == 1
    assert jnp.isnan(evaluate(p, jnp.zeros(3, int))["roc_auc"])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_a_probability_of_zero_is_counted_and_keeps_the_likelihood_finite(dtype):
    p, y = jnp.array([[1.0, 0.0], [0.5, 0.5]], dtype), jnp.array([1, 1])
    assert zero_probability_share(p, y) == 0.5
    expected = (np.log(float(jnp.finfo(dtype).tiny)) + np.log(0.5)) / 2
    np.testing.assert_allclose(log_likelihood(p, y), expected, rtol=1e-5)


def test_no_weight_at_all_is_no_number():
    p, y, _ = draw(2)
    got = evaluate(jnp.asarray(p, jnp.float32), jnp.asarray(y), jnp.zeros(ROWS, jnp.float32))
    assert all(jnp.isnan(value) for value in got.values())


@pytest.mark.parametrize("bins", [1, 10])
def test_calibration_error_with_other_bins_and_of_a_calibrated_forecast(bins):
    p, y, w = draw(4)
    with jax.enable_x64(True):
        got = jax.jit(partial(calibration_error, bins=bins))(jnp.asarray(p), jnp.asarray(y), jnp.asarray(w))
        np.testing.assert_allclose(got, expected_calibration_error(p, y, w, bins), rtol=1e-12)
        honest = jnp.tile(jnp.array([[0.75, 0.25]]), (4, 1))
        np.testing.assert_allclose(calibration_error(honest, jnp.array([0, 0, 0, 1]), bins=bins), 0, atol=1e-15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: get("acuracy"), "unknown metric 'acuracy'; did you mean 'accuracy'"),
        (lambda: METRICS["brier"].fn(jnp.ones((3, 2)), jnp.zeros(2, int)), r"labels of shape \(2,\) do not fit"),
        (lambda: METRICS["brier"].fn(jnp.ones((3, 2)), jnp.zeros(3)), "expected integers"),
        (
            lambda: METRICS["brier"].fn(jnp.ones((3, 2)), jnp.zeros(3, int), jnp.ones(2)),
            r"weights of shape \(2,\); expected",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_names_are_keys():
    assert all(get(name) is metric and metric.name == name for name, metric in METRICS.items())
    assert get(METRICS["brier"]) is METRICS["brier"]


class TestRowValues:
    @pytest.mark.parametrize(
        "name", ["accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "log_likelihood", "brier"]
    )
    def test_their_mean_is_the_metric_and_each_is_the_influence_of_its_row(self, name):
        """Against the metric with a row counted slightly more."""
        with jax.enable_x64(True):
            rng = np.random.default_rng(0)
            p = jnp.asarray(rng.dirichlet([1, 1, 1], 40))
            y, metric = jnp.asarray(rng.integers(0, 3, 40), jnp.int32), METRICS[name]
            values, value = row_values(metric, p, y), metric.fn(p, y)
            np.testing.assert_allclose(values.mean(), value, rtol=1e-12)
            for row in range(0, 40, 7):
                more, less = (metric.fn(p, y, jnp.ones(40).at[row].add(step)) for step in (1e-4, -1e-4))
                np.testing.assert_allclose(values[row], value + 40 * (more - less) / 2e-4, rtol=1e-5, atol=1e-7)

    def test_of_accuracy_they_are_right_or_wrong(self):
        p, y = jnp.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]), jnp.array([0, 1, 1])
        np.testing.assert_allclose(row_values(METRICS["accuracy"], p, y), [1, 0, 1], atol=1e-6)

    def test_of_the_roc_area_they_are_delongs_placement_values(self):
        rng = np.random.default_rng(1)
        score, y = rng.random(30), rng.integers(0, 2, 30)
        p = jnp.asarray(np.c_[1 - score, score], jnp.float32)
        positive, negative = score[y == 1], score[y == 0]
        area = np.mean(positive[:, None] > negative)
        placement = np.array(
            [np.mean(s > negative) if k else np.mean(positive > s) for s, k in zip(score, y, strict=True)]
        )
        share = np.where(y == 1, np.mean(y == 1), np.mean(y == 0))
        np.testing.assert_allclose(
            row_values(METRICS["roc_auc"], p, jnp.asarray(y)), area + (placement - area) / share, rtol=1e-4
        )
