"""Every function over the whole range of every dtype: the narrow ones against float64, and that against mpmath.

Run as a script it prints the table: the largest errors of value and derivative of each activation in each dtype, in
each way to call it.
"""

import functools
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from textbook import m, outputs

from jaxnn import (
    ACTIVATIONS,
    HEADS,
    METRICS,
    ensemble,
    get_activation,
    get_head,
    losses,
    maxout,
    parametric,
    weighted_mean,
)

EVERY = [*ACTIVATIONS.values(), maxout(3), parametric("silu")]
DTYPES = (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)
WAYS = ("jit", "eager", "ensemble, small", "ensemble, large")
VALUE, SLOPE = 0.6, 16  # in the units below, of values (but see the record for float32) and of derivatives
WAVES = ("snake", "sinlu")  # slopes such as 1 + sin x have double zeros: there their errors are those of 1


def lines(activation):
    """An activation as functions of one number: in each input, the others at ¾, for each output; with definitions."""
    several = range(activation.inputs)
    for place in several:
        for output in range(activation.outputs):

            def fn(x, *params, place=place, output=output):
                units = jnp.concatenate([x if i == place else jnp.full_like(x, 0.75) for i in several], axis=-1)
                return jnp.split(activation.fn(units, *params), activation.outputs, axis=-1)[output]

            def definition(x, *params, place=place, output=output):
                return outputs(activation, [*(x if i == place else m.mpf(0.75) for i in several), *params])[output]

            if activation.inputs == activation.outputs == 1:
                yield activation, definition
            else:
                yield replace(activation, name=f"{activation.name}[{place},{output}]", fn=fn, kinks=()), definition


WALKED, DEFINITIONS = zip(*(line for activation in EVERY for line in lines(activation)), strict=True)


def inputs(dtype) -> np.ndarray:
    """All numbers of a 16-bit type, twice as many of float32 (every exponent, and densely near 0), a grid of float64.

    1 in place of NaN, infinities and what XLA may flush to 0.
    """
    if dtype == jnp.float64:
        x = np.concatenate([np.geomspace(1e-3, 800, 100), np.geomspace(1e-30, 1e30, 61)])
        return np.concatenate([-x, x])
    bits = np.arange(2**16)
    single = (bits * 2**16 + 12345).astype(np.uint32)
    x = bits.astype(np.uint16).view(dtype)
    if dtype == jnp.float32:
        x = np.concatenate([single.view(dtype), np.linspace(-10, 10, 2**16, dtype=dtype)])
    with np.errstate(invalid="ignore"):
        wide = x.astype(np.float64)
    normal = np.isfinite(wide) & ((np.abs(wide) >= float(jnp.finfo(dtype).tiny)) | (wide == 0))
    return np.where(normal, x, np.ones((), dtype))


def along(fn, x):
    return jax.jvp(fn, (x,), (jnp.ones_like(x),))


def params_in(activation, dtype) -> list[float]:
    """The initial parameters as the dtype has them, so that a wider one computes the same function."""
    return [float(np.asarray(value, dtype)) for _, value in activation.params]


def at_start(activation, dtype):
    """φ at its initial parameters."""
    params = params_in(activation, dtype)
    return lambda x: activation.fn(x, *(jnp.full_like(x, value) for value in params))


@jax.jit
def wide(x, params):
    """φ, φ′ and φ″ of all activations: one program for all dtypes."""
    found = {}
    for one in WALKED:

        def fn(x, one=one):
            return one.fn(x, *(jnp.full_like(x, value) for value in params[one.name]))

        found[one.name] = *along(fn, x), along(lambda x: along(fn, x)[1], x)[1]
    return found


def textbook(activation, definition):
    """φ, φ′ and φ″ of the definition, by differences of 440 digits."""
    with m.workdps(440):
        h, params = m.mpf(10) ** -40, [m.mpf(value) for value in params_in(activation, jnp.float64)]
        rows = []
        for x in inputs(jnp.float64).tolist():
            down, value, up = (definition(m.mpf(x) + s * h, *params) for s in (-1, 0, 1))
            rows.append([float(value), float((up - down) / (2 * h)), float((up - 2 * value + down) / h**2)])
    return np.array(rows).T


