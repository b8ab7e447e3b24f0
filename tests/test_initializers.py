"""The variance, limits and shape of every initializer, and what the matched gain does to signals in wide networks."""

import math
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import ACTIVATIONS, INITIALIZERS, activation_facts, draw_weight, get_initializer, mlp

FAN_IN, FAN_OUT, GAIN = 500, 300, 1.7
N = FAN_IN * FAN_OUT
GLOROT, HE, LECUN, MATCHED = 2 / (FAN_IN + FAN_OUT), 2 / FAN_IN, 1 / FAN_IN, GAIN**2 / FAN_IN
CUT = 2 / 0.87962566103423978  # a normal cut off at ±2, stretched to unit variance
# Variance, and the limit in standard deviations.
TRUTH = {
    "matched": (MATCHED, math.inf),
    "matched_uniform": (MATCHED, math.sqrt(3)),
    "glorot_normal": (GLOROT, CUT),
    "glorot_uniform": (GLOROT, math.sqrt(3)),
    "he_normal": (HE, CUT),
    "he_uniform": (HE, math.sqrt(3)),
    "lecun_normal": (LECUN, CUT),
    "lecun_uniform": (LECUN, math.sqrt(3)),
    "orthogonal": (GAIN**2 / max(FAN_IN, FAN_OUT), math.inf),
    "siren": (HE, math.sqrt(3)),
    "torch": (1 / (3 * FAN_IN), math.sqrt(3)),
}


def draw(name, seed=0, **choices):
    return draw_weight(name, jax.random.key(seed), FAN_IN, FAN_OUT, **{"gain": GAIN, **choices})


def test_every_initializer_is_held_to_a_truth():
    assert set(TRUTH) == set(INITIALIZERS)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_variance_limits_and_shape(name):
    variance, limit = TRUTH[name]
    weight = np.asarray(draw(name), float)
    assert weight.shape == (FAN_IN, FAN_OUT)
    # Five standard errors: √(1/n) of the mean and at most √(2/n), a normal's, of the variance.
    assert abs(weight.mean()) < 5 * math.sqrt(variance / N)
    assert abs(weight.var() / variance - 1) < 5 * math.sqrt(2 / N)
    extreme = np.abs(weight).max() / math.sqrt(variance)
    assert extreme <= limit * (1 + 1e-6)
    assert extreme > min(limit, 4) * 0.99  # the limit is reached; a normal passes 4 in 150,000 draws


def test_the_truncated_normal_is_stretched_to_its_variance():
    from scipy.stats import truncnorm

    assert math.isclose(CUT, 2 / truncnorm(-2, 2).std(), rel_tol=1e-12)
    uncorrected = draw("he_normal") / CUT * 2
    assert abs(uncorrected.var() / HE - 1) > 0.2


@pytest.mark.parametrize(("fan_in", "fan_out"), [(40, 40), (60, 25), (25, 60)])
def test_orthogonal_rows_or_columns(fan_in, fan_out):
    weight = draw_weight("orthogonal", jax.random.key(1), fan_in, fan_out, gain=GAIN)
    gram = weight.T @ weight if fan_in >= fan_out else weight @ weight.T
    np.testing.assert_allclose(gram, GAIN**2 * np.eye(min(fan_in, fan_out)), atol=1e-5)


def test_siren_tells_the_first_layer_apart():
    first, other = (np.abs(draw("siren", first=first)).max() for first in (True, False))
    assert 0.999 / FAN_IN < first <= 1.000001 / FAN_IN
    limit = math.sqrt(6 / FAN_IN)
    assert 0.999 * limit < other <= 1.000001 * limit


