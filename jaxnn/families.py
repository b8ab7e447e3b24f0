"""Activations of one form as one: which of them it is, is data, so that one program serves all."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.activations import Activation


def any_of(several: Sequence[Activation], which: jax.Array) -> Activation:
    """The `which`-th of several elementwise activations: φ(h) = φ_which(h), and its derivative.

    Only that one is computed, as long as all networks of an `ensemble` share `which`.

    Args:
      several: fixed or with as many trainable parameters each, of one input and one output, not random.
      which: () int32, at least 0 and less than their number.

    >>> from jaxnn.activations import ACTIVATIONS
    >>> two = [ACTIVATIONS["relu"], ACTIVATIONS["square"]]
    >>> print([float(any_of(two, which).fn(jnp.float32(-3))) for which in (0, 1)])
    [0.0, 9.0]
    """

    @jax.custom_jvp
    def activation(which, h, *params):
        return lax.switch(which, [one.fn for one in several], h, *params)

    # The rule of the switch itself would keep what any of the branches needs for its derivative.
    @activation.defjvp
    def _(primals, tangents):
        which, *arguments = primals
        value, slopes = lax.switch(which, [_with_slopes(one.fn) for one in several], *arguments)
        return value, sum(slope * tangent for slope, tangent in zip(slopes, tangents[1:], strict=True))

    return Activation("any", lambda h, *params: activation(which, h, *params), params=several[0].params)


def _with_slopes(fn):
    """The value of an elementwise function, and its derivative with respect to each argument."""

    def both(*arguments):
        def along(i):
            tangents = [jnp.ones_like(a) if i == j else jnp.zeros_like(a) for j, a in enumerate(arguments)]
            return jax.jvp(fn, arguments, tuple(tangents))

        value, first = along(0)
        return value, [first, *(along(i)[1] for i in range(1, len(arguments)))]

    return both