@functools.cache
def true(dtype):
    """By name: φ, φ′ and φ″."""
    if dtype == jnp.float64:
        return {one.name: textbook(one, definition) for one, definition in zip(WALKED, DEFINITIONS, strict=True)}
    with jax.enable_x64(True):
        params = {one.name: params_in(one, dtype) for one in WALKED}
        return jax.device_get(wide(inputs(dtype).astype(np.float64), params))


def called(way, fn):
    """`fn` of an array, called in one way; how wide a product is decides how networks lie."""
    if way == "eager":
        return fn
    if way == "jit":
        return jax.jit(fn)
    width = 2 if way == "ensemble, small" else 64

    def networks(x):
        several = jnp.resize(x, (width, width, -(-x.size // width**2)))
        found = ensemble(lambda x: fn(x @ jnp.eye(width, dtype=x.dtype)), (-1,))(several)
        return jax.tree.map(lambda values: values.ravel()[: x.size], found)

    return jax.jit(networks)


@functools.cache
def found(dtype, way, every=1):
    """By name: φ, φ′ by reverse and by forward mode; of every activation, or every third, ..."""

    def modes(x):
        results = {}
        for one in WALKED[::every]:
            value, back = jax.vjp(at_start(one, dtype), x)
            results[one.name] = value, *back(jnp.ones_like(x)), along(at_start(one, dtype), x)[1]
        return results

    with jax.enable_x64(dtype == jnp.float64):
        return jax.device_get(called(way, modes)(inputs(dtype)))


def errors(activation, dtype, results):
    """Of value, reverse and forward derivative: the largest error, and how many are mistyped or wrongly not finite.

    In units in the last place of the true number, or of what rounding x makes of it where that is more. Numbers below
    the smallest normal one may be 0 on the way, before they are multiplied by x.
    """
    x, info = inputs(dtype).astype(np.float64), jnp.finfo(dtype)
    value, slope, bend = np.nan_to_num(true(dtype)[activation.name])
    kink = np.isin(x, [at for at, _ in activation.kinks])
    floor = np.where(activation.name in WAVES, 1.0, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        flushed = 4 * float(info.tiny) * (1 + np.abs(x)) ** 2
        for got, exact, change in zip(results, (value, slope, slope), (slope, bend, bend), strict=True):
            mistyped, got = got.size * (got.dtype != dtype), got.astype(np.float64)
            should = np.abs(exact) <= float(info.max) * (1 - float(info.eps))
            size = np.maximum(np.maximum(np.abs(exact), np.nan_to_num(np.abs(x * change))), float(info.tiny))
            size = size if exact is value else np.maximum(size, floor)
            unit = 2.0 ** np.floor(np.log2(size)) * float(info.eps)
            error = np.maximum(np.abs(np.where(should & np.isfinite(got), got - exact, 0)) - flushed, 0) / unit
            error = error if exact is value else np.where(kink, 0, error)
            yield error.max(), int(np.sum(should & ~np.isfinite(got))) + mistyped


def bound(activation, dtype) -> float:
    """Of the error of a value: what is computed in float32 and rounded has half a unit of its own."""
    double = 128 if activation.name == "shifted_softplus" else 16  # XLA's log1p is 121 units off at −0.413
    return {jnp.float32: activation.ulp + 0.5, jnp.float64: double}.get(dtype, VALUE)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("activation", WALKED, ids=lambda a: a.name)
def test_value_and_derivatives_are_within_the_bound_over_the_whole_range(activation, dtype):
    assert_within_bound(activation, dtype, found(dtype, "jit"))


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize("activation", WALKED[::4], ids=lambda a: a.name)
def test_so_they_are_in_every_way_to_call(activation, way):
    """The script walks all activations and dtypes."""
    assert_within_bound(activation, jnp.float32, found(jnp.float32, way, 4))


def assert_within_bound(activation, dtype, results):
    (value, a), (reverse, b), (forward, c) = errors(activation, dtype, results[activation.name])
    assert a + b + c == 0
    assert value <= bound(activation, dtype)
    assert max(reverse, forward) <= SLOPE


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("activation", [one for one in EVERY if one.inputs == 2], ids=lambda a: a.name)
def test_gated_units_have_both_slopes_wherever_their_inputs_lie(activation, dtype):
    """a may be as large as b: what the gate multiplies must not overflow on the way back."""
    ends = np.array([1, 1e-3, 1e-10, 2e-38]) * float(jnp.finfo(dtype).max)
    a, b = np.meshgrid(*[[*-ends, -3, -0.75, 0, 1, *ends]] * 2)
    z = jnp.asarray(np.stack([a.ravel(), b.ravel()], -1), dtype)

    def slopes(z):
        def fn(z):
            return activation.fn(z)[..., 0]

        ways = jax.jacrev(fn), jax.jacfwd(fn)
        return [jax.vmap(way)(z) for way in ways]

    with jax.enable_x64(True):
        exact = np.asarray(jax.jit(slopes)(z.astype(jnp.float64))[0])
    held = np.abs(exact) < float(jnp.finfo(dtype).max)
    for found in jax.jit(slopes)(z):
        close = np.isclose(
            np.asarray(found, float), exact, rtol=2e-5 + float(jnp.finfo(dtype).eps), atol=float(jnp.finfo(dtype).tiny)
        )
        assert (close | ~held).all()


@pytest.mark.parametrize("activation", EVERY, ids=lambda a: a.name)
def test_a_function_goes_into_every_transformation_as_it_is(activation):
    """JAX holds what it compiles by a weak reference."""
    x, params = jnp.ones(6), [jnp.float32(value) for _, value in activation.params]
    shapes = [jax.eval_shape(way, x, *params) for way in (activation.fn, jax.jit(activation.fn))]
    chex.assert_trees_all_equal_shapes_and_dtypes(*shapes, jax.eval_shape(jax.checkpoint(activation.fn), x, *params))


@pytest.mark.parametrize(
    ("name", "old", "dtype"),
    [
        ("gelu", lambda x: x * jax.lax.erfc(x * -np.sqrt(0.5).astype(np.float16)) / 2, jnp.float16),
        ("isru", lambda x: x / jnp.sqrt(1 + x * x), jnp.float32),
        ("soft_sign", lambda x: x / (1 + jnp.abs(x)), jnp.float32),
        ("sigmoid", jax.nn.sigmoid, jnp.float32),
    ],
)
def test_as_it_was_written_before_it_is_not(name, old, dtype):
    """Negative control; of expm1 and tanh newer versions of JAX have mended the derivatives themselves."""
    results = jax.jit(lambda x: (old(x), jax.vmap(jax.grad(old))(x), along(old, x)[1]))(inputs(dtype))
    (_, a), (reverse, b), (forward, c) = errors(get_activation(name), dtype, jax.device_get(results))
    assert a + b + c > 0 or max(reverse, forward) > 1000


# Whole numbers, half precision: one rule for everything that takes numbers.


INTEGERS = (jnp.uint8, jnp.int8, jnp.int32, bool)


def numbers(dtype, shape):
    values = np.resize([0, 1, 3, 100, 2, 5, 120, 7], shape)
    return jnp.asarray(values % 2 if dtype is bool else values, dtype)


@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda d: np.dtype(d).name)
def test_whole_numbers_have_the_value_of_the_float(dtype):
    x = numbers(dtype, (4, 6))

    def values(x):
        out = {}
        for one in EVERY:
            params = [jnp.float32(value) for _, value in one.params]
            out[one.name] = one.fn(x, *params)
            if one.random:
                out[f"{one.name} drawn"] = one.fn(x, key=jax.random.key(0))
        return out

    expected = jax.jit(values)(x.astype(jnp.float32))
    for way in (values, jax.jit(values)) if dtype is jnp.int32 else (jax.jit(values),):
        for name, value in way(x).items():
            assert value.dtype == jnp.float32, name
            np.testing.assert_allclose(value, expected[name], rtol=2e-6, err_msg=name)


def test_whole_numbers_of_64_bits_do_not_wrap():
    for number in (np.array([2**40]), np.array([2**63 + 5], np.uint64)):
        np.testing.assert_allclose(get_activation("relu").fn(number), number.astype(float), rtol=1e-6)


def test_python_numbers_and_truth_values():
    for one in [activation for activation in EVERY if activation.inputs == 1][::4]:
        for number in (3, True):
            found, expected = (one.fn(x, *(v for _, v in one.params)) for x in (number, jnp.float32(number)))
            np.testing.assert_allclose(found, expected, err_msg=one.name)
    with pytest.raises(TypeError, match="complex64; expected floating point, integers or booleans"):
        get_activation("relu").fn(jnp.complex64(1))


@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda d: np.dtype(d).name)
def test_whole_scores_and_probabilities(dtype):
    y = jnp.array([0, 1, 1, 0])

    @jax.jit
    def values(scores, p):
        heads = {name: (head.probabilities(scores[name]), head.loss(scores[name], y)) for name, head in HEADS.items()}
        return heads, {name: metric.fn(p, y) for name, metric in METRICS.items()}

    scores = {name: numbers(dtype, (4, head.scores(2))) for name, head in HEADS.items()}
    whole = scores, jnp.asarray(np.eye(2)[[0, 1, 0, 0]], dtype)
    found, expected = values(*whole), values(*jax.tree.map(lambda a: a.astype(jnp.float32), whole))
    chex.assert_trees_all_equal_dtypes(found, expected)
    chex.assert_trees_all_close(found, expected, rtol=1e-6)


# Masked classes and scores at the ends of the range.


LOSSES = [
    None, losses.with_label_smoothing, losses.with_focal_loss, losses.with_poly_loss, losses.with_squared_loss,
    losses.with_hinge_loss, losses.with_perceptron_loss,
]  # fmt: skip


def heads():
    """Every head with every loss that it takes."""
    for head in HEADS.values():
        yield head
        for make in LOSSES[1:]:
            if head.ordered or make not in (losses.with_hinge_loss, losses.with_perceptron_loss):
                yield make(head)


ALL_HEADS = list(heads())


def masked(head):
    """Scores of which one is −∞, and the class that it masks."""
    if head.scores is HEADS["sigmoid"].scores:
        return [-np.inf], 1
    return [0.3, -np.inf, -1.2, 2.0][: head.scores(4)], 1


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float32], ids=lambda d: d.__name__)
def test_a_masked_class_has_no_probability_and_no_part_in_the_loss(dtype):
    def all_of(head):
        scores, out = masked(head)
        z = jnp.asarray(scores, dtype)
        one = jax.value_and_grad(head.loss)
        others = [y for y in range(2 if len(scores) == 1 else 4) if y != out]
        return head.probabilities(z), [one(z, jnp.array(y)) for y in others], head.loss(z, jnp.array(out))

    found = jax.device_get(jax.jit(lambda: [all_of(head) for head in ALL_HEADS])())
    for head, (p, others, of_masked) in zip(ALL_HEADS, found, strict=True):
        assert p[masked(head)[1]] == 0, head.name
        np.testing.assert_allclose(np.asarray(p, float).sum(), 1, rtol=0.02, err_msg=head.name)
        for value, slope in others:
            assert np.isfinite([float(value), *np.asarray(slope, float)]).all(), head.name
        assert of_masked == np.inf or "squared" in head.name, head.name


