"""`fit` as a pure function: what it computes, what it records, what it refuses, and how often it compiles."""

import inspect
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from jaxnn.ensembles import ensemble, spread
from jaxnn.training import Network, fit, row_order, train_step

LOSS = optax.losses.softmax_cross_entropy_with_integer_labels
X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
XOR, OR = np.array([0, 1, 1, 0]), np.array([0, 1, 1, 1])


def accuracy(scores, labels):
    return jnp.mean((jnp.argmax(scores, -1) == labels).astype(jnp.float32))


def init(key):
    one, two = jax.random.split(key)
    return {"W1": jax.random.normal(one, (2, 8)), "b1": jnp.zeros(8), "W2": jax.random.normal(two, (8, 2)) / 3}


def apply(p, x):
    return jnp.tanh(x @ p["W1"] + p["b1"]) @ p["W2"]


NETWORK = Network(init, apply)
ADAM = {"learning_rate": 0.05}


@pytest.mark.parametrize("numbers", [[[2**40, 1], [2**41, 0]], [[-(2**31) - 1, 1], [5, 0]]])
def test_whole_numbers_that_would_wrap_are_refused(numbers):
    network = Network(lambda key: jnp.zeros((2, 2)), lambda w, x: x @ w)
    loss = optax.losses.softmax_cross_entropy_with_integer_labels
    rows = np.array(numbers), np.array([0, 1])
    with pytest.raises(ValueError, match=r"holds whole numbers .* give them as floating point"):
        fit(jax.random.key(0), network, rows, optax.sgd, {"learning_rate": 0.1}, loss=loss, epochs=1)


def test_equals_a_plain_loop():
    """Minibatches in the documented order, Adam, one Python loop: the same parameters."""
    key = jax.random.key(3)
    x, y = jax.random.normal(jax.random.key(1), (10, 2)), jnp.arange(10) % 2
    run = fit(key, NETWORK, (x, y), optax.adam, ADAM, loss=LOSS, epochs=3, batch_size=4)
    params, adam = init(jax.random.fold_in(key, 0)), optax.adam(0.05)
    state = adam.init(params)
    for epoch in range(3):
        order = jax.random.permutation(jax.random.fold_in(jax.random.fold_in(key, 1), epoch), 10)
        for rows in (order[:4], order[4:8]):
            gradient = jax.grad(lambda p, r: jnp.mean(LOSS(apply(p, x[r]), y[r])))(params, rows)
            updates, state = adam.update(gradient, state)
            params = optax.apply_updates(params, updates)
    chex.assert_trees_all_close(run.params, params, atol=1e-6)
    assert run.history.step.tolist() == [0, 2, 4, 6]
    np.testing.assert_allclose(run.history.loss[-1], jnp.mean(LOSS(apply(params, x), y)), rtol=1e-5)


def normal(key, *shapes):
    """Weights of these shapes, each of mean square 1 / (all of its axes but the last)."""
    keys = jax.random.split(key, len(shapes))
    return tuple(jax.random.normal(k, s) / np.prod(s[:-1]) ** 0.5 for k, s in zip(keys, shapes, strict=True))


def convolve(params, images):
    kernel, weight = params
    maps = jax.lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.tanh(maps).mean((1, 2)) @ weight


def two_inputs(params, x):
    left, right, weight = params
    return jnp.tanh(x["left"] @ left + x["right"]["deep"] @ right) @ weight


def embed(params, tokens):
    table, weight = params
    return jnp.tanh(table[tokens]).mean(1) @ weight


NOISE = np.random.default_rng(0)
# What a network may take in: its parameters' shapes, `apply`, and ten rows.
INPUTS = {
    "images": (((3, 3, 1, 4), (4, 2)), convolve, NOISE.standard_normal((10, 5, 5, 1), np.float32)),
    "a dict of two": (
        ((2, 4), (3, 4), (4, 2)),
        two_inputs,
        {"left": NOISE.standard_normal((10, 2)), "right": {"deep": NOISE.standard_normal((10, 3), np.float32)}},
    ),
    "tokens": (((6, 4), (4, 2)), embed, NOISE.integers(0, 6, (10, 7))),
}