@pytest.mark.parametrize("name", INITIALIZERS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_dtype_is_kept(name, dtype, strict):
    assert draw_weight(name, jax.random.key(0), 6, 4, gain=GAIN, dtype=dtype).dtype == dtype


@pytest.mark.parametrize("name", ["matched", "matched_uniform", "orthogonal"])
def test_same_key_same_draws_scaled_by_the_gain(name):
    relu, tanh = (activation_facts(activation).gain for activation in ("relu", "tanh"))
    np.testing.assert_allclose(draw(name, gain=relu) / relu, draw(name, gain=tanh) / tanh, rtol=1e-6)
    assert not np.allclose(draw(name, seed=0), draw(name, seed=1))


@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_gain_scales_a_weight_or_leaves_it_alone(name):
    ratio = draw(name, gain=2.0) / draw(name, gain=1.0)
    follows = math.isclose(TRUTH[name][0] / GAIN**2 * max(FAN_IN, FAN_OUT), 1)
    np.testing.assert_allclose(ratio, 2.0 if follows else 1.0, rtol=1e-6)


def test_a_record_is_its_own_name():
    assert get_initializer(INITIALIZERS["siren"]) is INITIALIZERS["siren"]
    np.testing.assert_array_equal(draw("torch"), draw(INITIALIZERS["torch"]))


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match=r"'he_norml'.*he_normal"):
        get_initializer("he_norml")


# Physics. A unit's weights are normal, so over the units the mean square of the pre-activations is, given the row, a χ²
# with relative variance 2 / width, and the row's own a² is a mean of `width` squares with relative variance
# (κ − 1) / width, κ = E[φ⁴] / E[φ²]². The rows share the weights: the first does not average out over them, the second
# does at least where φ has no mean. A disturbance of the length shrinks by V′(1) in each of the following layers.
WIDTH, ROWS, DEPTH = 512, 64, 20


def kurtosis(activation, width=WIDTH):
    """E[φ⁴] / E[φ²]² of the units of a layer, from a large sample."""
    z = jax.random.normal(jax.random.key(9), (ROWS, width * activation.inputs // activation.outputs))
    square = np.square(np.asarray(unit(activation, z, jax.random.key(10)), float))
    return np.mean(square**2) / np.mean(square) ** 2


@partial(jax.jit, static_argnums=0)
def unit(activation, h, key):
    params = [jnp.full(h.shape[-1], value) for _, value in activation.params]
    draws = {"key": key} if activation.random else {}
    return activation.fn(h, *params, **draws)


@lru_cache(1)
def drawn(activation, init, depth, width):
    """The layers of one network; those of the last one are kept for the second look at it."""
    return mlp((width, *(width,) * depth, width), activation, init=init).init(jax.random.key(3))


def mean_squares(activation, init="matched", depth=1, width=WIDTH, scale=1.0):
    """Mean square of the pre-activations after each of `depth` hidden layers, of standard normal rows."""
    layers = drawn(activation, init, depth, width)
    h = jax.random.normal(jax.random.key(4), (ROWS, layers[0].weight.shape[1]))
    means = []
    for i, layer in enumerate(layers[1:]):
        h = unit(activation, h, jax.random.key(100 + i)) @ layer.weight * scale
        means.append(float(jnp.mean(h**2)))
    return np.array(means)


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=lambda record: record.name)
def test_one_wide_layer_keeps_the_mean_square(activation):
    width = 1024
    band = 3 * (math.sqrt(2 / width) + math.sqrt((kurtosis(activation, width) - 1) / (ROWS * width)))
    error = abs(mean_squares(activation, width=width)[0] - 1)
    assert error < band < 0.21


def depth_band(activation):
    """Four standard errors of the log mean square, the disturbances of 20 layers added up."""
    elementwise = activation.inputs == activation.outputs == 1
    slope = activation_facts(activation).stability if elementwise else 1.0  # pieces of lines: V is linear
    memory = sum(slope ** (2 * layer) for layer in range(DEPTH))
    return 4 * math.sqrt((kurtosis(activation) + 1) / WIDTH * memory)


STABLE = [record for record in ACTIVATIONS.values() if record.stable]


@pytest.mark.parametrize("activation", STABLE, ids=lambda record: record.name)
def test_twenty_layers_keep_the_mean_square_only_with_the_matched_gain(activation):
    band = depth_band(activation)
    assert np.max(np.abs(np.log(mean_squares(activation, depth=DEPTH)))) < band
    assert np.log(mean_squares(activation, depth=DEPTH, scale=1.5)[-1]) > band


@pytest.mark.parametrize(("name", "init"), [("tanh", "he_normal"), ("relu", "lecun_normal"), ("selu", "torch")])
def test_another_activations_initializer_leaves_the_band(name, init):
    activation = ACTIVATIONS[name]
    assert abs(np.log(mean_squares(activation, init=init, depth=DEPTH)[-1])) > depth_band(activation)
