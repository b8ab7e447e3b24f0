"""Every function over the whole range of every dtype, against float64, which mpmath bounds in test_activations.

Run as a script it prints the table: the largest errors of value and derivative of each activation in each dtype.
"""

import functools
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

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

ELEMENTWISE = [a for a in [*ACTIVATIONS.values(), parametric("silu")] if a.inputs == a.outputs == 1]
DTYPES = (jnp.float16, jnp.bfloat16, jnp.float32)
SLOPE = 16  # in the units below, of every derivative
WAVES = ("snake", "sinlu")  # slopes such as 1 + sin x have double zeros: there their errors are those of 1


def inputs(dtype) -> np.ndarray:
    """All numbers of a 16-bit type, as many of float32; 1 in place of NaN, infinities and what XLA may flush to 0."""
    bits = np.arange(2**16)
    single = (bits * 2**16 + 12345).astype(np.uint32)
    x = single.view(dtype) if dtype == jnp.float32 else bits.astype(np.uint16).view(dtype)
    with np.errstate(invalid="ignore"):
        wide = x.astype(np.float64)
    normal = np.isfinite(wide) & ((np.abs(wide) >= float(jnp.finfo(dtype).tiny)) | (wide == 0))
    return np.where(normal, x, np.ones((), dtype))


def along(fn, x):
    return jax.jvp(fn, (x,), (jnp.ones_like(x),))


def params_in(activation, dtype) -> list[float]:
    """The initial parameters as the dtype has them, so that float64 computes the same function."""
    return [float(np.asarray(value, dtype)) for _, value in activation.params]


def at_start(activation, dtype):
    """φ at its initial parameters."""
    params = params_in(activation, dtype)
    return lambda x: activation.fn(x, *(jnp.full_like(x, value) for value in params))


@jax.jit
def wide(x, params):
    """φ, φ′ and φ″ of all activations: one program for all dtypes."""
    found = {}
    for one in ELEMENTWISE:

        def fn(x, one=one):
            return one.fn(x, *(jnp.full_like(x, value) for value in params[one.name]))

        found[one.name] = *along(fn, x), along(lambda x: along(fn, x)[1], x)[1]
    return found


@functools.cache
def evaluated(dtype):
    """By name: φ, φ′ by reverse and by forward mode in the dtype; φ, φ′ and φ″ in float64."""

    @jax.jit
    def narrow(x):
        modes = {}
        for one in ELEMENTWISE:
            value, back = jax.vjp(at_start(one, dtype), x)
            modes[one.name] = value, *back(jnp.ones_like(x)), along(at_start(one, dtype), x)[1]
        return modes

    x = inputs(dtype)
    found = jax.device_get(narrow(x))
    with jax.enable_x64(True):
        params = {one.name: params_in(one, dtype) for one in ELEMENTWISE}
        return found, jax.device_get(wide(x.astype(np.float64), params))


