"""The multilayer perceptron: H = X W₁ + b₁, A = φ(H), S = A W₂ + b₂, P = head(S), L = loss(S, y)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import activations, heads, initializers
from jaxnn.activations import Activation
from jaxnn.heads import Head
from jaxnn.initializers import Initializer
from jaxnn.labels import check_labels, one_hot
from jaxnn.propagation import second_moment


class Layer(NamedTuple):
    """The parameters of one layer."""

    weight: jax.Array  # (fan_in, fan_out)
    bias: jax.Array  # (fan_out,)
    activation_params: tuple = ()  # the activation's trainable parameters, each (units,)


class Trace(NamedTuple):
    """The named steps of a forward pass, or the gradient of L with respect to each."""

    H: tuple  # pre-activations of every hidden layer, (rows, pre-activations)
    A: tuple  # activations of every hidden layer, (rows, units)
    S: jax.Array  # scores, (rows, scores)
    P: jax.Array  # probabilities, (rows, classes)
    L: jax.Array  # mean loss, ()


class Part(NamedTuple):
    """Some units of a hidden layer that share an activation."""

    activation: Activation
    units: int

    @property
    def width(self) -> int:
        """Pre-activations that feed these units."""
        return self.units * self.activation.inputs // self.activation.outputs


def mlp(
    sizes: Sequence[int],
    activation="relu",
    head: str | Head | None = None,
    init: str | Initializer = "matched",
    dtype: Any = jnp.float32,
) -> "MLP":
    """Describe a network of Linear + Activation layers that ends in Linear + classifier.

    Args:
      sizes: (features, units of each hidden layer ..., scores); (2, 8, 2) has one hidden layer.
      activation: a name, an `Activation` or any elementwise callable, for all hidden layers; a sequence of these, one
        per hidden layer; or in place of any of them a mapping from activation to its share of the layer's units.
      head: of `HEADS`; softmax where None, sigmoid where there is one score.
      init: of `INITIALIZERS`; `matched` takes the gain of the activation before each layer.
      dtype: of the parameters and the computation: float32, bfloat16, float64, float16.

    Returns:
      A frozen, hashable `MLP`, without arrays: `init(key)`, `apply(params, x)`, `trace`, `summary`.

    Raises:
      ValueError: an unknown name (with the nearest known ones), sizes that make no network, as many activations as
        there are not hidden layers, shares that do not sum to 1, or units that do not divide.

    >>> network = mlp((2, 8, 2), activation="tanh")
    >>> params = network.init(jax.random.key(0))
    >>> network.apply(params, jnp.ones((4, 2))).shape
    (4, 2)
    """
    sizes = tuple(int(size) for size in sizes)
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(
            f"sizes={sizes}; expected (features, hidden units ..., scores), each at least 1, as in (2, 8, 2)."
        )
    hidden = sizes[1:-1]
    if isinstance(activation, Sequence) and not isinstance(activation, str | Activation):
        if len(activation) != len(hidden):
            raise ValueError(
                f"{len(activation)} activations for {len(hidden)} hidden layers of sizes={sizes}; give one each."
            )
    else:
        activation = (activation,) * len(hidden)
    layers = tuple(_parts(a, units) for a, units in zip(activation, hidden, strict=True))
    head = heads.get(("sigmoid" if sizes[-1] == 1 else "softmax") if head is None else head)
    return MLP(sizes, layers, head, initializers.get_initializer(init), jnp.dtype(dtype))


def _parts(activation, units) -> tuple[Part, ...]:
    """The units of one layer, shared out by largest remainder."""
    if not isinstance(activation, Mapping):
        shares = {activations.get(activation): 1.0}
    else:
        shares = {activations.get(a): share for a, share in activation.items()}
    if min(shares.values(), default=0) <= 0 or not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        raise ValueError(
            f"shares {dict(activation)}; expected positive shares that sum to 1, as in {{'relu': 0.5, 'tanh': 0.5}}."
        )
    exact = [share * units for share in shares.values()]
    counts = [math.floor(e + 1e-9) for e in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: units - sum(counts)]:
        counts[i] += 1
    parts = tuple(Part(a, n) for a, n in zip(shares, counts, strict=True) if n)
    for part in parts:
        if part.units % part.activation.outputs:
            raise ValueError(
                f"{part.activation.name} makes {part.activation.outputs} units at a time; {part.units} do not divide."
            )
    return parts


@dataclass(frozen=True)
class MLP:
    """A multilayer perceptron's static choices; made by `mlp`."""

    sizes: tuple[int, ...]
    layers: tuple[tuple[Part, ...], ...]  # the parts of every hidden layer
    head: Head
    initializer: Initializer
    dtype: Any

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """(fan_in, fan_out) of every weight; a gated layer has more pre-activations than units."""
        widths = (*(sum(part.width for part in layer) for layer in self.layers), self.sizes[-1])
        return tuple(zip(self.sizes[:-1], widths, strict=True))

    @property
    def random(self) -> bool:
        """Does any activation draw random numbers?"""
        return any(part.activation.random for layer in self.layers for part in layer)

    @property
    def classes(self) -> int:
        """Classes that the head tells apart."""
        scores = jax.ShapeDtypeStruct(self.sizes[-1:], self.dtype)
        return jax.eval_shape(self.head.probabilities, scores).shape[-1]

    def init(self, key) -> tuple[Layer, ...]:
        """Random weights, zero biases, the activations' own parameters at their initial values.

        Args:
          key: a JAX random key.

        Returns:
          A tuple of `Layer`, the last one without an activation.
        """
        moments = (1.0, *(_second_moment(layer) for layer in self.layers))
        deviations, own = [], []
        for i, ((fan_in, fan_out), moment) in enumerate(zip(self.shapes, moments, strict=True)):
            std = self.initializer.std(fan_in, fan_out, 1 / math.sqrt(moment), i == 0)
            deviations.append(np.asarray(std, self.dtype))
            parts = self.layers[i] if i < len(self.layers) else ()
            own.append([np.full(p.units, value, self.dtype) for p in parts for _, value in p.activation.params])
        drawn = _drawn(self.initializer.draw, self.shapes, self.dtype, key, deviations)
        return tuple(Layer(*affine, tuple(map(jnp.asarray, params))) for affine, params in zip(drawn, own, strict=True))

    def apply(self, params, x, key=None) -> jax.Array:
        """Scores S: A₀ = X, H = A W + b, A = φ(H) for every hidden layer, S = A W + b.

        Args:
          params: from `init`.
          x: (..., features).
          key: draws the random numbers of random activations; without it they take their expectation.

        Returns:
          (..., scores).

        Raises:
          ValueError: x has not the number of features that the network expects.
        """
        return self._forward(params, x, key)[2]

    def _forward(self, params, x, key=None, shift=None):
        """(H of every hidden layer, A of every hidden layer, S); `shift`, of the same structure, is added to each."""
        if jnp.shape(x)[-1:] != self.sizes[:1]:
            raise ValueError(
                f"x has shape {jnp.shape(x)}; expected (..., {self.sizes[0]}) for a network of sizes={self.sizes}."
            )
        hs, activated = [], []
        a = jnp.asarray(x, self.dtype)
        for i, layer in enumerate(self.layers):
            weight, bias, own = params[i]
            h = _affine(a, weight, bias)
            h = h if shift is None else h + shift[0][i]
            a = _activate(layer, h, own, None if key is None else jax.random.fold_in(key, i))
            a = a if shift is None else a + shift[1][i]
            hs.append(h)
            activated.append(a)
        s = _affine(a, params[-1].weight, params[-1].bias)
        return tuple(hs), tuple(activated), s if shift is None else s + shift[2]

    @property
    def loss(self) -> Callable:
        """The head's loss of each row: scores (..., scores), labels (...) -> (...).

        Equal networks have equal losses, so that a network that is described again compiles nothing again.
        """
        return self.head.loss

    def probabilities(self, params, x) -> jax.Array:
        """P = head(S): x (..., features) -> (..., classes)."""
        return self.head.probabilities(self.apply(params, x))

    def predict(self, params, x) -> jax.Array:
        """The class of highest probability: x (..., features) -> (...) int32."""
        return jnp.argmax(self.probabilities(params, x), axis=-1).astype(jnp.int32)

    def trace(self, params, x, y) -> tuple[Trace, Trace]:
        """Backprop made visible: every named step of the forward pass, and the gradient of L with respect to each.

        ∂L/∂P is −e_y / (p_y · rows), of the likelihood; it is NaN for a head whose loss is not −log p_y.

        Args:
          params: from `init`.
          x: (rows, features).
          y: (rows,) labels.

        Returns:
          Two `Trace`s of one structure: the values, and the gradients of the mean loss L.
        """
        self.check(x, y)
        hs, activated, s = self._forward(params, x)

        def mean_loss(shift):
            return jnp.mean(self.head.loss(self._forward(params, x, shift=shift)[2], y))

        value, (dh, da, ds) = jax.value_and_grad(mean_loss)(jax.tree.map(jnp.zeros_like, (hs, activated, s)))
        p = self.head.probabilities(s)
        dp = -one_hot(y, p) / (p * len(p)) if self.head.log_loss else jnp.full_like(p, jnp.nan)
        return Trace(hs, activated, s, p, value), Trace(dh, da, ds, dp, jnp.ones_like(value))

    def check(self, x, y) -> None:
        """Raise a ValueError if this network cannot be trained on these rows, with the reason and the cure."""
        for layer in self.layers:
            for part in layer:
                if part.activation.untrainable:
                    raise ValueError(
                        f"{part.activation.name} cannot be trained by gradient descent: {part.activation.untrainable}."
                    )
        if np.shape(x)[1:] != self.sizes[:1]:
            raise ValueError(
                f"x has shape {np.shape(x)}; expected (rows, {self.sizes[0]}) for a network of sizes={self.sizes}."
            )
        check_labels(y, self.classes)

    def summary(self) -> str:
        """A table of the layers: shapes, activations, parameters.

        >>> print(mlp((2, 8, 2), activation="tanh").summary())
        layer   weight   activation   parameters
        1       2 x 8    tanh                 24
        2       8 x 2    softmax              18
        total                                 42
        """
        rows = []
        for i, (fan_in, fan_out) in enumerate(self.shapes):
            layer = self.layers[i] if i < len(self.layers) else ()
            mixed = " + ".join(
                p.activation.name if len(layer) == 1 else f"{p.units} {p.activation.name}" for p in layer
            )
            own = sum(p.units * len(p.activation.params) for p in layer)
            rows.append((str(i + 1), f"{fan_in} x {fan_out}", mixed or self.head.name, (fan_in + 1) * fan_out + own))
        rows.append(("total", "", "", sum(row[3] for row in rows)))
        table = [("layer", "weight", "activation", "parameters"), *rows]
        widths = [max(len(str(row[c])) for row in table) for c in range(4)]
        lines = (
            "   ".join([*(v.ljust(w) for v, w in zip(r[:3], widths, strict=False)), str(r[3]).rjust(widths[3])])
            for r in table
        )
        return "\n".join(lines)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _drawn(draw, shapes, dtype, key, deviations) -> tuple[tuple[jax.Array, jax.Array], ...]:
    """Weights and biases, drawn by one program for all activations, which differ in the deviations."""
    return tuple(
        (draw(jax.random.fold_in(key, i), shape, dtype) * std, jnp.zeros(shape[1], dtype))
        for i, (shape, std) in enumerate(zip(shapes, deviations, strict=True))
    )