@pytest.mark.parametrize("name", INPUTS)
def test_x_is_any_pytree_of_rows_alone_and_in_ensembles(name):
    """Minibatches of every leaf: a plain loop gives the same, and so does each network among many."""
    shapes, apply, x = INPUTS[name]
    network, y = Network(lambda key: normal(key, *shapes), apply), np.arange(10) % 2
    rows = ((x, y), jax.tree.map(lambda leaf: leaf[::-1], (x, y)))

    def train(key):
        return fit(key, network, rows[0], optax.sgd, {"learning_rate": 0.5}, loss=LOSS, epochs=3, batch_size=4,
                   validation=rows[1])  # fmt: skip

    keys = jax.random.split(jax.random.key(3), 3)
    gradient = jax.jit(jax.grad(lambda params, x, y: jnp.mean(LOSS(apply(params, x), y))))
    start = params = network.init(jax.random.fold_in(keys[1], 0))
    for batch in np.asarray(row_order(jax.random.fold_in(keys[1], 1), 10, 3, 4)):
        part = jax.tree.map(lambda leaf, batch=batch: leaf[batch], (x, y))
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient(params, *part))
    alone = train(keys[1])
    chex.assert_trees_all_close(alone.params, params, atol=1e-6)
    np.testing.assert_allclose(alone.history.validation_loss, alone.history.loss, rtol=1e-6)
    assert not np.allclose(alone.params[0], start[0], atol=1e-2)  # the steps are large enough to be seen
    for mapped in (ensemble, spread):
        together = jax.jit(mapped(train, (-1,)))(keys)
        chex.assert_trees_all_close(jax.tree.map(lambda a: a[..., 1], together), alone, atol=1e-6)


def test_lists_of_numbers_are_arrays():
    """One compilation serves both; a list of arrays stays what it is, a pytree."""
    traces = []

    def counted(p, x):
        traces.append(jax.tree.map(jnp.shape, x))
        return apply(p, x)

    def run(x, y, network):
        return fit(jax.random.key(0), network, (x, y), optax.adam, ADAM, loss=LOSS, epochs=3)

    as_arrays = run(X, XOR, Network(init, counted))
    before = len(traces)
    chex.assert_trees_all_equal(run(X.tolist(), XOR.tolist(), Network(init, counted)), as_arrays)
    assert len(traces) == before
    pair = Network(init, lambda p, x: apply(p, jnp.stack(x, -1)))
    chex.assert_trees_all_close(run([X[:, 0], X[:, 1]], XOR, pair), as_arrays, atol=1e-6)


def test_given_parameters_and_order_are_those_drawn():
    """`fit` with what it would draw itself, drawn outside: the same run."""
    key, x = jax.random.key(3), jax.random.normal(jax.random.key(1), (10, 2))
    common = {"loss": LOSS, "epochs": 3, "batch_size": 4}
    drawn = fit(key, NETWORK, (x, jnp.arange(10) % 2), optax.adam, ADAM, **common)
    given = fit(
        jax.random.key(9), NETWORK, (x, jnp.arange(10) % 2), optax.adam, ADAM, **common,
        params=init(jax.random.fold_in(key, 0)), order=row_order(jax.random.fold_in(key, 1), 10, 3, 4),
    )  # fmt: skip
    chex.assert_trees_all_close(drawn, given, atol=1e-6)


def test_the_first_evaluation_comes_before_any_step():
    run = fit(jax.random.key(0), NETWORK, (X, XOR), optax.adam, ADAM, loss=LOSS, epochs=4, evaluate_every=2)
    start = init(jax.random.fold_in(jax.random.key(0), 0))
    assert run.history.step.tolist() == [0, 2, 4]
    np.testing.assert_allclose(run.history.loss[0], jnp.mean(LOSS(apply(start, X), XOR)), rtol=1e-6)


def test_train_step_lowers_the_loss_and_keeps_the_structure():
    params, sgd = init(jax.random.key(0)), optax.sgd(0.1)
    step = jax.jit(lambda p, s: train_step(NETWORK, LOSS, sgd, p, s, X, XOR))
    after, state, before = step(params, sgd.init(params))
    chex.assert_trees_all_equal_shapes_and_dtypes(after, params)
    assert step(after, state)[2] < before


def least_probability(scores, labels):
    """Of the true class, over the rows: at the optimum of a linear network every sign is a matter of rounding."""
    return jnp.exp(-jnp.max(LOSS(scores, labels)))


