"""`jax.vmap` with the mapped axis last, so that many tiny networks fill the SIMD lanes of one program.

`jax.vmap` puts the networks first: a batched matrix product then runs as a loop over tiny matrix products, and nothing
fuses with it. With the networks last, every array is (rows, features, networks): a short contraction becomes a sum of
elementwise products, everything around it is elementwise as well, and XLA fuses the step into a few vector loops. A
contraction whose other side carries no network axis (the first layer on a minibatch that all networks share) becomes
one large matrix product.

A trailing axis leaves the numbers of all other axes as they are, so most rules only append the new axis to a shape. A
primitive without a rule is mapped by `jax.vmap`; the result never depends on which way was taken.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Literal, jaxpr_as_fun
from jax.sharding import AxisType, PartitionSpec

_ELEMENTWISE = frozenset(
    "abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp convert_element_type copy cos cosh div "
    "eq erf erf_inv erfc exp exp2 expm1 floor ge gt integer_pow is_finite le log log1p logistic lt max min mul ne neg "
    "nextafter not or pow reduce_precision rem round rsqrt select_n sign sin sinh sqrt square sub tan tanh xor".split()
)
# Parameters that grow by one entry for the new last axis: how, given the shape of the first operand and the networks.
_APPENDED = {
    "broadcast_in_dim": lambda p, shape, n: {
        "shape": (*p["shape"], n),
        "broadcast_dimensions": (*p["broadcast_dimensions"], len(p["shape"])),
    },
    "reshape": lambda p, shape, n: {"new_sizes": (*p["new_sizes"], n)},
    "transpose": lambda p, shape, n: {"permutation": (*p["permutation"], len(shape))},
    "slice": lambda p, shape, n: {
        "start_indices": (*p["start_indices"], 0),
        "limit_indices": (*p["limit_indices"], n),
        "strides": p["strides"] and (*p["strides"], 1),
    },
    "pad": lambda p, shape, n: {"padding_config": (*p["padding_config"], (0, 0, 0))},
}
_SAME_AXES = frozenset("argmax argmin cumsum reduce_and reduce_max reduce_min reduce_or squeeze".split())
_CALLS = {
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "jit": "jaxpr",
    "pjit": "jaxpr",
}
# A sum of this many products or fewer is written out: it fuses and vectorizes, where a matrix product is a call.
_SHORT = 16


def ensemble(function: Callable, in_axes: Sequence[int | None]) -> Callable:
    """Map a function over the last axis of its arguments: `jax.vmap(function, in_axes, out_axes=-1)`, made fast.

    Args:
      function: a function of arrays (and pytrees of them) for one network.
      in_axes: -1 for each positional argument whose leaves carry the networks as their last axis, None for each one
        that all networks share.

    Returns:
      A function of the same arguments; every leaf of its result has one more axis, the networks, at its end. It is
      meant to be called inside `jax.jit`.

    Raises:
      ValueError: no argument is mapped, or the mapped arguments disagree on the number of networks.

    >>> import jax.numpy as jnp
    >>> weights = jnp.ones((2, 3, 5))  # five networks
    >>> ensemble(lambda w, x: x @ w, in_axes=(-1, None))(weights, jnp.ones((4, 2))).shape
    (4, 3, 5)
    """

    def mapped(*args):
        leaves, tree = jax.tree.flatten(args)
        flags = [axis is not None for axis, arg in zip(in_axes, args, strict=True) for _ in jax.tree.leaves(arg)]
        leaves = [jnp.asarray(leaf) for leaf in leaves]
        sizes = {leaf.shape[-1] for leaf, flag in zip(leaves, flags, strict=True) if flag and leaf.ndim}
        if len(sizes) != 1:
            raise ValueError(
                f"ensemble: the mapped arguments have last axes of sizes {sorted(sizes)}; expected one common number "
                "of networks, at the end of every array of at least one argument."
            )
        (n,) = sizes
        one = [
            jax.ShapeDtypeStruct(leaf.shape[: leaf.ndim - flag], leaf.dtype)
            for leaf, flag in zip(leaves, flags, strict=True)
        ]
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*jax.tree.unflatten(tree, one))
        out = _evaluate(closed, n, leaves, flags)
        out = [_last(x, aval.shape, n, flag) for (x, flag), aval in zip(out, closed.out_avals, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(shape), out)

    return mapped


def spread(function: Callable, in_axes: Sequence[int | None]) -> Callable:
    """`ensemble` over all local devices: each trains an equal share of the networks.

    Args:
      function: as for `ensemble`.
      in_axes: as for `ensemble`.

    Returns:
      A function like that of `ensemble`. Where the networks do not divide by the devices, the last one is repeated to
      fill up, and cut off again.

    >>> import jax.numpy as jnp
    >>> jax.jit(spread(lambda a: a.sum(), in_axes=(-1,)))(jnp.ones((4, 7))).shape
    (7,)
    """
    mesh = jax.make_mesh((jax.local_device_count(),), ("networks",), axis_types=(AxisType.Auto,))
    mapped = ensemble(function, in_axes)

    def over_devices(*args):
        leaves, tree = jax.tree.flatten(args)
        flags = [axis is not None for axis, arg in zip(in_axes, args, strict=True) for _ in jax.tree.leaves(arg)]
        n = next(leaf.shape[-1] for leaf, flag in zip(leaves, flags, strict=True) if flag)
        more = -n % mesh.size
        filled = [
            jnp.concatenate([x, *[x[..., -1:]] * more], axis=-1) if flag else jnp.asarray(x)
            for x, flag in zip(leaves, flags, strict=True)
        ]
        share = [
            jax.ShapeDtypeStruct((*x.shape[:-1], x.shape[-1] // mesh.size) if flag else x.shape, x.dtype)
            for x, flag in zip(filled, flags, strict=True)
        ]
        # Traced here, once, for the shapes of the outputs as well.
        closed, shapes = jax.make_jaxpr(mapped, return_shape=True)(*jax.tree.unflatten(tree, share))
        out = jax.shard_map(
            jaxpr_as_fun(closed),
            mesh=mesh,
            in_specs=tuple(
                _networks_last(x) if flag else PartitionSpec() for x, flag in zip(filled, flags, strict=True)
            ),
            out_specs=[_networks_last(x) for x in jax.tree.leaves(shapes)],
            check_vma=False,
        )(*filled)
        return jax.tree.unflatten(jax.tree.structure(shapes), [x[..., :n] for x in out])

    return over_devices


def _networks_last(x):
    return PartitionSpec(*(None,) * (x.ndim - 1), "networks")


def _evaluate(closed, n, values, flags):
    """The values of a jaxpr's outputs, each with a flag: does it carry the network axis?"""
    jaxpr = closed.jaxpr
    env = dict(zip(jaxpr.invars, zip(values, flags, strict=True), strict=True))
    env.update(zip(jaxpr.constvars, ((c, False) for c in closed.consts), strict=True))

    def read(atom):
        return (atom.val, False) if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        name, ins = eqn.primitive.name, [read(v) for v in eqn.invars]
        xs, ms = [x for x, _ in ins], [m for _, m in ins]
        if name in _CALLS:
            inner = eqn.params[_CALLS[name]]
            out = _evaluate(inner, n, xs, ms)
        elif not any(ms):
            ys = eqn.primitive.bind(*xs, **eqn.params)
            out = [(y, False) for y in (ys if eqn.primitive.multiple_results else [ys])]
        elif name == "scan":
            out = _scan(eqn, n, xs, ms)
        elif name == "cond" and not ms[0]:
            out = _cond(eqn, n, xs, ms)
        else:
            ys = _RULES.get(name, _vmap)(eqn, n, xs, ms)
            out = [(y, True) for y in ys]
        env.update(zip(eqn.outvars, out, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _last(x, shape, n, mapped):
    """x, broadcast to shape + (n,); a scalar of every network spreads over the shape."""
    if not mapped:
        return lax.broadcast_in_dim(x, (*shape, n), range(jnp.ndim(x)))
    return x if jnp.ndim(x) == len(shape) + 1 else lax.broadcast_in_dim(x, (*shape, n), (len(shape),))


def _vmap(eqn, n, xs, ms):
    bind = partial(eqn.primitive.bind, **eqn.params)
    ys = jax.vmap(bind, [-1 if m else None for m in ms], out_axes=-1, axis_size=n)(*xs)
    return ys if eqn.primitive.multiple_results else [ys]


def _elementwise(eqn, n, xs, ms):
    shape = eqn.outvars[0].aval.shape
    return [eqn.primitive.bind(*(_last(x, shape, n, m) for x, m in zip(xs, ms, strict=True)), **eqn.params)]


def _div(eqn, n, xs, ms):
    """Division of an array by one number of each network: one reciprocal for all entries, because division is slow."""
    shape, scalar = eqn.outvars[0].aval.shape, eqn.invars[1].aval.shape == ()
    if not (scalar and shape and ms[1] and jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.floating)):
        return _elementwise(eqn, n, xs, ms)
    return [lax.mul(_last(xs[0], shape, n, ms[0]), _last(1 / xs[1], shape, n, True))]


def _append(eqn, n, xs, ms):
    x, *rest = xs
    if any(ms[1:]):
        return _vmap(eqn, n, xs, ms)
    more = _APPENDED.get(eqn.primitive.name, lambda *_: {})(eqn.params, eqn.invars[0].aval.shape, n)
    return [eqn.primitive.bind(x, *rest, **{**eqn.params, **more})]


def _concatenate(eqn, n, xs, ms):
    xs = [_last(x, v.aval.shape, n, m) for x, v, m in zip(xs, eqn.invars, ms, strict=True)]
    return [eqn.primitive.bind(*xs, **eqn.params)]


def _terms(x, shape, axes, order, n, mapped):
    """The slices of x along `axes` (flattened), their remaining axes in the given order, the networks last."""
    x = x if mapped else lax.expand_dims(x, (len(shape),))
    x = lax.transpose(x, (*axes, *order, len(shape)))
    return list(x.reshape(math.prod(shape[i] for i in axes), *x.shape[len(axes) :]))


def _reduce_sum(eqn, n, xs, ms):
    axes, shape = eqn.params["axes"], eqn.invars[0].aval.shape
    if not 0 < math.prod(shape[i] for i in axes) <= _SHORT:
        return _append(eqn, n, xs, ms)
    first, *others = _terms(xs[0], shape, axes, [i for i in range(len(shape)) if i not in axes], n, True)
    return [sum(others, start=first)]


def _dot_general(eqn, n, xs, ms):
    ((ca, cb), (ba, bb)), (a, b) = eqn.params["dimension_numbers"], xs
    sa, sb = (v.aval.shape for v in eqn.invars)
    fa = [i for i in range(len(sa)) if i not in (*ca, *ba)]
    fb = [i for i in range(len(sb)) if i not in (*cb, *bb)]
    if 0 < math.prod(sa[i] for i in ca) <= _SHORT:
        # (batch, free_a, 1, networks) * (batch, 1, free_b, networks), summed over the contraction.
        ones_a = range(len(ba) + len(fa), len(ba) + len(fa) + len(fb))
        ones_b = range(len(ba), len(ba) + len(fa))
        first, *others = (
            lax.mul(*_broadcast(lax.expand_dims(p, ones_a), lax.expand_dims(q, ones_b)))
            for p, q in zip(
                _terms(a, sa, ca, (*ba, *fa), n, ms[0]), _terms(b, sb, cb, (*bb, *fb), n, ms[1]), strict=True
            )
        )
        return [sum(others, start=first)]
    if not ms[0]:
        return [eqn.primitive.bind(a, b, **eqn.params)]
    if not ms[1]:
        swapped = eqn.primitive.bind(b, a, **{**eqn.params, "dimension_numbers": ((cb, ca), (bb, ba))})
        i, j, k = len(ba), len(ba) + len(fb), len(ba) + len(fb) + len(fa)
        return [lax.transpose(swapped, (*range(i), *range(j, k), *range(i, j), k))]
    return _vmap(eqn, n, xs, ms)


def _broadcast(a, b):
    shape = jnp.broadcast_shapes(a.shape, b.shape)
    return (lax.broadcast_in_dim(x, shape, range(x.ndim)) for x in (a, b))


def _mapped_outputs(jaxpr, flags):
    """Which outputs may depend on a mapped input."""
    mapped = {v for v, m in zip(jaxpr.invars, flags, strict=True) if m}
    for eqn in jaxpr.eqns:
        if any(not isinstance(v, Literal) and v in mapped for v in eqn.invars):
            mapped.update(eqn.outvars)
    return [not isinstance(v, Literal) and v in mapped for v in jaxpr.outvars]


def _scan(eqn, n, xs, ms):
    """A scan whose carry has the networks last: a carry is mapped if it starts mapped or becomes so."""
    p = eqn.params
    if "ft_in" in p:  # jax 0.11 and newer
        consts, carry, _ = (len(part) for part in p["ft_in"].unpack())
    else:
        consts, carry = p["num_consts"], p["num_carry"]
    end, body = consts + carry, p["jaxpr"]
    avals, flags = body.in_avals[consts:end], ms[consts:end]
    for _ in avals:
        outputs = _mapped_outputs(body.jaxpr, [*ms[:consts], *flags, *ms[end:]])
        flags = [before or after for before, after in zip(flags, outputs, strict=False)]

    def settle(values, before):
        return [_last(x, a.shape, n, m) if f else x for x, a, m, f in zip(values, avals, before, flags, strict=True)]

    out_flags = []

    def step(values, x):
        out = _evaluate(body, n, [*xs[:consts], *values, *x], [*ms[:consts], *flags, *ms[end:]])
        ys, out_flags[:] = [y for y, _ in out], [m for _, m in out]
        return settle(ys[:carry], out_flags[:carry]), ys[carry:]

    last, ys = lax.scan(
        step, settle(xs[consts:end], ms[consts:end]), xs[end:], p["length"], reverse=p["reverse"], unroll=p["unroll"]
    )
    return list(zip([*last, *ys], [*flags, *out_flags[carry:]], strict=True))


def _cond(eqn, n, xs, ms):
    """A choice that all networks share: one branch runs; an output is mapped if it is in any branch."""
    branches = eqn.params["branches"]
    flags = [any(f) for f in zip(*(_mapped_outputs(b.jaxpr, ms[1:]) for b in branches), strict=True)]

    def run(branch, values):
        out = _evaluate(branch, n, values, ms[1:])
        return [_last(x, a.shape, n, m) if f else x for (x, m), a, f in zip(out, branch.out_avals, flags, strict=True)]

    ys = lax.switch(xs[0], [lambda *values, b=b: run(b, values) for b in branches], *xs[1:])
    return list(zip(ys, flags, strict=True))


_RULES = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys((*_APPENDED, *_SAME_AXES), _append),
    "concatenate": _concatenate,
    "div": _div,
    "dot_general": _dot_general,
    "reduce_sum": _reduce_sum,
}