def _affine(a, weight, bias):
    """A W + b, with the bias given to every row where JAX is told not to do that unasked."""
    h = a @ weight
    return h + _like(bias, h)


def _activate(layer, h, own, key):
    """φ(H), each part of the units by its own activation."""
    out, start, own = [], 0, list(own)
    for i, part in enumerate(layer):
        activation, width = part.activation, part.width
        piece = h if len(layer) == 1 else h[..., start : start + width]
        params = [own.pop(0) for _ in activation.params]
        draws = {"key": jax.random.fold_in(key, i)} if activation.random and key is not None else {}
        out.append(activation.fn(piece, *(_like(p, piece) for p in params), **draws))
        start += width
    return out[0] if len(out) == 1 else jnp.concatenate(out, axis=-1)


def _like(param, h):
    return jnp.broadcast_to(param, h.shape)


def _second_moment(layer) -> float:
    """E[φ(z)²] of a layer, weighted by the shares of its activations."""
    return sum(part.units * second_moment(part.activation) for part in layer) / sum(part.units for part in layer)


def collapse(params: Sequence[Layer]) -> Layer:
    """The one layer that a stack of linear layers equals: W = W₁W₂…, b = (b₁W₂ + b₂)W₃ + …

    Args:
      params: layers with the identity between them.

    Returns:
      A `Layer` with weight (features, scores) and bias (scores,).

    >>> two = mlp((3, 5, 2), activation="identity").init(jax.random.key(0))
    >>> collapse(two).weight.shape
    (3, 2)
    """
    weight, bias, _ = params[0]
    for layer in params[1:]:
        weight, bias = weight @ layer.weight, bias @ layer.weight + layer.bias
    return Layer(weight, bias)


def count_parameters(params) -> int:
    """The number of trainable numbers in a parameter pytree.

    >>> count_parameters(mlp((2, 8, 2)).init(jax.random.key(0)))
    42
    """
    return sum(leaf.size for leaf in jax.tree.leaves(params))