def test_xor_is_learned_and_a_linear_network_cannot():
    """The negative control has the same data, optimizer and steps, and no nonlinearity."""
    solved, stuck = (
        fit(jax.random.key(0), n, (X, XOR), optax.adam, ADAM, loss=LOSS, metric=least_probability, epochs=300)
        for n in (NETWORK, Network(init, lambda p, x: (x @ p["W1"] + p["b1"]) @ p["W2"]))
    )
    assert solved.history.metric[-1] > 0.6
    assert stuck.history.metric.max() <= 0.5 + 1e-5
    assert stuck.history.loss[-1] == pytest.approx(np.log(2), abs=1e-3)


def runs_of(mapper, seeds, rates, **more):
    def one(key, rate):
        return fit(
            key, NETWORK, (X, XOR), optax.adam, {"learning_rate": rate}, loss=LOSS, metric=accuracy, epochs=50, **more
        )

    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
    return jax.jit(mapper(one))(keys, jnp.linspace(0.01, 0.1, rates))


def test_ensemble_equals_vmap_equals_alone():
    fast = runs_of(lambda f: ensemble(f, (-1, -1)), 4, 4)
    reference = runs_of(lambda f: jax.vmap(f, out_axes=-1), 4, 4)
    chex.assert_trees_all_close(fast, reference, atol=1e-5)
    alone = fit(
        jax.random.key(2), NETWORK, (X, XOR), optax.adam, {"learning_rate": jnp.linspace(0.01, 0.1, 4)[2]},
        loss=LOSS, metric=accuracy, epochs=50,
    )  # fmt: skip
    chex.assert_trees_all_close(jax.tree.map(lambda a: a[..., 2], fast), alone, atol=1e-5)


def test_a_new_learning_rate_does_not_recompile():
    traces = []

    def counted(p, x):
        traces.append(1)
        return apply(p, x)

    network = Network(init, counted)

    def traced(rate, epochs):
        before = len(traces)
        fit(jax.random.key(0), network, (X, XOR), optax.adam, {"learning_rate": rate}, loss=LOSS, epochs=epochs)
        return len(traces) - before

    assert traced(0.1, 5) > 0
    assert traced(0.2, 5) == traced(0.3, 5) == 0
    assert traced(0.3, 6) > 0  # the count does see a compilation


def test_same_key_same_run_and_another_key_another():
    a, b, c = (
        fit(jax.random.key(k), NETWORK, (X, XOR), optax.adam, ADAM, loss=LOSS, epochs=20, batch_size=2)
        for k in (1, 1, 2)
    )
    chex.assert_trees_all_equal(a, b)
    assert not np.allclose(a.history.loss, c.history.loss)


def least_squares(rate):
    """Divergent where the rate is above 2 / the largest eigenvalue of XᵀX/2."""
    network = Network(lambda key: jnp.ones((2, 1)), lambda p, x: x @ p)
    return fit(
        jax.random.key(0), network, (X, OR), optax.sgd, {"learning_rate": rate},
        loss=lambda scores, labels: (scores[:, 0] - labels) ** 2, epochs=30,
    )  # fmt: skip


def test_divergence_is_marked_and_contained():
    """NaN and infinity never reach the parameters or the history."""
    run, healthy = least_squares(1e9), least_squares(0.1)
    assert run.diverged
    assert run.last_step < 30
    assert jax.tree.all(jax.tree.map(lambda a: bool(jnp.all(jnp.isfinite(a))), run))
    assert not healthy.diverged
    assert healthy.last_step == 30


def test_a_diverged_run_leaves_its_neighbours_alone():
    both = jax.jit(ensemble(least_squares, (-1,)))(jnp.array([1e9, 0.01]))
    assert both.diverged.tolist() == [True, False]
    chex.assert_trees_all_close(jax.tree.map(lambda a: a[..., 1], both), least_squares(0.01), atol=1e-6)


def test_patience_stops_and_the_best_parameters_are_kept():
    run = fit(
        jax.random.key(0), NETWORK, (X, XOR), optax.sgd, {"learning_rate": 0.0}, loss=LOSS, epochs=40, evaluate_every=2,
        patience=3,
    )  # fmt: skip
    assert (run.best_step, run.last_step) == (0, 6)
    chex.assert_trees_all_close(run.best_params, init(jax.random.fold_in(jax.random.key(0), 0)), atol=1e-6)
    assert run.history.step.tolist()[-1] == 6