def test_a_masked_class_is_as_if_it_were_not_there():
    """Where the others alone make the same head; stick-breaking and means over classes have another one."""
    z, y = jnp.array([0.3, -jnp.inf, -1.2, 2.0]), jnp.array(2)
    for head in ALL_HEADS:
        if len(masked(head)[0]) == 4:
            np.testing.assert_allclose(head.loss(z, y), head.loss(z[jnp.array([0, 2, 3])], jnp.array(1)), rtol=1e-6)


def test_a_label_without_a_say_may_be_masked():
    z, others = jnp.array([0.3, -jnp.inf, -1.2, 2.0]), jnp.array([0, 2, 3])
    head = losses.with_label_smoothing("softmax", 1.0)
    value, slope = jax.value_and_grad(head.loss)(z, jnp.array(1))
    expected, of_others = jax.value_and_grad(lambda z: -jnp.mean(jax.nn.log_softmax(z)))(z[others])
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(slope[others], of_others, atol=1e-6)
    assert slope[1] == 0


def test_a_loss_beyond_the_dtype_is_not_one_of_a_masked_class():
    """Smoothing takes the mean over all classes that are possible."""
    head = losses.with_label_smoothing("softmax", 0.1)
    less, more = (jnp.array([-far, far, far]) for far in (1.5e38, 3e38))
    assert 1e37 <= head.loss(less, jnp.array(1)) <= head.loss(more, jnp.array(1)) < jnp.inf
    with jax.enable_x64(True):
        exact = jax.grad(head.loss)(more.astype(float), jnp.array(1))
    np.testing.assert_allclose(jax.grad(head.loss)(more, jnp.array(1)), exact, rtol=1e-6)


