"""Strict by configuration: two CPU devices, no kept programs, warnings as errors, no promotion in our own functions."""

import os

import jax
import pytest

os.environ["JAXNN_CACHE"] = "off"
jax.config.update("jax_num_cpu_devices", 2)


@pytest.fixture
def strict():
    """Strict dtype promotion and raising rank promotion, for tests of our own elementwise functions."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