def test_best_is_the_best_of_the_validation_history():
    x, y = jax.random.normal(jax.random.key(1), (20, 2)), np.arange(20) % 2
    run = fit(
        jax.random.key(0), NETWORK, (x[:10], y[:10]), optax.adam, {"learning_rate": 0.3}, loss=LOSS, epochs=60,
        validation=(x[10:], y[10:]),
    )  # fmt: skip
    history = run.history
    best = int(jnp.argmin(history.validation_loss))
    assert run.best_step == history.step[best] < 60
    np.testing.assert_allclose(
        jnp.mean(LOSS(apply(run.best_params, x[10:]), y[10:])), history.validation_loss[best], rtol=1e-5
    )


def test_the_target_is_a_censored_time():
    common = {"loss": LOSS, "metric": accuracy, "epochs": 300, "evaluate_every": 10}
    run = fit(jax.random.key(0), NETWORK, (X, XOR), optax.adam, ADAM, target=1.0, **common)
    first = int(np.argmax(np.asarray(run.history.metric) >= 1.0))
    assert run.reached
    assert run.target_step == run.history.step[first] < 300
    never = fit(jax.random.key(0), NETWORK, (X, XOR), optax.adam, ADAM, target=1.5, **common)
    assert not never.reached
    assert never.target_step == 300


def test_random_networks_get_a_new_key_each_step_and_none_in_evaluation():
    def dropout(p, x, key=None):
        keep = 1.0 if key is None else jax.random.bernoulli(key, 0.5, x.shape) * 2.0
        return (x * keep) @ p

    network = Network(lambda key: jnp.zeros((2, 2)), dropout)
    run = fit(jax.random.key(0), network, (X, OR), optax.sgd, {"learning_rate": 1.0}, loss=LOSS, epochs=5)
    still = Network(network.init, lambda p, x: dropout(p, x))
    same = fit(jax.random.key(0), still, (X, OR), optax.sgd, {"learning_rate": 1.0}, loss=LOSS, epochs=5)
    assert not np.allclose(run.params, same.params)
    np.testing.assert_allclose(run.history.loss[-1], jnp.mean(LOSS(X @ run.params, OR)), rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": (np.full_like(X, np.nan), XOR)}, "row 0 of x holds NaN"),
        ({"train": (X[:3], XOR)}, r"\(3, 2\) and y has shape \(4,\)"),
        ({"train": (X[:0], XOR[:0])}, "at least one row"),
        ({"train": (X[0, 0], XOR)}, r"x has shape \(\) and y"),
        ({"train": ({}, XOR)}, "y has shape"),
        ({"train": ({"a": X, "b": [X, X[:3]]}, XOR)}, r"x\['b'\]\[1\] has shape \(3, 2\)"),
        ({"train": ({"a": X, "b": np.where(X > 0, np.inf, X)}, XOR)}, r"row 1 of x\['b'\] holds NaN"),
        ({"train": (X.astype(float) * 1e39, XOR)}, "row 1 of x holds NaN or infinity"),
        ({"train": (X.astype(str), XOR)}, "x has dtype <U32; expected numbers"),
        ({"validation": (X[:3], XOR)}, r"validation: x has shape \(3, 2\)"),
        ({"epochs": 0}, "epochs=0"),
        ({"epochs": 5, "evaluate_every": 2}, "no multiple"),
        ({"batch_size": 5}, "batch_size=5"),
        ({"scalars": {"learning_rate": -0.1}}, "learning_rate=-0.1"),
        ({"scalars": {"learning_rate": float("nan")}}, "learning_rate=nan"),
        ({"scalars": {"learning_rate": -1}}, "learning_rate=-1"),
        ({"scalars": ADAM | {"mask": {"W1": True}}}, r"mask is a dict.*partial\(optax.adamw, mask=...\)"),
        ({"patience": 0}, "patience=0"),
    ],
)
def test_bad_input_is_refused_with_the_cure(change, message):
    arguments = {"train": (X, XOR), "scalars": ADAM, "epochs": 4} | change
    with pytest.raises(ValueError, match=message):
        fit(jax.random.key(0), NETWORK, make_optimizer=optax.adam, loss=LOSS, **arguments)