@pytest.mark.parametrize(("dtype", "far"), [(jnp.float32, 3e38), (jnp.float16, 6e4)])
def test_scores_at_the_ends_of_the_range(dtype, far):
    """Probabilities, slopes, and losses that the dtype can hold, by float64; on top is a share of a head's own loss."""

    def rows(head):
        k = head.scores(2 if head.scores is HEADS["sigmoid"].scores else 3)
        return np.stack(np.meshgrid(*[[-far, 0, far]] * k), -1).reshape(-1, k).astype(dtype)

    def all_of(scores):
        found = []
        for head, z in zip(ALL_HEADS, scores, strict=True):
            p = head.probabilities(z)
            found.append((p, *jax.vmap(jax.value_and_grad(head.loss))(z, jnp.argmax(p, -1))))
        return found

    scores = [rows(head) for head in ALL_HEADS]
    found = jax.device_get(jax.jit(all_of)(scores))
    with jax.enable_x64(True):
        true = jax.device_get(jax.jit(all_of)([z.astype(np.float64) for z in scores]))
    for head, (p, value, slope), (_, exact, _) in zip(ALL_HEADS, found, true, strict=True):
        np.testing.assert_allclose(np.asarray(p, float).sum(-1), 1, rtol=0.02, err_msg=head.name)
        held = exact < float(jnp.finfo(dtype).max) / 4
        assert np.isfinite(np.asarray(value, float)[held]).all(), head.name
        assert np.isfinite(np.asarray(slope, float)[held]).all(), head.name


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float32], ids=lambda d: d.__name__)
def test_slopes_are_finite_at_the_ends_of_the_range_for_every_label(dtype):
    """Also where the loss is beyond the dtype; focal losses multiply it with probabilities that no longer move."""
    far = 0.9 * float(jnp.finfo(dtype).max)
    z = jnp.asarray(np.stack(np.meshgrid(*[[-far, 0, far]] * 3), -1).reshape(-1, 3), dtype)
    several = [head for head in ALL_HEADS if head.scores is not HEADS["sigmoid"].scores and head.scores(3) == 3]

    @jax.jit
    def slopes(z, y):
        return {head.name: jax.vmap(jax.grad(head.loss), (0, None))(z, y) for head in several}

    for y in range(3):
        for name, found in slopes(z, y).items():
            assert np.isfinite(np.asarray(found, float)).all(), name


