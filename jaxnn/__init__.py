"""Neural networks as pure functions of a parameter pytree, and the comparison of activations."""