OPTIMIZERS = {
    name: make
    for module in (optax, optax.contrib)
    for name, make in vars(module).items()
    if inspect.isfunction(make)
    and not name.startswith(("_", "scale_by_"))
    and any(argument.endswith("learning_rate") for argument in inspect.signature(make).parameters)
}
GIVEN = {
    "learning_rate": 0.05,
    "base_optimizer": optax.sgd(0.1),
    "key": jax.random.key(0),
    "seed": 0,
    "l2_norm_clip": 1.0,
    "noise_multiplier": 1.0,
}
# These two ask for what only they need, and say so.
REFUSED = {"dpsgd": "expects `grads` to have a batch dimension", "sophia": "obj_fn must be provided"}


def arguments_of(make, spelled_out):
    """Those that the optimizer needs; spelled out, all others too, with their defaults; a key instead of a seed."""
    parameters = inspect.signature(make).parameters
    needed = {name for name, p in parameters.items() if p.default is p.empty or name == "key"}
    defaults = {name: p.default for name, p in parameters.items() if spelled_out and name != "seed"}
    return defaults | {name: GIVEN[name] for name in needed}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of optimizers that optax is about to rename
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_trains_with_its_arguments_spelled_out(name):
    """As a plain loop with its own defaults does; traced where they are floats, static where they choose."""
    make, network = OPTIMIZERS[name], Network(lambda key: jax.random.normal(key, (2, 3)), lambda w, x: x @ w)
    keys = jax.random.split(jax.random.key(1), 3)

    def train(key, network):
        return fit(key, network, (X, OR), make, arguments_of(make, True), loss=LOSS, epochs=4)

    if name in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name]):
            train(keys[0], NETWORK)
        return

    def mean_loss(w):
        return jnp.mean(LOSS(X @ w, OR))

    @jax.jit
    def loop(w):
        optimizer = optax.with_extra_args_support(make(**arguments_of(make, False)))

        def step(carry, _):
            value, gradient = jax.value_and_grad(mean_loss)(carry[0])
            updates, state = optimizer.update(gradient, *carry[::-1], value=value, grad=gradient, value_fn=mean_loss)
            return (optax.apply_updates(carry[0], updates), state), None

        return jax.lax.scan(step, (w, optimizer.init(w)), None, length=4)[0][0]

    runs = jax.jit(ensemble(partial(train, network=network), (-1,)))(keys)
    start = network.init(jax.random.fold_in(keys[1], 0))
    moved = loop(start) - start
    np.testing.assert_allclose(runs.params[..., 1] - start, moved, rtol=1e-4, atol=4e-7)
    assert np.abs(moved).max() > 2e-6


def test_static_arguments_compile_again_and_choose():
    """A whole learning rate is one of them; a schedule is a function."""
    traces = []

    def counted(p, x):
        traces.append(1)
        return apply(p, x)

    def losses(scalars):
        before = len(traces)
        run = fit(jax.random.key(0), network, (X, XOR), optax.sgd, scalars, loss=LOSS, epochs=5)
        return run.history.loss.tolist(), len(traces) > before

    network, schedule = Network(init, counted), optax.constant_schedule(1.0)
    plain, compiled = losses({"learning_rate": 1.0, "momentum": 0.5, "nesterov": False})
    assert compiled
    assert losses({"nesterov": False, "momentum": 0.5, "learning_rate": 1.0}) == (plain, False)
    assert losses({"learning_rate": 1.0, "momentum": 0.4, "nesterov": False})[1] is False
    nesterov, compiled = losses({"learning_rate": 1.0, "momentum": 0.5, "nesterov": True})
    assert compiled
    assert nesterov != plain
    for rate in (1, schedule):
        same, compiled = losses({"learning_rate": rate, "momentum": 0.5, "nesterov": False})
        assert compiled
        np.testing.assert_allclose(same, plain, rtol=1e-6)


def test_an_optimizer_that_is_built_by_a_traced_number_is_refused():
    """A float in `scalars` may change from run to run; what decides by it is told how to keep it."""

    def make(learning_rate, decay):
        return optax.adamw(learning_rate, weight_decay=decay) if decay > 0 else optax.adam(learning_rate)

    def train(make, scalars):
        return fit(jax.random.key(0), NETWORK, (X, XOR), make, scalars, loss=LOSS, epochs=2)

    with pytest.raises(
        ValueError, match=r"depends on one of decay, learning_rate, which are traced.*functools\.partial"
    ):
        train(make, ADAM | {"decay": 0.5})
    kept = train(partial(make, decay=0.5), ADAM)
    chex.assert_trees_all_close(kept, train(optax.adamw, ADAM | {"weight_decay": 0.5}), rtol=1e-6)


