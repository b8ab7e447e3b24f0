"""`jax.vmap`, made fast for networks: their axis goes where the work along it is contiguous.

`jax.vmap` runs a batched matrix product as a loop over small products, with which nothing fuses. Here small networks
lie along the *last* axis, every array is (rows, features, networks): a short contraction becomes a sum of elementwise
products, everything around it is elementwise as well, and XLA fuses the step into a few vector loops. Larger networks
lie the other way round, (networks, features, rows): a weight is (networks, fan_out, fan_in), which is how XLA's fast
products want their left side, and hardly anything has to be moved. A product of which one side carries no network axis
(the first layer, on a minibatch that all networks share) is one large one.

A primitive without a rule is mapped by `jax.vmap`; the result never depends on which way was taken.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

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
    "reshape": lambda p, shape, n: {
        "new_sizes": (*p["new_sizes"], n),
        "dimensions": p["dimensions"] and (*p["dimensions"], len(shape)),
    },
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
    "jit": "jaxpr",
    "pjit": "jaxpr",
}
# A sum of this many products or fewer is written out: it fuses and vectorizes, where a matrix product is a call. With
# 64, widths of 32 and 64 run up to twice as fast, but compile longer: `jaxnn compare iris moons` would take 10 % more.
_SHORT = 16
# Networks lie along the last axis where the largest product of a step has no more multiplications than this.
_SMALL = 2**12


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
        leaves, tree, flags, n = _networks_of(args, in_axes)
        one = [_abstract(x, x.shape[:-1] if flag else x.shape) for x, flag in zip(leaves, flags, strict=True)]
        closed, shape = jax.make_jaxpr(function, return_shape=True)(*jax.tree.unflatten(tree, one))
        products = [(0, 0)]
        _mapped_outputs(closed.jaxpr, flags, products)
        small = max(products)[1] <= _SMALL  # of those in the innermost loop
        if not small and jax.default_backend() != "cpu":
            return jax.vmap(function, in_axes, out_axes=-1)(*args)
        net = _Networks(n, -1 if small else 0)
        leaves = [net.turn(x) if flag else x for x, flag in zip(leaves, flags, strict=True)]
        out = _evaluate(closed, net, leaves, flags)
        out = [net.turn(net.give(x, aval.shape, flag)) for (x, flag), aval in zip(out, closed.out_avals, strict=True)]
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
        leaves, tree, flags, n = _networks_of(args, in_axes)
        more = -n % mesh.size
        filled = [
            jnp.concatenate([x, *[x[..., -1:]] * more], axis=-1) if flag else x
            for x, flag in zip(leaves, flags, strict=True)
        ]
        share = [
            _abstract(x, (*x.shape[:-1], x.shape[-1] // mesh.size) if flag else x.shape)
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


def _networks_of(args, in_axes):
    """The arguments as arrays with their tree, which of them are mapped, and the number of networks."""
    leaves, tree = jax.tree.flatten(args)
    if not isinstance(in_axes, Sequence) or len(in_axes) != len(args) or not {*in_axes} <= {-1, None}:
        raise ValueError(
            f"ensemble: in_axes={in_axes} for {len(args)} arguments; expected one entry for each: -1 where the "
            "networks are the last axis, None where all networks share it."
        )
    flags = [axis is not None for axis, arg in zip(in_axes, args, strict=True) for _ in jax.tree.leaves(arg)]
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    sizes = {x.shape[-1] if x.ndim else "none" for x, flag in zip(leaves, flags, strict=True) if flag}
    if len(sizes) != 1 or "none" in sizes:
        raise ValueError(
            f"ensemble: the mapped arguments have last axes of sizes {sorted(sizes, key=str)}; expected one common "
            "number of networks, at the end of every array of at least one argument."
        )
    return leaves, tree, flags, *sizes


def _abstract(x, shape):
    return jax.ShapeDtypeStruct(shape, x.dtype, weak_type=getattr(x, "weak_type", False))  # a key has none


def _networks_last(x):
    return PartitionSpec(*(None,) * (x.ndim - 1), "networks")


class _Networks(NamedTuple):
    """How many there are, and the axis along which they lie: -1, or 0 with all other axes in reverse order."""

    n: int
    axis: int

    def turn(self, x):
        """Between networks last and the order in which they lie."""
        return x if self.axis else lax.transpose(x, range(jnp.ndim(x))[::-1])

    def give(self, x, shape, mapped):
        """x, broadcast to the shape and the networks; a scalar of every network spreads over the shape."""
        if mapped and jnp.ndim(x) == len(shape) + 1:
            return x
        full = (*shape, self.n) if self.axis else (self.n, *reversed(shape))
        if mapped:
            return lax.broadcast_in_dim(x, full, (self.axis % len(full),))
        return lax.broadcast_in_dim(self.turn(x), full, [i + (not self.axis) for i in range(jnp.ndim(x))])


def _evaluate(closed, net, values, flags):
    """The values of a jaxpr's outputs, each with a flag: does it carry the network axis?"""
    jaxpr, rules = closed.jaxpr, _LAST if net.axis else _FIRST
    env = dict(zip(jaxpr.invars, zip(values, flags, strict=True), strict=True))
    env.update(zip(jaxpr.constvars, ((c, False) for c in closed.consts), strict=True))

    def read(atom):
        return (atom.val, False) if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        name, ins = eqn.primitive.name, [read(v) for v in eqn.invars]
        xs, ms = [x for x, _ in ins], [m for _, m in ins]
        if name in _CALLS:
            out = _evaluate(eqn.params[_CALLS[name]], net, xs, ms)
        elif name == "optimization_barrier":
            out = list(zip(_bind(eqn, *xs), ms, strict=True))
        elif not any(ms):
            out = [(y, False) for y in _bind(eqn, *xs)]
        elif name == "scan":
            out = _scan(eqn, net, xs, ms)
        elif name == "cond" and not ms[0]:
            out = _cond(eqn, net, xs, ms)
        else:
            ys = rules.get(name, _vmap)(eqn, net, xs, ms)
            out = [(y, True) for y in ys]
        env.update(zip(eqn.outvars, out, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _bind(eqn, *xs):
    """The outputs of a primitive; a function with derivatives of its own keeps them."""
    ys = eqn.primitive.bind(*xs, **eqn.primitive.get_bind_params(eqn.params))
    return ys if eqn.primitive.multiple_results else [ys]


def _vmap(eqn, net, xs, ms):
    def one(*xs):
        return [net.turn(y) for y in _bind(eqn, *(net.turn(x) if m else x for x, m in zip(xs, ms, strict=True)))]

    axes = [net.axis if m else None for m in ms]
    return jax.vmap(one, axes, out_axes=net.axis, axis_size=net.n)(*xs)


def _elementwise(eqn, net, xs, ms):
    shape = eqn.outvars[0].aval.shape
    return [eqn.primitive.bind(*(net.give(x, shape, m) for x, m in zip(xs, ms, strict=True)), **eqn.params)]


def _div(eqn, net, xs, ms):
    """Division of an array by one number: one reciprocal for all entries, because division is slow."""
    shape, scalar = eqn.outvars[0].aval.shape, eqn.invars[1].aval.shape == ()
    if not (scalar and shape and jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.floating)):
        return _elementwise(eqn, net, xs, ms)
    return [lax.mul(net.give(xs[0], shape, ms[0]), net.give(1 / xs[1], shape, ms[1]))]


def _append(eqn, net, xs, ms):
    x, *rest = xs
    if any(ms[1:]):
        return _vmap(eqn, net, xs, ms)
    more = _APPENDED.get(eqn.primitive.name, lambda *_: {})(eqn.params, eqn.invars[0].aval.shape, net.n)
    return [eqn.primitive.bind(x, *rest, **{**eqn.params, **more})]


def _concatenate(eqn, net, xs, ms):
    xs = [net.give(x, v.aval.shape, m) for x, v, m in zip(xs, eqn.invars, ms, strict=True)]
    return [eqn.primitive.bind(*xs, **eqn.params)]


def _slices(x, shape, axes, order, mapped):
    """The slices of x along `axes` (flattened), their remaining axes in the given order, the networks last."""
    x = x if mapped else lax.expand_dims(x, (len(shape),))
    x = lax.transpose(x, (*axes, *order, len(shape)))
    return list(x.reshape(math.prod(shape[i] for i in axes), *x.shape[len(axes) :]))


def _reduce_sum(eqn, net, xs, ms):
    """A short sum, written out; its slices differ from those of a product, so that each fuses with what needs it."""
    axes, shape = eqn.params["axes"], eqn.invars[0].aval.shape
    terms, rest = math.prod(shape[i] for i in axes), [i for i in range(len(shape)) if i not in axes]
    if not 0 < terms <= _SHORT:
        return _append(eqn, net, xs, ms)
    flat = lax.transpose(xs[0], (*axes, *rest, len(shape))).reshape(-1, net.n)
    size = len(flat) // terms
    first, *others = (flat[i * size : (i + 1) * size] for i in range(terms))
    return [sum(others, start=first).reshape(*(shape[i] for i in rest), net.n)]


class _Operand(NamedTuple):
    """One side of a product: its axes in one network, and where the free ones are in the result."""

    array: jax.Array
    mapped: bool
    shape: tuple
    batch: tuple
    free: tuple
    contracted: tuple
    out: tuple

    def places(self, axes) -> tuple:
        """Of axes of one network, in an array that has the networks first and the others reversed."""
        return tuple(len(self.shape) - i for i in axes) if self.mapped else axes

    @property
    def rows(self) -> tuple:
        """The order of the places in which the sum is along the last axis."""
        return self.places((*self.batch, *reversed(self.free), *self.contracted))

    @property
    def in_rows(self) -> bool:
        return self.rows == tuple(range(1, self.array.ndim))


def _operands(eqn, xs, ms) -> tuple[_Operand, _Operand]:
    contracted, batch = eqn.params["dimension_numbers"]
    shapes = [v.aval.shape for v in eqn.invars]
    free = [sorted({*range(len(s))} - {*b, *c}) for s, b, c in zip(shapes, batch, contracted, strict=True)]
    ends = (len(batch[0]), len(batch[0]) + len(free[0]), len(eqn.outvars[0].aval.shape))
    return tuple(map(_Operand, xs, ms, shapes, batch, free, contracted, map(range, ends, ends[1:])))


def _terms(eqn) -> int:
    """How many, in each sum of a product."""
    return math.prod(eqn.invars[0].aval.shape[i] for i in eqn.params["dimension_numbers"][0][0])


def _small_product(eqn, net, xs, ms):
    """Networks last. A short one is (batch, free, 1, networks) * (batch, 1, free, networks), summed."""
    a, b = _operands(eqn, xs, ms)
    before, left, right = len(a.batch), len(a.free), len(b.free)
    dtypes = {v.aval.dtype for v in (*eqn.invars, *eqn.outvars)}
    # Narrow numbers are summed in wider ones by a product.
    plain = len(dtypes) == 1 and min(dtypes).itemsize >= 4
    if plain and 0 < _terms(eqn) <= _SHORT:
        sides = (_slices(x.array, x.shape, x.contracted, (*x.batch, *x.free), x.mapped) for x in (a, b))
        first, *others = (
            lax.mul(
                *_broadcast(
                    lax.expand_dims(s, range(before + left, before + left + right)),
                    lax.expand_dims(t, range(before, before + left)),
                )
            )
            for s, t in zip(*sides, strict=True)
        )
        return [sum(others, start=first)]
    if ms == [True, False]:  # the shared side on the left leaves the networks last
        numbers = ((b.contracted, a.contracted), (b.batch, a.batch))
        y = eqn.primitive.bind(b.array, a.array, **{**eqn.params, "dimension_numbers": numbers})
        return [_swap(y, before, right, left)]
    return _vmap(eqn, net, xs, ms)


def _large_product(eqn, net, xs, ms):
    """Networks first, the other axes reversed: (x w)ᵀ = wᵀ xᵀ, of all networks one product where x is shared.

    XLA's fast products on CPU want the sum along the last axis of the left side. A weight in reverse has it there, and
    so have both sides in the gradient of a weight: there the first one becomes the left side, because the transpose
    that follows then has nothing to do. Where no side has it, the cheaper one is transposed.
    """
    a, b = _operands(eqn, xs, ms)
    results = net.n * math.prod(eqn.outvars[0].aval.shape)
    if a.batch and not all(ms):
        return _vmap(eqn, net, xs, ms)
    if not all(ms):
        left, right = (a, b) if a.mapped else (b, a)
    elif a.in_rows or (not b.in_rows and a.array.size + results < b.array.size):
        left, right = a, b
    else:
        left, right = b, a
    array = left.array
    if not left.in_rows:  # the barrier keeps XLA from undoing it
        array = lax.optimization_barrier(lax.transpose(array, (0, *left.rows)))
    sums = range(array.ndim - len(left.contracted), array.ndim), right.places(right.contracted)
    batch = (range(len(left.batch) + 1), (0, *right.places(right.batch))) if right.mapped else ((), ())
    y = eqn.primitive.bind(array, right.array, **{**eqn.params, "dimension_numbers": (sums, batch)})
    axes = [*range(len(left.batch)), *reversed(left.out), *(reversed(right.out) if right.mapped else right.out)]
    order = [1 + axes.index(i) for i in reversed(range(len(axes)))]
    return [lax.transpose(lax.optimization_barrier(y), (0, *order))]


def _swap(x, before, i, j):
    """x with i axes and the j axes behind them exchanged; `before` axes stay in front, the others behind."""
    ends = before + i, before + i + j
    return lax.transpose(x, (*range(before), *range(*ends), *range(before, ends[0]), *range(ends[1], x.ndim)))


def _broadcast(a, b):
    shape = jnp.broadcast_shapes(a.shape, b.shape)
    return (lax.broadcast_in_dim(x, shape, range(x.ndim)) for x in (a, b))


def _mapped_outputs(jaxpr, flags, products):
    """Which outputs may depend on a mapped input; to the list, (depth of loops, multiplications) of products."""
    mapped = {v for v, m in zip(jaxpr.invars, flags, strict=True) if m}

    def among(atoms):
        return [not isinstance(v, Literal) and v in mapped for v in atoms]

    for eqn in jaxpr.eqns:
        name, ins = eqn.primitive.name, among(eqn.invars)
        if not any(ins):
            continue
        if name in _CALLS:
            outs = _mapped_outputs(eqn.params[_CALLS[name]].jaxpr, ins, products)
        elif name == "optimization_barrier":
            outs = ins
        elif name == "scan":
            outs = _scan_flags(eqn, ins, products)[1]
        elif name == "cond" and not ins[0]:
            outs = _cond_flags(eqn, ins, products)
        else:
            outs = [True] * len(eqn.outvars)
            if name == "dot_general":
                products.append((0, _terms(eqn) * math.prod(eqn.outvars[0].aval.shape)))
        mapped.update(v for v, m in zip(eqn.outvars, outs, strict=True) if m)
    return among(jaxpr.outvars)


def _scan_sizes(eqn):
    """(constants, carried values) among the operands of a scan."""
    p = eqn.params
    if "ft_in" in p:  # jax 0.11 and newer
        consts, carry, _ = (len(part) for part in p["ft_in"].unpack())
        return consts, carry
    return p["num_consts"], p["num_carry"]


def _scan_flags(eqn, ms, products):
    """Which carried values and which outputs of a scan are mapped: a carry is if it starts so or becomes so."""
    consts, carry = _scan_sizes(eqn)
    body, flags, inside = eqn.params["jaxpr"].jaxpr, ms[consts : consts + carry], []
    while True:
        outputs = _mapped_outputs(body, [*ms[:consts], *flags, *ms[consts + carry :]], inside)
        settled = [before or after for before, after in zip(flags, outputs, strict=False)]
        if settled == flags:
            products.extend((depth + 1, count) for depth, count in inside)
            return flags, [*flags, *outputs[carry:]]
        flags = settled


def _cond_flags(eqn, ms, products):
    """Which outputs of a choice that all networks share are mapped: those that are in any branch."""
    return [
        any(f) for f in zip(*(_mapped_outputs(b.jaxpr, ms[1:], products) for b in eqn.params["branches"]), strict=True)
    ]


def _scan(eqn, net, xs, ms):
    """A scan whose mapped carries have the networks."""
    p, (consts, carry) = eqn.params, _scan_sizes(eqn)
    end, body, (flags, out_flags) = consts + carry, p["jaxpr"], _scan_flags(eqn, ms, [])

    def settle(values, before):
        avals = body.in_avals[consts:end]
        return [net.give(x, a.shape, m) if f else x for x, a, m, f in zip(values, avals, before, flags, strict=True)]

    def step(values, x):
        out = _evaluate(body, net, [*xs[:consts], *values, *x], [*ms[:consts], *flags, *ms[end:]])
        ys, ym = zip(*out, strict=True)
        return settle(ys[:carry], ym[:carry]), ys[carry:]

    # What is stacked has its steps first, and in reverse order last.
    over = [x if net.axis or not m else jnp.moveaxis(x, -1, 0) for x, m in zip(xs[end:], ms[end:], strict=True)]
    last, ys = lax.scan(
        step, settle(xs[consts:end], ms[consts:end]), over, p["length"], reverse=p["reverse"], unroll=p["unroll"]
    )
    ys = [y if net.axis or not m else jnp.moveaxis(y, 0, -1) for y, m in zip(ys, out_flags[carry:], strict=True)]
    return list(zip([*last, *ys], out_flags, strict=True))


def _cond(eqn, net, xs, ms):
    """A choice that all networks share: one branch runs."""
    branches, flags = eqn.params["branches"], _cond_flags(eqn, ms, [])

    def run(branch, values):
        out = _evaluate(branch, net, values, ms[1:])
        return [net.give(x, a.shape, m) if f else x for (x, m), a, f in zip(out, branch.out_avals, flags, strict=True)]

    ys = lax.switch(xs[0], [lambda *values, b=b: run(b, values) for b in branches], *xs[1:])
    return list(zip(ys, flags, strict=True))


_FIRST = {**dict.fromkeys(_ELEMENTWISE, _elementwise), "div": _div, "dot_general": _large_product}
_LAST = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys((*_APPENDED, *_SAME_AXES), _append),
    "concatenate": _concatenate,
    "div": _div,
    "dot_general": _small_product,
    "reduce_sum": _reduce_sum,
}
