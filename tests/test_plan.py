"""A plan holds what was asked for, once each, in groups by what is static; what cannot be trained is refused."""

import functools
import itertools
from collections import Counter

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnn import ACTIVATIONS
from jaxnn.lab import Plan, Recipe, grid, sample, splits, sweep, task
from jaxnn.lab.spelling import frozen, read, spelled, written

XOR = splits(task("xor"))


def linear(x):
    return x


class TestGrid:
    def test_is_every_combination_once(self):
        axes = {"activation": ["relu", "tanh"], "hidden": [(4,), (4, 4)], "learning_rate": [0.1, 0.2], "seed": range(3)}
        plan = grid(**axes)
        trials = [plan.trial(number) for number in range(plan.size)]
        found = Counter((t.activation, t.recipe.hidden, t.numbers["learning_rate"], t.numbers["seed"]) for t in trials)
        assert found == Counter(itertools.product(*axes.values()))
        assert len(plan.groups) == 4
        assert {type(t.numbers["seed"]) for t in trials} == {int}

    @pytest.mark.parametrize(
        ("hidden", "architectures"),
        [(8, [(8,)]), ((8, 4), [(8, 4)]), ([(8,), (16,)], [(8,), (16,)]), ([(8,), (8, 8), ()], [(8,), (8, 8), ()])],
    )
    def test_hidden_is_one_architecture_or_several(self, hidden, architectures):
        assert [group.recipe.hidden for group in grid(hidden=hidden, learning_rate=0.1).groups] == architectures

    def test_one_value_needs_no_list(self):
        plan = grid(activation="relu", learning_rate=0.1, seed=3)
        assert plan.trial(0) == ("", "relu", Recipe(), {"learning_rate": 0.1, "seed": 3, "split": 0})

    def test_a_mixture_and_one_for_each_layer_are_single_values(self):
        mixed = [{"relu": 0.5, "tanh": 0.5}, ["relu", {"sin": 1}], linear]
        plan = grid(activation=mixed, hidden=(4, 4), learning_rate=0.1)
        assert [spelled(group.activation) for group in plan.groups] == [
            "0.5 relu + 0.5 tanh",
            "relu, 1.0 sin",
            "linear",
        ]
        assert len({hash((group.activation, group.recipe)) for group in plan.groups}) == 3

    def test_the_scalars_are_those_of_the_optimizer(self):
        momentum = functools.partial(optax.sgd, nesterov=True)
        plan = grid(optimizer=["sgd", momentum], learning_rate=0.1, momentum=[0, 0.9], label_noise=0.1)
        assert [group.recipe.label("optimizer") for group in plan.groups] == ["sgd", "sgd"]
        assert plan.trial(1).numbers == {
            "learning_rate": 0.1,
            "momentum": 0.9,
            "label_noise": 0.1,
            "seed": 0,
            "split": 0,
        }

    def test_plans_add_up(self):
        plan = grid(seed=range(3), learning_rate=1) + grid(activation="tanh", learning_rate=1, seed=range(4))
        assert plan.size == 7
        assert plan.trial(3).activation == "tanh"
        for number in (-1, 7):
            with pytest.raises(ValueError, match=f"trial {number}; expected 0 to 6"):
                plan.trial(number)


class TestSample:
    def test_fills_its_ranges_evenly_in_the_logarithm(self):
        """Of 64 scrambled Sobol points one lies in each 64th of every range, and a quarter in each quarter of two."""
        plan = sample(64, learning_rate=(1e-4, 1e-1), b1=(0, 0.9), seed=range(2))
        rate, b1, seed = (plan.groups[0].columns[name] for name in ("learning_rate", "b1", "seed"))
        assert plan.size == 128
        assert seed.tolist() == [0, 1] * 64
        unit = np.stack([np.log10(rate[::2]) / 3 + 4 / 3, b1[::2] / 0.9])
        assert np.array_equal(rate[::2], rate[1::2])
        np.testing.assert_array_equal(np.sort(np.floor(64 * unit)), np.tile(np.arange(64), (2, 1)))
        assert np.histogram2d(*unit, bins=2, range=[(0, 1), (0, 1)])[0].tolist() == [[16, 16], [16, 16]]

    def test_the_draw_decides(self):
        def rates(draw):
            return sample(8, learning_rate=(0.01, 1), draw=draw).groups[0].columns["learning_rate"].tolist()

        assert rates(1) == rates(1) != rates(2)

    @pytest.mark.parametrize("values", [(0.1,), (1, 0.1), (-1, 1), 0.1, (0.1, 0.2, 0.3)])
    def test_what_is_no_range(self, values):
        with pytest.raises(ValueError, match=r"learning_rate=.*; expected a range \(low, high\)"):
            sample(4, learning_rate=values)


names = st.sampled_from(list(ACTIVATIONS))
shares = st.lists(st.integers(1, 9), min_size=2, max_size=4)


@st.composite
def mixtures(draw):
    parts = draw(shares)
    found = draw(st.lists(names, min_size=len(parts), max_size=len(parts), unique=True))
    return {name: part / sum(parts) for name, part in zip(found, parts, strict=True)}