def errors(activation, dtype):
    """Of value, reverse and forward derivative: the largest error, and how many of them should be finite and are not.

    In units in the last place of the true number, or of what rounding x makes of it where that is more. Numbers below
    the smallest normal one may be 0 on the way, before they are multiplied by x.
    """
    x, info = inputs(dtype).astype(np.float64), jnp.finfo(dtype)
    found, true = (table[activation.name] for table in evaluated(dtype))
    value, slope, bend = np.nan_to_num(true)
    kink = np.isin(x, [at for at, _ in activation.kinks])
    floor = np.where(activation.name in WAVES, 1.0, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        flushed = 4 * float(info.tiny) * (1 + np.abs(x)) ** 2
        for got, exact, change in ((found[0], value, slope), (found[1], slope, bend), (found[2], slope, bend)):
            got = got.astype(np.float64)
            should = np.abs(exact) <= float(info.max) * (1 - float(info.eps))
            size = np.maximum(np.maximum(np.abs(exact), np.nan_to_num(np.abs(x * change))), float(info.tiny))
            size = size if got is value or exact is value else np.maximum(size, floor)
            unit = 2.0 ** np.floor(np.log2(size)) * float(info.eps)
            error = np.maximum(np.abs(np.where(should & np.isfinite(got), got - exact, 0)) - flushed, 0) / unit
            error = error if exact is value else np.where(kink, 0, error)
            yield error.max(), int(np.sum(should & ~np.isfinite(got)))


def table():
    """Rows of the table: name, dtype, the three errors, what is not finite but should be."""
    for activation in ELEMENTWISE:
        for dtype in DTYPES:
            largest, wrong = zip(*errors(activation, dtype), strict=True)
            yield activation, dtype, largest, sum(wrong)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("activation", ELEMENTWISE, ids=lambda a: a.name)
def test_value_and_derivatives_are_within_the_bound_over_the_whole_range(activation, dtype):
    (value, a), (reverse, b), (forward, c) = errors(activation, dtype)
    assert a + b + c == 0
    assert value <= (activation.ulp + 0.5 if dtype == jnp.float32 else 0.6)
    assert max(reverse, forward) <= SLOPE


@pytest.mark.parametrize(
    ("name", "old", "dtype"),
    [
        ("gelu", lambda x: x * jax.lax.erfc(x * -np.sqrt(0.5).astype(np.float16)) / 2, jnp.float16),
        ("isru", lambda x: x / jnp.sqrt(1 + x * x), jnp.float32),
        ("soft_sign", lambda x: x / (1 + jnp.abs(x)), jnp.float32),
    ],
)
def test_as_it_was_written_before_it_is_not(name, old, dtype, monkeypatch):
    """Negative control; of expm1 and tanh newer versions of JAX have mended the derivatives themselves."""
    x = inputs(dtype)
    found = jax.device_get(jax.jit(lambda x: (old(x), jax.vmap(jax.grad(old))(x), along(old, x)[1]))(x))
    true = evaluated(dtype)[1]
    monkeypatch.setattr(sys.modules[__name__], "evaluated", lambda dtype: ({name: found}, true))
    (_, a), (reverse, b), (forward, c) = errors(get_activation(name), dtype)
    assert a + b + c > 0 or max(reverse, forward) > 1000


# Whole numbers, half precision: one rule for everything that takes numbers.


INTEGERS = (jnp.uint8, jnp.int8, jnp.int32, bool)


def numbers(dtype, shape):
    values = np.resize([0, 1, 3, 100, 2, 5, 120, 7], shape)
    return jnp.asarray(values % 2 if dtype is bool else values, dtype)


@pytest.mark.parametrize("dtype", INTEGERS, ids=lambda d: np.dtype(d).name)
def test_whole_numbers_have_the_value_of_the_float(dtype):
    every = [*ACTIVATIONS.values(), maxout(3), parametric("relu")]
    x = numbers(dtype, (4, 6))

    def values(x):
        out = {}
        for one in every:
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
    for one in ELEMENTWISE[::4]:
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


@pytest.mark.parametrize("way", ["eager", "jit", "ensemble, small", "ensemble, large"])
def test_every_way_to_call_is_one_function(way):
    """Both layouts of `ensemble`: networks last, and first where a product is large."""
    x = jnp.asarray(np.resize(np.float32([-90, -20, -8, -1, 0, 0.1, 3, 30]), (8, 3)))
    width = {"ensemble, large": 128}.get(way, 2)
    weight = jnp.ones((3, width, 2)) / 3

    def slopes(weight, x):
        return {
            one.name: jax.grad(lambda w, one=one: jnp.sum(at_start(one, jnp.float32)(x @ w)))(weight)
            for one in ELEMENTWISE
        }

    expected = jax.jit(slopes)(weight[..., 0], x)
    if way.startswith("ensemble"):
        x = jnp.tile(x, (32, 1)) if width > 2 else x
        found = jax.jit(ensemble(slopes, (-1, None)))(weight, x)
        found = {name: value[..., 1] / (32 if width > 2 else 1) for name, value in found.items()}
    else:
        found = {"eager": slopes, "jit": jax.jit(slopes)}[way](weight[..., 0], x)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-5, atol=1e-5, err_msg=name)


if __name__ == "__main__":
    print(
        "largest error in ulp (of the number, or of what rounding x makes of it)   bound of the value", jax.__version__
    )
    print(f"{'activation':18s} {'dtype':9s} {'value':>7s} {'reverse':>8s} {'forward':>8s} {'bound':>6s} not finite")
    wrong = 0
    for activation, dtype, largest, bad in table():
        wrong += bad
        print(f"{activation.name:18s} {dtype.__name__:9s} {largest[0]:7.2f} {largest[1]:8.2f} {largest[2]:8.2f} "
              f"{activation.ulp:6d} {bad:10d}")  # fmt: skip
    print(f"{wrong} results are not finite but should be")
