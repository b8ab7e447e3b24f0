"""Every head against its closed forms, independent references, its neighbours and its own record."""

from functools import cache

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import optax
import pytest
from scipy.optimize import brentq
from scipy.special import expit, log_expit, log_softmax, softmax

from jaxnn.ensembles import ensemble
from jaxnn.heads import HEADS, entmax, get, temperature

ALL = [*HEADS.values(), entmax(1.25), entmax(3.0), temperature(0.5)]
every_head = pytest.mark.parametrize("head", ALL, ids=lambda head: head.name)


def classes_of(head):
    return 2 if head.scores is HEADS["sigmoid"].scores else 4


def draw(head, rows=60, scale=2.0, seed=0):
    """Scores (rows, scores), spread from small to large, and labels (rows,) in float64."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(rows, head.scores(classes_of(head)))) * np.geomspace(0.1, scale, rows)[:, None]
    return scores, rng.integers(0, classes_of(head), rows)


@cache
def _probabilities(head):
    return jax.jit(head.probabilities)


def probabilities(head, z):
    """p in float64, of 60 rows: compiled once for each head."""
    with jax.enable_x64(True):
        return np.asarray(_probabilities(head)(z))


@cache
def drawn():
    """At the rows of `draw`, in float64: p, p of shifted scores, L, ∂L/∂z. One program for all heads."""

    def outputs(head, z, y):
        return head.probabilities(z), head.probabilities(z + 0.7), *jax.vmap(jax.value_and_grad(head.loss))(z, y)

    with jax.enable_x64(True):
        rows = {head.name: draw(head) for head in ALL}
        return jax.device_get(jax.jit(lambda rows: {h.name: outputs(h, *rows[h.name]) for h in ALL})(rows))


# What the record says, recomputed; a fact that is False must be seen to be false.


@every_head
def test_probabilities_are_probabilities(head):
    for scale in (1.0, 30.0, 1e4):
        p = probabilities(head, draw(head, scale=scale)[0])
        assert p.shape == (60, classes_of(head))
        assert (p >= 0).all()
        np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-14)


@every_head
def test_facts_of_the_record_are_recomputed(head):
    (z, y), (p, shifted, loss, grad) = draw(head), drawn()[head.name]
    e = np.eye(classes_of(head))[y]
    full = np.pad(z, ((0, 0), (p.shape[1] - z.shape[1], 0)))
    order = (full[:, :, None] - full[:, None]) * (p[:, :, None] - p[:, None])
    likelihood = np.sum(e * p, -1)
    minus_log = (likelihood > 0).all() and np.allclose(loss, -np.log(likelihood), rtol=1e-9, atol=1e-12)
    assert head.shift_invariant == np.allclose(shifted, p, atol=1e-12)
    assert head.ordered == (order >= 0).all()
    assert head.log_loss == minus_log
    assert head.fenchel_young == (grad.shape == p.shape and np.allclose(grad, p - e, atol=1e-14))
    assert head.sparse == (p == 0).any()
    assert all((head.formula, head.loss_formula, head.source))


def test_names_are_keys_and_heads_are_static_arguments():
    assert all(get(name) is head and head.name == name for name, head in HEADS.items())
    assert get(HEADS["taylor"]) is HEADS["taylor"]
    assert HEADS["entmax"] is entmax(1.5)
    assert HEADS["sparsemax"] is entmax(2.0)
    assert HEADS["temperature"] is temperature(2.0)
    assert len({hash(head) for head in HEADS.values()}) == len(HEADS)


# The table of closed forms, in NumPy.

SPHERICAL_EPSILON = 0.01


def stick(z):
    log_p = np.concatenate([log_expit(z), np.zeros_like(z[:, :1])], 1)
    return np.exp(log_p + np.concatenate([np.zeros_like(z[:, :1]), np.cumsum(log_expit(-z), 1)], 1))


def entmax_by_root(z, alpha):
    def solve(row):
        tau = brentq(
            lambda t: np.sum(np.maximum(row - t, 0) ** (1 / (alpha - 1))) - 1, row.max() - 1, row.max(), xtol=1e-15
        )
        return np.maximum(row - tau, 0) ** (1 / (alpha - 1))

    return np.stack([solve(row) for row in (alpha - 1) * z])


def tsallis(p, alpha):
    return np.sum(p - p**alpha, 1) / (alpha * (alpha - 1))


def entmax_forms(alpha):
    return (
        lambda z: entmax_by_root(z, alpha),
        lambda z, e: np.sum((entmax_by_root(z, alpha) - e) * z, 1) + tsallis(entmax_by_root(z, alpha), alpha),
        lambda z, e: entmax_by_root(z, alpha) - e,
    )


def weight_forms(weight, log_slope):
    """p = w(z) / Σ w(z), L = −log p_y, ∂L/∂z = (p − e_y) (log w)′(z)."""

    def p(z):
        return weight(z) / weight(z).sum(1, keepdims=True)

    return p, lambda z, e: -np.log(np.sum(e * p(z), 1)), lambda z, e: (p(z) - e) * log_slope(z)


# name: (probabilities of z, loss of (z, one-hot e), its gradient)
CLOSED = {
    "softmax": weight_forms(np.exp, np.ones_like),
    "temperature": weight_forms(lambda z: np.exp(z / 2), lambda z: 0.5),
    "temperature(0.5)": weight_forms(lambda z: np.exp(2 * z), lambda z: 2.0),
    "spherical": weight_forms(lambda z: z**2 + SPHERICAL_EPSILON, lambda z: 2 * z / (z**2 + SPHERICAL_EPSILON)),
    "taylor": weight_forms(lambda z: 1 + z + z**2 / 2, lambda z: (1 + z) / (1 + z + z**2 / 2)),
    "sigsoftmax": weight_forms(lambda z: np.exp(z) * expit(z), lambda z: 2 - expit(z)),
    "sigmoid": (
        lambda z: np.concatenate([expit(-z), expit(z)], 1),
        lambda z, e: np.logaddexp(0, -(2 * e[:, 1] - 1) * z[:, 0]),
        lambda z, e: expit(z) - e[:, 1:],
    ),
    "one_vs_rest": (
        lambda z: expit(z) / expit(z).sum(1, keepdims=True),
        lambda z, e: np.sum(np.logaddexp(0, (1 - 2 * e) * z), 1),
        lambda z, e: expit(z) - e,
    ),
    "stick_breaking": (
        stick,
        lambda z, e: -np.log(np.sum(e * stick(z), 1)),
        lambda z, e: (1 - np.cumsum(e, 1) + e)[:, :-1] * (expit(z) - e[:, :-1]),
    ),
    "sparsemax": (
        lambda z: entmax_by_root(z, 2),
        lambda z, e: optax.losses.multiclass_sparsemax_loss(jnp.asarray(z), jnp.asarray(e.argmax(1))),
        lambda z, e: entmax_by_root(z, 2) - e,
    ),
    "entmax": entmax_forms(1.5),
    "entmax(1.25)": entmax_forms(1.25),
    "entmax(3.0)": entmax_forms(3.0),
}


@every_head
def test_probabilities_loss_and_gradient_equal_their_closed_forms(head):
    probabilities, loss, gradient = CLOSED[head.name]
    (z, y), (p, _, value, grad) = draw(head), drawn()[head.name]
    e = np.eye(classes_of(head))[y]
    with jax.enable_x64(True):
        np.testing.assert_allclose(p, probabilities(z), rtol=1e-9, atol=2e-13)
        np.testing.assert_allclose(value, loss(z, e), rtol=1e-9, atol=2e-13)
        np.testing.assert_allclose(grad, gradient(z, e), rtol=1e-9, atol=2e-13)


@every_head
def test_derivatives_of_probabilities_and_second_derivatives_of_the_loss(head):
    """Forward and reverse mode against central differences, along one direction."""
    with jax.enable_x64(True):
        z, y = map(jnp.asarray, draw(head, rows=8, scale=1.0))
        v = jnp.asarray(draw(head, rows=8, seed=1)[0])

        def slope(z):
            return jax.grad(lambda z: head.loss(z, y).sum())(z)

        def derivatives(f, z):
            pushed = jax.jvp(f, (z,), (v,))[1]
            (pulled,) = jax.vjp(f, z)[1](jnp.cos(pushed))
            up, down = jax.lax.map(f, jnp.stack([z + 1e-5 * v, z - 1e-5 * v]))  # a loop: f is compiled once for both
            return pushed, (up - down) / 2e-5, jnp.sum(pushed * jnp.cos(pushed)), jnp.sum(pulled * v)

        both = jax.jit(lambda z: [derivatives(f, z) for f in (head.probabilities, slope)])
        for pushed, numeric, forward, reverse in both(z):
            np.testing.assert_allclose(pushed, numeric, rtol=1e-6, atol=1e-8)
            np.testing.assert_allclose(forward, reverse, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "stick_breaking", "one_vs_rest"])
def test_losses_keep_their_digits_against_mpmath(name):
    """Losses far below the rounding of 1 − p, and far above: log p_y from p itself would lose both."""
    times = {"one_vs_rest": 2}.get(name, 1)
    rows = {"softmax": lambda z: [0.0, z], "one_vs_rest": lambda z: [-z, z]}.get(name, lambda z: [z])
    label = {"stick_breaking": 0}.get(name, 1)
    with jax.enable_x64(True), mpmath.workdps(50):
        for z in (-1e4, -88.0, -20.0, -1.0, 0.0, 1.0, 20.0, 30.0):
            got = HEADS[name].loss(jnp.array(rows(z)), jnp.array(label))
            exact = times * mpmath.log1p(mpmath.exp(-mpmath.mpf(z)))
            np.testing.assert_allclose(got, float(exact), rtol=1e-14, atol=1e-16)


# Edges.


@pytest.mark.parametrize("name", ["sigmoid", "one_vs_rest"])
@pytest.mark.parametrize("z", [-20.0, 0.3, 20.0])
def test_the_gradient_of_a_right_answer_is_small_but_right(name, z):
    """∂L/∂z = −σ(−z) for the class itself, where σ(z) − 1 would be 0."""
    head = HEADS[name]
    scores = jnp.full(head.scores(2), z)
    slopes = jax.grad(head.loss)(scores, jnp.array(1))
    np.testing.assert_allclose(slopes[-1], -expit(-z), rtol=1e-6)
    second = jax.hessian(head.loss)(scores, jnp.array(1))
    np.testing.assert_allclose(second[-1, -1], expit(z) * expit(-z), rtol=1e-6)


@cache
def far_out(dtype):
    """All heads at all corners of {−1e4, 0, 1, 1e4}, for every label: one compilation for each dtype."""

    def inputs(head):
        k = classes_of(head)
        corners = np.stack(np.meshgrid(*[[-1e4, 0, 1, 1e4]] * head.scores(k)), -1).reshape(-1, head.scores(k))
        return np.tile(corners, (k, 1)).astype(dtype), np.repeat(np.arange(k, dtype=np.int32), len(corners))

    def outputs(head, z, y):
        return head.probabilities(z), *jax.vmap(jax.value_and_grad(head.loss))(z, y)

    heads = {h.name: inputs(h) for h in ALL}
    return jax.device_get(jax.jit(lambda rows: {h.name: outputs(h, *rows[h.name]) for h in ALL})(heads))


@every_head
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32], ids=lambda d: d.__name__)
def test_finite_and_dtype_kept_at_ties_and_far_out(head, dtype, strict):
    p, loss, grad = far_out(dtype)[head.name]
    assert p.dtype == loss.dtype == grad.dtype == dtype
    assert all(np.isfinite(x.astype(np.float64)).all() for x in (p, loss, grad))
    np.testing.assert_allclose(np.asarray(p, np.float64).sum(-1), 1, atol=4 * float(jnp.finfo(dtype).eps))


@every_head
def test_equal_scores_get_equal_probabilities(head):
    p = probabilities(head, np.zeros((60, head.scores(classes_of(head)))))
    expected = [0.5, 0.25, 0.125, 0.125] if head is HEADS["stick_breaking"] else [1 / p.shape[1]] * p.shape[1]
    np.testing.assert_allclose(p, np.tile(expected, (60, 1)), rtol=1e-15)


@every_head
def test_jit_vmap_and_ensemble_are_the_same_function(head):
    z, y = draw(head, rows=6)
    z, y = z.astype(np.float32), y.astype(np.int32)
    step = jax.value_and_grad(head.loss)

    @jax.jit
    def ways(z, y):
        def slopes(z):
            return jax.grad(lambda z: head.loss(z, y).sum())(z)

        return (
            jax.lax.map(lambda row: step(*row), (z, y)),
            jax.vmap(step)(z, y),
            ensemble(slopes, (-1,))(jnp.stack([z, 2 * z], -1)),
        )

    looped, mapped, networks = ways(z, y)
    np.testing.assert_allclose(head.loss(z, y), looped[0], rtol=2e-6, atol=2e-6)
    for loop, rows in zip(looped, mapped, strict=True):
        np.testing.assert_allclose(rows, loop, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(networks[..., 0], looped[1], rtol=2e-6, atol=2e-6)


def gathers(loss, scores):
    text = str(jax.make_jaxpr(jax.grad(lambda z: loss(z, jnp.zeros(4, int)).sum()))(jnp.ones((4, scores))))
    return "gather" in text or "scatter" in text or "sort" in text


@every_head
def test_no_gather_scatter_or_sort(head):
    assert not gathers(head.loss, head.scores(classes_of(head)))


def test_the_search_for_gathers_finds_one():
    assert gathers(optax.losses.softmax_cross_entropy_with_integer_labels, 3)


# Neighbours: one head is another in a special case.


def test_two_class_softmax_is_the_sigmoid():
    with jax.enable_x64(True):
        z, y = map(jnp.asarray, draw(HEADS["sigmoid"], scale=30.0))
        pair = jnp.pad(z, ((0, 0), (1, 0)))
        for f, g in (("probabilities", ()), ("loss", (y,))):
            a, b = getattr(HEADS["sigmoid"], f)(z, *g), getattr(HEADS["softmax"], f)(pair, *g)
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)
        binary, multi = (jax.grad(lambda z, h=HEADS[n]: h.loss(z, y).sum()) for n in ("sigmoid", "softmax"))
        np.testing.assert_allclose(binary(z)[:, 0], multi(pair)[:, 1], atol=1e-15)


@pytest.mark.parametrize(("alpha", "near"), [(1.0, 1 + 1e-7), (1.5, 1.5 + 1e-9), (2.0, 2 + 1e-9)])
def test_entmax_reaches_softmax_its_exact_solution_and_sparsemax(alpha, near):
    with jax.enable_x64(True):
        z, y = map(jnp.asarray, draw(HEADS["softmax"]))
        limit, close, far = entmax(alpha), entmax(near), entmax(alpha + 0.2)
        np.testing.assert_allclose(close.probabilities(z), limit.probabilities(z), atol=1e-5 * (alpha == 1) + 1e-8)
        np.testing.assert_allclose(close.loss(z, y), limit.loss(z, y), atol=1e-5 * (alpha == 1) + 1e-8)
        assert abs(far.probabilities(z) - limit.probabilities(z)).max() > 0.01
    assert entmax(1.0) == HEADS["softmax"]


def test_two_class_sparsemax_is_the_sparse_sigmoid():
    with jax.enable_x64(True):
        z = jnp.linspace(-2, 2, 81)
        pair, ones = jnp.stack([jnp.zeros_like(z), z], -1), jnp.ones(81, int)
        np.testing.assert_allclose(HEADS["sparsemax"].probabilities(pair)[:, 1], jax.nn.sparse_sigmoid(z), atol=1e-15)
        reference = optax.losses.sparsemax_loss(z, ones)
        # optax's is (1 + m)²/4 inside the margin; the Fenchel-Young loss of the pair is the same function.
        np.testing.assert_allclose(HEADS["sparsemax"].loss(pair, ones), reference, atol=1e-15)


def test_temperature_one_is_softmax_and_two_is_not():
    z = jnp.asarray(draw(HEADS["softmax"])[0], jnp.float32)
    reference = softmax(np.asarray(z), -1)
    np.testing.assert_allclose(temperature(1.0).probabilities(z), reference, rtol=1e-5)
    assert abs(HEADS["temperature"].probabilities(z) - reference).max() > 0.1


@pytest.mark.parametrize("alpha", [1.25, 1.5, 2.0, 3.0])
def test_fenchel_young_losses_are_positive_inside_the_margin_and_zero_past_it(alpha):
    margin, head = 1 / (alpha - 1), entmax(alpha)
    z, y = draw(head, rows=400)
    past = [[margin * 1.0001, 0, -1, 0], [margin + 9, 0, 9, -9.0]]
    inside = [[margin * 0.9, 0, -1, 0]]
    z, y = np.concatenate([past, inside, z]).astype(np.float32), np.concatenate([[0, 0, 0], y])
    loss, grad = jax.jit(jax.vmap(jax.value_and_grad(head.loss)))(z, y)
    np.testing.assert_array_equal(loss[:2], 0)
    np.testing.assert_array_equal(grad[:2], 0)
    assert loss[2] > 0
    assert (loss >= 0).all()


def test_softmax_and_sigmoid_losses_are_optax_losses():
    with jax.enable_x64(True):
        z, y = map(jnp.asarray, draw(HEADS["softmax"], scale=30.0))
        reference = optax.losses.softmax_cross_entropy_with_integer_labels(z, y)
        np.testing.assert_allclose(HEADS["softmax"].loss(z, y), reference, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(HEADS["softmax"].loss(z, y), -log_softmax(z, -1)[np.arange(60), y], rtol=1e-12)
        reference = optax.losses.sigmoid_binary_cross_entropy(z, jax.nn.one_hot(y, 4)).sum(-1)
        np.testing.assert_allclose(HEADS["one_vs_rest"].loss(z, y), reference, rtol=1e-12)
        reference = optax.losses.sigmoid_binary_cross_entropy(z[:, 0], y % 2)
        np.testing.assert_allclose(HEADS["sigmoid"].loss(z[:, :1], y % 2), reference, rtol=1e-12)


# Errors say what came and the cure.


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: get("sofmax"), "unknown head 'sofmax'; did you mean 'softmax'"),
        (lambda: get(3), "unknown head 3; known: 'softmax'"),
        (lambda: temperature(0), "value=0.0; expected a number above 0"),
        (lambda: entmax(0.5), "alpha=0.5; expected 1"),
        (lambda: entmax(float("nan")), "alpha=nan"),
        (lambda: HEADS["sigmoid"].scores(3), "2 classes, not 3; use 'softmax'"),
        (lambda: HEADS["sigmoid"].loss(jnp.zeros((5, 2)), jnp.zeros(5, int)), r"\(…, 1\), not \(5, 2\)"),
        (lambda: HEADS["sigmoid"].probabilities(jnp.zeros((5, 2))), r"\(…, 1\), not \(5, 2\)"),
        (lambda: HEADS["softmax"].loss(jnp.zeros((5, 3)), jnp.zeros(4, int)), r"expected labels of shape \(5,\)"),
        (lambda: HEADS["softmax"].loss(jnp.zeros((5, 3)), jnp.zeros((5, 3), int)), "labels.argmax"),
        (lambda: HEADS["softmax"].loss(jnp.zeros((5, 3)), jnp.zeros(5)), "float32; expected integers"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