def test_a_line_search_sees_the_loss_of_its_minibatch_and_of_its_random_numbers():
    """Backtracking accepts a step where the loss has fallen, on the rows and with the numbers of the gradient."""

    def noisy(p, x, key=None):
        return apply(p, x) if key is None else apply(p, x + jax.random.normal(key, x.shape))

    network, params, key = Network(init, noisy), init(jax.random.key(0)), jax.random.key(5)
    search = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=20))
    after, state, before = train_step(network, LOSS, search, params, search.init(params), X[:2], XOR[:2], key)
    value = jnp.mean(LOSS(noisy(after, X[:2], key), XOR[:2]))
    assert value < before
    np.testing.assert_allclose(state[-1].value, value, rtol=1e-5)


def one_score(params, x):
    return (apply(params, x)[:, 1] - apply(params, x)[:, 0])[:, None]


def per_row(scores, labels):
    return optax.losses.sigmoid_binary_cross_entropy(scores[:, 0], labels)


@pytest.mark.parametrize("step", [False, True])
def test_a_loss_that_broadcasts_scores_against_labels_is_refused(step):
    """(rows, 1) against (rows,) is (rows, rows): its mean is finite, falls, and means nothing."""
    network = Network(init, one_score)

    def train(loss):
        if not step:
            return fit(jax.random.key(0), network, (X, OR), optax.sgd, {"learning_rate": 0.1}, loss=loss, epochs=1)
        params, sgd = init(jax.random.key(0)), optax.sgd(0.1)
        return train_step(network, loss, sgd, params, sgd.init(params), X, OR)

    with pytest.raises(ValueError, match=r"the loss has shape \(4, 4\) for scores \(4, 1\) and labels \(4,\)"):
        train(optax.losses.sigmoid_binary_cross_entropy)
    each, mean = train(per_row), train(lambda scores, labels: jnp.mean(per_row(scores, labels)))
    chex.assert_trees_all_close(each, mean, rtol=1e-6)


def test_a_metric_is_one_number():
    with pytest.raises(ValueError, match=r"the metric has shape \(4,\); expected \(\)"):
        fit(
            jax.random.key(0), NETWORK, (X, OR), optax.sgd, {"learning_rate": 0.1}, loss=LOSS, epochs=1,
            metric=lambda scores, labels: jnp.argmax(scores, -1) == labels,
        )  # fmt: skip


def defined_from(bound):
    """The accuracy, undefined while the loss is above the bound."""
    return lambda scores, labels: jnp.where(jnp.mean(LOSS(scores, labels)) > bound, jnp.nan, accuracy(scores, labels))


@pytest.mark.parametrize("bound", [0.0, 0.3, np.inf])
def test_an_undefined_metric_is_no_divergence(bound):
    """It is never the best; where it is never defined, the last parameters are the best ones."""
    run = fit(
        jax.random.key(0), NETWORK, (X, OR), optax.adam, ADAM, loss=LOSS, epochs=60, evaluate_every=10,
        metric=defined_from(bound),
    )  # fmt: skip
    defined = np.isfinite(run.history.metric)
    np.testing.assert_array_equal(defined, run.history.loss <= bound)
    assert not run.diverged
    assert run.last_step == 60
    if not defined.any():
        chex.assert_trees_all_equal(run.best_params, run.params)
        assert run.best_step == 60
    else:
        assert run.best_step == run.history.step[np.nanargmax(run.history.metric)]
        assert run.best_metric == np.nanmax(run.history.metric)


def test_an_undefined_loss_is_a_divergence():
    run = fit(
        jax.random.key(0), NETWORK, (X, OR), optax.sgd, {"learning_rate": 0.1}, epochs=2, metric=accuracy,
        loss=lambda scores, labels: LOSS(scores, labels) * jnp.where(scores[0, 0] == 0, 1, jnp.nan),
    )  # fmt: skip
    assert run.diverged
