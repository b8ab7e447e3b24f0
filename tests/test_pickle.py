"""Whatever describes a network can be sent to another process, and comes back equal: nothing is compiled again."""

import dataclasses
import pickle

import jax
import optax
import pytest

from jaxnn import (
    ACTIVATIONS,
    HEADS,
    INITIALIZERS,
    METRICS,
    Activation,
    Head,
    entmax,
    fit,
    losses,
    maxout,
    mlp,
    parametric,
    temperature,
    xor,
)

FACTORIES = [getattr(losses, name) for name in vars(losses) if name.startswith("with_")]
RECORDS = {
    **{f"{name} of {i}": record for i, table in enumerate((ACTIVATIONS, HEADS, INITIALIZERS, METRICS))
       for name, record in table.items()},
    **{make.__name__: make() for make in FACTORIES},
    **{f"{make.__name__} of another": make(losses.with_label_smoothing("sparsemax", 0.3)) for make in FACTORIES},
    "temperature(3)": temperature(3.0),
    "entmax(1.3)": entmax(1.3),
    "maxout(3)": maxout(3),
    "parametric(sin)": parametric("sin"),
    "an mlp": mlp((2, 6, 4, 2), ["relu", {"sin": 0.5, maxout(3): 0.5}], losses.with_focal_loss(gamma=1.5)),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_comes_back_equal(name):
    back = pickle.loads(pickle.dumps(RECORDS[name]))
    assert back == RECORDS[name]
    assert hash(back) == hash(RECORDS[name])


def test_a_record_of_ones_own_that_closes_over_something_is_refused_not_changed():
    """Negative control: only what is named, or made by a factory, has another way than its functions."""
    offset = 1.0
    for record in (
        Activation("relu", lambda x: x + offset),
        Head("softmax", lambda z: z + offset, lambda z, y: z[0], "", "", ""),
    ):
        with pytest.raises((AttributeError, pickle.PicklingError)):
            pickle.dumps(record)


def test_a_head_that_was_changed_does_not_come_back_as_it_was():
    changed = dataclasses.replace(temperature(3.0), name="mine", log_loss=False)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(changed)


def test_one_head_for_the_same_arguments_however_they_are_given():
    assert temperature(3) is temperature(3.0)
    assert entmax(2) is HEADS["sparsemax"]
    assert losses.with_focal_loss() == losses.with_focal_loss("softmax", gamma=2.0)
    assert losses.with_focal_loss() == losses.with_focal_loss(HEADS["softmax"], 2.0)
    assert losses.with_focal_loss() != losses.with_focal_loss(gamma=1.0)


def test_a_network_that_was_sent_compiles_nothing_again():
    network = mlp((2, 3, 1), "sin", losses.with_poly_loss("sigmoid"))

    def compiled(network):
        before = fit_cache()
        fit(jax.random.key(0), network, xor(), optax.sgd, {"learning_rate": 0.1}, loss=network.loss, epochs=2)
        return fit_cache() - before

    assert compiled(network) == 1
    assert compiled(pickle.loads(pickle.dumps(network))) == 0


def fit_cache():
    from jaxnn import training

    return training._fit._cache_size()