def test_the_old_product_with_a_one_hot_would_lose_a_masked_class():
    """Negative control."""
    z, e = jnp.array([0.3, -jnp.inf]), jnp.array([1.0, 0.0])
    assert np.isnan(-jnp.sum(e * jax.nn.log_softmax(z)))


@pytest.mark.parametrize("scores", [[-np.inf] * 3, [0, 1, np.inf], [0, np.nan, 1]])
def test_what_has_no_meaning_is_nan(scores):
    assert np.isnan(HEADS["softmax"].probabilities(jnp.array(scores, jnp.float32))).all()
    assert np.isnan(HEADS["softmax"].loss(jnp.array(scores, jnp.float32), jnp.array(0)))


@pytest.mark.parametrize("value", [1e8, 1e10, 1e30])
def test_a_temperature_is_finite_at_large_scores_under_jit(value):
    head = get_head("temperature")
    z = jnp.linspace(0.9, 1, 7) * value
    p, slope = jax.jit(lambda z: (head.probabilities(z), jax.grad(head.loss)(z, jnp.array(6))))(z)
    np.testing.assert_array_equal(p, np.eye(7)[6])
    assert np.isfinite(slope).all()


def test_a_row_of_no_weight_has_no_gradient_although_its_class_is_masked():
    z, y = jnp.array([[0, -jnp.inf, 1], [1, 2, 0]]), jnp.array([1, 0])
    for head in ALL_HEADS:
        if len(masked(head)[0]) == 4:
            slopes = jax.grad(lambda z, h=head: weighted_mean(h.loss(z, y), y, sample_weight=jnp.array([0.0, 1])))(z)
            np.testing.assert_array_equal(slopes[0], 0, head.name)
            assert np.isfinite(slopes[1]).all()


