"""The losses on top of the heads, against optax, NumPy and the heads' own losses."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn.heads import HEADS, get
from jaxnn.losses import (
    with_focal_loss,
    with_hinge_loss,
    with_label_smoothing,
    with_perceptron_loss,
    with_poly_loss,
    with_squared_loss,
)

WITH = (
    with_label_smoothing,
    with_focal_loss,
    with_poly_loss,
    with_squared_loss,
    with_hinge_loss,
    with_perceptron_loss,
)
MARGIN = (with_hinge_loss, with_perceptron_loss)


def draw(scores, classes, rows=50, scale=3.0, dtype=jnp.float32):
    rng = np.random.default_rng(1)
    z = rng.normal(size=(rows, scores)) * np.geomspace(0.1, scale, rows)[:, None]
    return jnp.asarray(z, dtype), jnp.asarray(rng.integers(0, classes, rows))


def classes_of(head):
    return 2 if head.scores is HEADS["sigmoid"].scores else 4


def heads_of(make):
    return [head for head in HEADS.values() if head.ordered or make not in MARGIN]


def close(a, b, rtol=1e-12, atol=1e-14):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


# References.


def test_label_smoothing_is_cross_entropy_with_smoothed_labels():
    with jax.enable_x64(True):
        z, y = draw(4, 4, dtype=jnp.float64)
        smooth = optax.losses.smooth_labels(jax.nn.one_hot(y, 4), 0.2)
        close(with_label_smoothing("softmax", 0.2).loss(z, y), optax.losses.softmax_cross_entropy(z, smooth))
        z, y = draw(1, 2, dtype=jnp.float64)
        smooth = optax.losses.smooth_labels(jax.nn.one_hot(y, 2), 0.2)[:, 1]
        reference = optax.losses.sigmoid_binary_cross_entropy(z[:, 0], smooth)
        close(with_label_smoothing("sigmoid", 0.2).loss(z, y), reference)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_focal_loss(gamma):
    with jax.enable_x64(True):
        z, y = draw(1, 2, dtype=jnp.float64)
        close(with_focal_loss("sigmoid", gamma).loss(z, y), optax.losses.sigmoid_focal_loss(z[:, 0], y, gamma=gamma))
        z, y = draw(4, 4, dtype=jnp.float64)
        p = np.asarray(jax.nn.softmax(z))[np.arange(50), y]
        close(with_focal_loss("softmax", gamma).loss(z, y), -((1 - p) ** gamma) * np.log(p), rtol=1e-9)


def test_poly_loss():
    with jax.enable_x64(True):
        z, y = draw(4, 4, dtype=jnp.float64)
        reference = optax.losses.poly_loss_cross_entropy(z, jax.nn.one_hot(y, 4), epsilon=1.5)
        close(with_poly_loss("softmax", 1.5).loss(z, y), reference)


def test_margin_losses():
    with jax.enable_x64(True):
        z, y = draw(4, 4, dtype=jnp.float64)
        close(with_hinge_loss("softmax").loss(z, y), optax.losses.multiclass_hinge_loss(z, y))
        close(with_perceptron_loss("softmax").loss(z, y), optax.losses.multiclass_perceptron_loss(z, y))
        z, y = draw(1, 2, dtype=jnp.float64)
        close(with_hinge_loss("sigmoid").loss(z, y), optax.losses.hinge_loss(z[:, 0], 2 * y - 1))
        close(with_perceptron_loss("sigmoid").loss(z, y), optax.losses.perceptron_loss(z[:, 0], 2 * y - 1))


@pytest.mark.parametrize("head", HEADS.values(), ids=lambda head: head.name)
def test_squared_loss(head):
    classes = classes_of(head)
    z, y = draw(head.scores(classes), classes)
    p, loss = jax.jit(lambda z, y: (head.probabilities(z), with_squared_loss(head).loss(z, y)))(z, y)
    close(loss, np.sum((np.asarray(p) - np.eye(classes)[y]) ** 2, 1), rtol=1e-5, atol=1e-6)


# Properties of all of them, on every head that they take.


@pytest.mark.parametrize("make", WITH, ids=lambda make: make.__name__)
def test_gradients_are_those_of_the_loss(make):
    """Against central differences along one direction, for every head that the loss takes."""

    def compare(head, z, y):
        v = jnp.cos(7 * z)
        loss = make(head).loss
        up, down = jax.lax.map(lambda z: loss(z, y), jnp.stack([z + 1e-6 * v, z - 1e-6 * v]))
        return (up - down) / 2e-6, jnp.sum(jax.vmap(jax.grad(loss))(z, y) * v, -1)

    with jax.enable_x64(True):
        heads = heads_of(make)
        rows = [draw(h.scores(classes_of(h)), classes_of(h), rows=6, scale=1.0, dtype=jnp.float64) for h in heads]
        results = jax.jit(lambda rows: [compare(h, *row) for h, row in zip(heads, rows, strict=True)])(rows)
        for head, (numeric, exact) in zip(heads, results, strict=True):
            np.testing.assert_allclose(exact, numeric, rtol=1e-6, atol=1e-8, err_msg=head.name)


@pytest.mark.parametrize("make", WITH, ids=lambda make: make.__name__)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float32], ids=lambda d: d.__name__)
def test_finite_dtype_kept_and_probabilities_unchanged(make, dtype, strict):
    far = min(1e4, float(jnp.finfo(dtype).max) / 100)  # a slope of focal is a multiple of the loss: both must fit

    def rows(head):
        k = classes_of(head)
        corners = np.stack(np.meshgrid(*[[-far, 0, far]] * head.scores(k)), -1).reshape(-1, head.scores(k))
        return corners.astype(dtype), np.arange(len(corners), dtype=np.int32) % k

    def outputs(head, z, y):
        return jax.vmap(jax.value_and_grad(make(head).loss))(z, y)

    heads = heads_of(make)
    program = jax.jit(lambda rows: [outputs(h, *row) for h, row in zip(heads, rows, strict=True)])
    results = jax.device_get(program(list(map(rows, heads))))
    for head, (loss, grad) in zip(heads, results, strict=True):
        assert loss.dtype == grad.dtype == dtype, head.name
        assert all(np.isfinite(x).all() for x in (loss, grad)), head.name
        assert (loss >= 0).all(), head.name
        assert make(head).probabilities is head.probabilities
        assert make(head) is make(head)


@pytest.mark.parametrize("head", ["softmax", "sigmoid", "entmax", "stick_breaking"])
def test_neutral_parameters_give_the_loss_of_the_head_and_others_do_not(head):
    head = get(head)
    classes = classes_of(head)
    makes = (with_label_smoothing, with_focal_loss, with_poly_loss)
    losses = [head.loss, *(make(head, 0.0).loss for make in makes), *(make(head).loss for make in makes)]
    z, y = draw(head.scores(classes), classes)
    own, *results = jax.device_get(jax.jit(lambda z, y: [loss(z, y) for loss in losses])(z, y))
    for neutral, other in zip(results[:3], results[3:], strict=True):
        close(neutral, own, rtol=1e-5, atol=1e-6)
        assert abs(other - own).max() > 0.01


def test_focal_loss_with_a_small_exponent_has_a_gradient_at_certainty():
    z = jnp.array([200.0, 0.0])
    grad = jax.grad(with_focal_loss("softmax", 0.5).loss)(z, jnp.array(0))
    np.testing.assert_array_equal(grad, 0)


def test_losses_compose():
    z, y = draw(4, 4)
    both = with_label_smoothing(with_focal_loss("softmax", 2.0), 0.1)
    focal = with_focal_loss("softmax", 2.0).loss
    every = jnp.stack([focal(z, jnp.full_like(y, k)) for k in range(4)], -1)
    close(both.loss(z, y), 0.9 * focal(z, y) + 0.1 * every.mean(-1), rtol=1e-5, atol=1e-6)
    assert both.name == "label_smoothing(focal(softmax))"


def test_margin_losses_are_zero_past_the_margin_only():
    z = jnp.array([[2.5, 1.0, 0.0], [1.5, 1.0, 0.0], [0.5, 1.0, 0.0]])
    y = jnp.zeros(3, int)
    np.testing.assert_array_equal(with_hinge_loss("softmax").loss(z, y), [0, 0.5, 1.5])
    np.testing.assert_array_equal(with_perceptron_loss("softmax").loss(z, y), [0, 0, 0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: with_label_smoothing("softmax", 1.5), "alpha=1.5; expected a share"),
        (lambda: with_focal_loss("softmax", -1.0), "gamma=-1.0; expected a number of at least 0"),
        (lambda: with_poly_loss("softmax", -2.0), "epsilon=-2.0; expected a number of at least −1"),
        (lambda: with_hinge_loss("taylor"), "'taylor' a larger score is not a larger probability"),
        (lambda: with_perceptron_loss("stick_breaking"), "use 'softmax'"),
        (lambda: with_squared_loss("sofmax"), "did you mean 'softmax'"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("make", [get, *WITH], ids=lambda make: make.__name__)
@pytest.mark.parametrize("rows", [(), (5,), (3, 5)], ids=str)
def test_no_head_and_no_loss_promotes_ranks(make, rows):
    """Values and derivatives of both orders; traced, because ranks are looked at there."""
    for head in heads_of(make):
        made, k = make(head), classes_of(head)
        z, y = jnp.ones((*rows, head.scores(k))), jnp.zeros(rows, int)
        with jax.numpy_rank_promotion("raise"):
            jax.eval_shape(jax.jacobian(made.probabilities), z)
            jax.eval_shape(jax.hessian(lambda z, made=made, y=y: made.loss(z, y).sum()), z)


def test_the_walk_over_ranks_can_fail():
    with jax.numpy_rank_promotion("raise"), pytest.raises(ValueError, match="rank_promotion"):
        jax.eval_shape(lambda z: z - z.max(-1), jnp.ones((5, 4, 4)))