@settings(deadline=None, max_examples=50, derandomize=True)
@given(st.one_of(names, mixtures(), st.lists(st.one_of(names, mixtures()), min_size=2, max_size=3)))
def test_labels_are_read_back_as_they_were_written(activation):
    label = spelled(activation)
    assert read(label) == activation
    assert spelled(read(label)) == spelled(frozen(activation)) == written(activation) == label


def test_aliases_and_functions_have_the_label_of_their_record():
    assert spelled("LeakyReLU") == "leaky_relu"
    assert spelled({jnp.tanh: 0.5, linear: 0.5}) == "0.5 tanh + 0.5 linear"
    assert read(linear) is linear


def test_a_function_of_ones_own_is_written_by_its_place():
    assert written(linear) == f"{__name__}:linear"
    assert read(written(linear)) is linear
    assert read(written({linear: 0.5, "relu": 0.5})) == {linear: 0.5, "relu": 0.5}
    assert written(lambda x: x) == "<lambda>"  # has no place
    for text in ("no_such_module:f", "jaxnn:no_such_function", ":f"):
        with pytest.raises(ValueError, match=f"activation '{text}': .*; expected module:function"):
            read(text)


def test_two_functions_of_one_name_are_refused_with_the_cure():
    one, other = (lambda x: x), (lambda x: 2 * x)
    with pytest.raises(ValueError, match=r"two activations have the name '<lambda>'; .* jaxnn.Activation\('mine'"):
        grid(activation=[one, other], learning_rate=0.1)


@pytest.mark.parametrize("text", ["relu + tanh", "0.5 relu + tanh", "half relu + half tanh", "0.5 relu + 0.5 tanh +"])
def test_a_mixture_without_shares_is_refused(text):
    with pytest.raises(ValueError, match=r"expected shares and names, as '0\.5 relu"):
        read(text)


def trained(tasks=None, **axes):
    return sweep(grid(**{"learning_rate": 0.1} | axes), tasks or {"": XOR})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grid(learning_rate=[]), r"learning_rate: no values; expected at least one, as in learning_rate="),
        (lambda: grid(learning_rate=-0.1), r"learning_rate=\[-0.1\]; expected finite numbers of at least 0"),
        (lambda: grid(learning_rate=[0.1, np.nan]), r"learning_rate=\[0.1, nan\]; expected finite"),
        (lambda: grid(learning_rate=1e39), "expected finite"),
        (lambda: grid(learning_rate="fast"), r"learning_rate=\['fast'\]; expected finite numbers"),
        (lambda: grid(learning_rate=1, label_noise=1.1), r"label_noise=\[1.1\]; expected shares from 0 to 1"),
        (lambda: grid(learning_rate=1, seed=0.5), r"seed=\[0.5\]; expected whole numbers"),
        (lambda: grid(learning_rate=1, seed=2**32), r"seed=\[4294967296\]; expected whole numbers"),
        (lambda: grid(activatoin="relu"), "'activatoin' is neither a static choice .*, hidden, .* argument of adam"),
        (lambda: grid(learning_rate=1, momentum=0.9), "'momentum' is neither .* argument of adam"),
        (lambda: sample(4, momentum=(0.1, 0.9)), "'momentum' is neither .* argument of adam"),
        (lambda: sample(4, learning_rate=(0.1, 1), split=[0, 1]), r"split=\[0, 1\]; expected one"),
        (lambda: grid(optimizer="adamm"), "unknown optimizer 'adamm'; expected a factory of optax by name, as 'adam'"),
        (lambda: grid(optimizer="losses"), "unknown optimizer 'losses'"),
        (lambda: sweep(Plan(()), {}), "the plan has no trials"),
        (lambda: sweep(sample(0, learning_rate=(0.1, 1)), {"": XOR}), "the plan has no trials"),
        (lambda: trained(task="xro"), r"the plan has the task 'xro'; the tasks are \[''\]"),
        (lambda: grid(activation="tanh"), r"adam needs learning_rate; give it, as in grid\(learning_rate=0.01\)"),
        (lambda: trained(activation="rellu"), "unknown activation 'rellu'; did you"),
        (lambda: trained(activation="step"), "step cannot be trained"),
        (lambda: trained(hidden=0), r"sizes=\(2, 0, 1\)"),
        (lambda: trained(head="softmix"), "softmix"),
        (lambda: trained(init="he_norm"), "unknown initializer 'he_norm'"),
        (lambda: trained(metric="acc"), "unknown metric 'acc'"),
        (lambda: trained(epochs=0), "epochs=0; expected a whole number"),
        (lambda: trained(epochs=-10), "epochs=-10; expected a whole number"),
        (lambda: trained(batch_size=0), "batch_size=0; expected a whole"),
        (lambda: trained(batch_size=5), "batch_size=5, but there are 4"),
        (lambda: trained(epochs=10, evaluate_every=3), "epochs=10 is no multiple"),
        (lambda: trained(split=1), "split 1"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_cure(call, message):
    with pytest.raises(ValueError, match=message):
        call()