@pytest.mark.parametrize(
    "name",
    "lisht swish gelu_tanh tanh_shrink gelu arctan soft_sign laplace quick_gelu isru elu".split(),
)
def test_second_derivatives_are_finite_far_out_and_right_where_the_function_is_flat(name):
    one = at_start(get_activation(name), jnp.float32)
    second = jax.jit(jax.vmap(jax.grad(jax.grad(one))))
    far = jnp.array([1e10, 1e20, 3e38])
    assert np.isfinite(second(jnp.concatenate([-far, far]))).all()
    x = np.float32([-20, -12, -6, 6, 12, 16.66])
    with jax.enable_x64(True):
        exact = np.asarray(jax.vmap(jax.grad(jax.grad(one)))(x.astype(np.float64)))
    np.testing.assert_allclose(second(x), exact, rtol=2e-3, atol=1e-30)


def test_focal_losses_have_second_derivatives_on_saturated_rows():
    z = jnp.array([[50.0, 0.0], [200.0, 0.0], [1e4, 0.0], [0.0, 50.0], [0.0, 0.0]])
    gammas = (0.3, 0.5, 0.9, 2.0)

    @jax.jit
    def second(z):
        return [jax.vmap(jax.hessian(losses.with_focal_loss("softmax", g).loss), (0, None))(z, 0 * one) for g in gammas]

    one = jnp.array(0)
    assert np.isfinite(second(z)).all()


if __name__ == "__main__":
    print("largest error in ulp (of the number, or of what rounding x makes of it)", jax.__version__)
    print(f"{'activation':18s} {'dtype':9s} {'way':16s} {'value':>7s} {'reverse':>8s} {'forward':>8s} {'bound':>6s} "
          "wrong")  # fmt: skip
    wrong = beyond = 0
    for dtype in DTYPES:
        for way in WAYS:
            for one in WALKED:
                largest, bad = zip(*errors(one, dtype, found(dtype, way)[one.name]), strict=True)
                wrong += sum(bad)
                beyond += largest[0] > bound(one, dtype) or max(largest[1:]) > SLOPE
                print(f"{one.name:18s} {dtype.__name__:9s} {way:16s} {largest[0]:7.2f} {largest[1]:8.2f} "
                      f"{largest[2]:8.2f} {bound(one, dtype):6.1f} {sum(bad):5d}")  # fmt: skip
    print(f"{wrong} results are of another dtype, or not finite but should be; {beyond} lines are beyond the bound")
