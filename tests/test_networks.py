"""The multilayer perceptron: the equations of the forward pass, backprop as the chain rule, shapes, mixtures."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import ACTIVATIONS, HEADS, activation_facts, collapse, count_parameters, ensemble, fit, maxout, mlp, xor
from jaxnn.activations import Activation
from jaxnn.training import train_step

KEY = jax.random.key(0)
TRAINABLE = [name for name, record in ACTIVATIONS.items() if not record.untrainable]
# One activation of each kind: so they differ for a run, and in nothing else.
KINDS = {(r.inputs, r.outputs, bool(r.params), r.random): r.name for r in map(ACTIVATIONS.get, TRAINABLE)}


def rows(features=3, classes=3, n=6, dtype=jnp.float32):
    x = jax.random.normal(jax.random.key(1), (n, features), dtype)
    return x, jnp.arange(n) % classes


def test_forward_pass_is_the_equations():
    network = mlp((3, 5, 4), "relu")
    (W1, b1, _), (W2, b2, _) = params = network.init(KEY)
    X, y = map(np.asarray, rows(classes=4))
    H = X @ np.asarray(W1) + np.asarray(b1)
    A = np.maximum(H, 0)
    S = A @ np.asarray(W2) + np.asarray(b2)
    P = np.exp(S) / np.exp(S).sum(-1, keepdims=True)
    L = -np.log(P[np.arange(6), y]).mean()
    trace, _ = jax.jit(lambda params: network.trace(params, X, y))(params)
    chex.assert_trees_all_close((trace.H[0], trace.A[0], trace.S, trace.P, trace.L), (H, A, S, P, L), rtol=1e-5)
    chex.assert_trees_all_close(network.apply(params, X), S, rtol=1e-5)
    assert network.predict(params, X).tolist() == np.argmax(P, -1).tolist()


@pytest.mark.parametrize("name", TRAINABLE)
def test_backprop_is_the_chain_rule(name):
    """Hand-derived gradients of H, A, S, P, L and of every parameter equal `jax.grad`, in float64 to 1e-12.

    The derivative of the activation alone is held to its definition in `test_activations`.
    """
    with jax.enable_x64(True), jax.disable_jit():  # what is compiled for one activation serves the next
        network = mlp((3, 6, 4), name, dtype=jnp.float64)
        params = network.init(KEY)
        X, y = rows(classes=4, dtype=jnp.float64)
        (W1, b1, own), (W2, b2, _) = params
        Y, n = jax.nn.one_hot(y, 4, dtype=jnp.float64), len(y)
        H = X @ W1 + b1
        A, times_slope = jax.vjp(lambda h: ACTIVATIONS[name].fn(h, *own), H)
        P = jax.nn.softmax(A @ W2 + b2)
        dL, dP = 1.0, -Y / P / n
        dS = (P - Y) / n
        dA = dS @ W2.T
        (dH,) = times_slope(dA)
        by_hand = ((X.T @ dH, dH.sum(0)), (A.T @ dS, dS.sum(0)))
        gradient = jax.grad(lambda p: jnp.mean(network.loss(network.apply(p, X), y)))(params)
        chex.assert_trees_all_close(tuple(layer[:2] for layer in gradient), by_hand, atol=1e-12, rtol=1e-12)
        _, traced = network.trace(params, X, y)
        chex.assert_trees_all_close(
            (traced.H[0], traced.A[0], traced.S, traced.P, traced.L), (dH, dA, dS, dP, dL), atol=1e-12, rtol=1e-12
        )


@pytest.mark.parametrize("name", TRAINABLE)
def test_every_activation_learns_alone_and_in_an_ensemble(name):
    """The gradient reaches every parameter, steps lower the loss, `ensemble` gives what each network gives alone."""
    network, (x, y), sgd = mlp((2, 8, 1), name), xor()[:2], optax.sgd(0.1)

    def step(params):
        after, _, loss = train_step(network, network.loss, sgd, params, sgd.init(params), x, y)
        return after, loss

    start = jax.vmap(network.init, out_axes=-1)(jax.random.split(KEY, 32))
    together = jax.jit(ensemble(step, (-1,)))
    params, loss = together(start)
    with jax.disable_jit():  # operation by operation: what is compiled for one activation serves the next
        alone = step(jax.tree.map(lambda p: p[..., 5], start))
    chex.assert_trees_all_close(jax.tree.map(lambda a: a[..., 5], (params, loss)), alone, atol=1e-6, rtol=1e-6)
    chex.assert_trees_all_equal_shapes_and_dtypes(params, start)
    changed = jax.tree.map(lambda before, after: bool(jnp.any(before != after)), start, params)
    assert all(jax.tree.leaves(changed)), changed
    for _ in range(20):
        params, last = together(params)
    assert float(jnp.mean(last < loss)) > 0.75  # a unit that jumps may leave its flat side, or never reach its slope


@pytest.mark.parametrize("name", KINDS.values())
def test_a_run_of_every_kind_of_activation_alone_and_in_an_ensemble(name):
    """Shapes and dtypes hold, the loss falls, `ensemble` gives what each network gives alone."""
    network, data = mlp((2, 4, 1), name), xor()

    def train(key):
        return fit(
            key, network, data, optax.adam, {"learning_rate": 0.02}, loss=network.loss, epochs=20, evaluate_every=20
        )

    keys = jax.random.split(KEY, 3)
    together = jax.jit(ensemble(train, (-1,)))(keys)
    alone = train(keys[1])
    chex.assert_trees_all_close(jax.tree.map(lambda a: a[..., 1], together), alone, atol=1e-4, rtol=1e-3)
    chex.assert_trees_all_equal_shapes_and_dtypes(alone.params, network.init(KEY))
    assert bool(jnp.all(together.history.loss[-1] < together.history.loss[0]))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16, jnp.float64])
def test_the_dtype_is_kept(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        network = mlp((3, 8, 3), {"relu": 0.5, "prelu": 0.5}, dtype=dtype)
        params = jax.eval_shape(network.init, KEY)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}
        assert jax.eval_shape(network.apply, params, rows()[0]).dtype == dtype


def test_parameters_are_arrays_of_the_promised_shapes():
    network = mlp((3, 6, 4, 2), ["prelu", "swiglu"])
    layers = network.init(KEY)
    assert [layer.weight.shape for layer in layers] == [(3, 6), (6, 8), (4, 2)]
    assert [layer.bias.shape for layer in layers] == [(6,), (8,), (2,)]
    assert [len(layer.activation_params) for layer in layers] == [1, 0, 0]
    chex.assert_shape(layers[0].activation_params[0], (6,))
    assert count_parameters(layers) == 18 + 6 + 6 + 48 + 8 + 8 + 2
    assert network.summary().splitlines()[-1].split() == ["total", str(count_parameters(layers))]


def test_a_mixture_is_its_parts_side_by_side():
    network = mlp((3, 5, 2), {"tanh": 0.6, "crelu": 0.4})
    params = network.init(KEY)
    X, y = rows(classes=2)
    trace, _ = jax.jit(lambda params: network.trace(params, X, y))(params)
    H, A = np.asarray(trace.H[0]), np.asarray(trace.A[0])
    assert H.shape == (6, 4)
    assert A.shape == (6, 5)
    np.testing.assert_allclose(A[:, :3], np.tanh(H[:, :3]), atol=1e-6)
    np.testing.assert_allclose(A[:, 3:], np.maximum(np.stack([H[:, 3], -H[:, 3]], -1), 0), atol=1e-6)


def test_shares_round_by_largest_remainder():
    (parts,) = mlp((2, 7, 2), {"tanh": 1 / 3, "relu": 1 / 3, "sin": 1 / 3}).layers
    assert [part.units for part in parts] == [3, 2, 2]


def test_gated_units_widen_their_layer():
    network = mlp((3, 4, 2), maxout(3))
    assert network.shapes == ((3, 12), (4, 2))
    X, y = rows(classes=2)
    trace, _ = jax.jit(lambda params: network.trace(params, X, y))(network.init(KEY))
    np.testing.assert_array_equal(trace.A[0], np.asarray(trace.H[0]).reshape(6, 3, 4).max(1))


@pytest.mark.parametrize("depth", range(1, 9))
def test_linear_layers_collapse_into_one(depth):
    network = mlp((3, *[7] * (depth - 1), 2), "identity")
    params = network.init(KEY)
    params = jax.tree.map(lambda p: p + 0.1, params)
    weight, bias, _ = collapse(params)
    X, _ = rows()
    np.testing.assert_allclose(network.apply(params, X), X @ weight + bias, rtol=2e-5, atol=2e-5)


def test_a_relu_between_them_does_not_collapse():
    params = jax.tree.map(lambda p: p + 0.1, mlp((3, 7, 2), "relu").init(KEY))
    weight, bias, _ = collapse(params)
    X, _ = rows()
    assert not np.allclose(mlp((3, 7, 2), "relu").apply(params, X), X @ weight + bias, atol=1e-2)


def test_goodfellows_xor_solution():
    network = mlp((2, 2, 1), "relu")
    first, last = network.init(KEY)
    params = (
        first._replace(weight=jnp.ones((2, 2)), bias=jnp.array([0.0, -1.0])),
        last._replace(weight=jnp.array([[1.0], [-2.0]]), bias=jnp.array([0.0])),
    )
    assert network.apply(params, xor().x)[:, 0].tolist() == [0, 1, 1, 0]


def test_same_key_same_raw_draws_scaled_by_the_gain():
    relu, tanh = (mlp((3, 5, 2), name).init(KEY) for name in ("relu", "tanh"))
    chex.assert_trees_all_equal(relu[0].weight, tanh[0].weight)
    ratio = activation_facts("relu").gain / activation_facts("tanh").gain
    np.testing.assert_allclose(relu[1].weight, tanh[1].weight * ratio, rtol=1e-5)


def test_random_activations_draw_only_with_a_key():
    network = mlp((3, 5, 2), "rrelu")
    params, (X, _) = network.init(KEY), rows()
    still = network.apply(params, X)
    chex.assert_trees_all_equal(still, network.apply(params, X))
    assert not np.allclose(still, network.apply(params, X, key=KEY))
    assert not np.allclose(network.apply(params, X, key=jax.random.key(1)), network.apply(params, X, key=KEY))


def test_equal_descriptions_are_equal_and_hashable():
    assert mlp((2, 3, 2), "tanh") == mlp((2, 3, 2), "tanh")
    assert len({mlp((2, 3, 2), "tanh"), mlp((2, 3, 2), "tanh"), mlp((2, 3, 2), "relu")}) == 2


@pytest.mark.parametrize("head", HEADS)
def test_every_head_sits_on_a_network(head):
    classes = 2 if head == "sigmoid" else 3
    network = mlp((3, 4, HEADS[head].scores(classes)), "tanh", head=head)
    assert network.classes == classes
    X, y = rows(classes=classes)

    @jax.jit
    def traced(params):
        values, gradients = network.trace(params, X, y)
        return values, gradients, jax.grad(lambda S: jnp.mean(network.loss(S, y)))(values.S)

    values, gradients, expected = traced(network.init(KEY))
    chex.assert_shape(values.P, (6, classes))
    assert math.isfinite(values.L)
    np.testing.assert_allclose(gradients.S, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mlp((2,)), r"sizes=\(2,\)"),
        (lambda: mlp((2, 0, 2)), "at least 1"),
        (lambda: mlp((2, 4, 2), "rellu"), "did you mean 'relu'"),
        (lambda: mlp((2, 4, 4, 2), ["relu"]), "1 activations for 2 hidden layers"),
        (lambda: mlp((2, 4, 2), {"relu": 0.5}), "sum to 1"),
        (lambda: mlp((2, 3, 2), "crelu"), "2 units at a time"),
        (lambda: mlp((2, 4, 2), init="xavier"), "did you mean"),
        (lambda: mlp((2, 4, 2)).apply(mlp((2, 4, 2)).init(KEY), jnp.ones((5, 3))), r"expected \(\.\.\., 2\)"),
        (lambda: mlp((2, 4, 2), "step").check(xor().x, xor().y), "step cannot be trained"),
        (lambda: mlp((2, 4, 2)).check(xor().x, xor().y + 5), "outside the 2 classes"),
        (lambda: mlp((2, 4, 3)).loss(jnp.ones((4, 3)), jnp.zeros((5,), int)), "do not fit"),
    ],
)
def test_bad_input_is_refused_with_the_cure(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_training_refuses_what_cannot_be_trained():
    network = mlp((2, 4, 2), "bipolar")
    with pytest.raises(ValueError, match="derivative is 0"):
        fit(KEY, network, xor(), optax.adam, {"learning_rate": 0.1}, loss=network.loss, epochs=1)


def test_a_callers_own_function_is_an_activation():
    network = mlp((2, 4, 2), lambda x: x * jax.nn.sigmoid(x))
    assert isinstance(network.layers[0][0].activation, Activation)
    X = jnp.ones((3, 2))
    chex.assert_trees_all_close(
        network.apply(network.init(KEY), X), mlp((2, 4, 2), "silu").apply(network.init(KEY), X), atol=1e-6
    )


def test_a_network_that_is_described_again_compiles_nothing_again():
    """Bound methods are equal only of one object, so its loss is the head's own function."""
    traces = []

    def counted(x):
        traces.append(1)
        return jnp.tanh(x)

    def train(loss):
        network, before = mlp((2, 3, 1), counted), len(traces)
        fit(KEY, network, xor(), optax.sgd, {"learning_rate": 0.1}, loss=loss(network), epochs=2)
        return len(traces) - before

    assert train(lambda network: network.loss) > 0
    assert train(lambda network: network.loss) == 0
    assert train(lambda network: lambda scores, labels: network.loss(scores, labels)) > 0


def test_a_bias_is_no_rank_promotion():
    network = mlp((2, 4, 2), {"relu": 0.5, "prelu": 0.5})
    params, x = network.init(KEY), jnp.ones((3, 2))
    expected = network.apply(params, x)
    with jax.numpy_rank_promotion("raise"):
        np.testing.assert_array_equal(network.apply(params, x), expected)
        fit(KEY, network, (x, np.array([0, 1, 0])), optax.sgd, {"learning_rate": 0.1}, loss=network.loss, epochs=1)
        with pytest.raises(ValueError, match="rank_promotion"):
            x @ params[0].weight + params[0].bias


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_no_activation_promotes_ranks(activation):
    """Value, gradients, probabilities; traced, because ranks are looked at there."""
    network = mlp((2, 6, 2), activation)

    def everything(params, x, y):
        loss = jax.value_and_grad(lambda params: jnp.mean(network.loss(network.apply(params, x, key=KEY), y)))
        return loss(params), network.probabilities(params, x)

    with jax.numpy_rank_promotion("raise"):
        jax.eval_shape(everything, network.init(KEY), *rows(2, 2))
