"""A trial depends on its own choices and seed alone: however a sweep is cut, resumed, interrupted or replayed."""

import errno
import functools
import os
import subprocess
import sys
from pathlib import Path

import equinox
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import Dataset, Network, Problem, Split, fit, get_head, get_metric, grid, mlp, replay, row_order, sweep, xor
from jaxnn.plan import Plan
from jaxnn.sweep import CURVES, Outcome

# Programs of other shapes round otherwise, and training amplifies that: over the 18 steps here to 1e-5 at most.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def toy_rows():
    """48 rows of three classes in the plane, that are not quite separable."""
    rng = np.random.default_rng(0)
    y = np.arange(48, dtype=np.int32) % 3
    x = (rng.normal(size=(48, 2)) + 2 * np.eye(3)[y][:, :2]).astype(np.float32)
    rows = Dataset(x, y, 3, "toy", ("a", "b"), ("0", "1", "2"))
    return Split(rows.take(slice(0, 24)), rows.take(slice(24, 36)), rows.take(slice(36, 48)))


TOY = Problem(toy_rows(), epochs=6, batch_size=8, evaluate_every=2, target=0.6)
PROBLEMS = {"toy": TOY}
TRIALS = grid(task="toy", activation=["tanh", "relu"], hidden=4, learning_rate=[0.01, 0.1], seed=range(5))


@pytest.fixture(scope="module")
def programs():
    """Compiled once for all tests of this module."""
    return {}


@pytest.fixture(scope="module")
def once(programs):
    return sweep(TRIALS, PROBLEMS, programs=programs)


@pytest.fixture
def compilations(monkeypatch):
    """Counts the programs that are compiled."""
    counted, compile = [], jax.stages.Lowered.compile

    def counting(lowered, *args, **kwargs):
        counted.append(lowered)
        return compile(lowered, *args, **kwargs)

    monkeypatch.setattr(jax.stages.Lowered, "compile", counting)
    return counted


def assert_same(found, expected, trial=True, **tolerance):
    """The tables and curves, measured seconds aside; where asked, but for the number of the trial."""
    assert found.table.keys() == expected.table.keys()
    for name in found.table.keys() - {"seconds", "" if trial else "trial"}:
        if found.table[name].dtype.kind == "U" or not tolerance:
            np.testing.assert_array_equal(found.table[name], expected.table[name], name)
        else:
            np.testing.assert_allclose(found.table[name], expected.table[name], **tolerance, err_msg=name)
    for name in expected.curves:
        np.testing.assert_allclose(found.curves[name], expected.curves[name], **(tolerance or {"rtol": 0}))


SOFTMAX = get_head("softmax")


def accuracy(scores, labels):
    return get_metric("accuracy").fn(SOFTMAX.probabilities(scores), labels)


def by_hand(number):
    """A trial with the keys that the documentation names, by `fit` and the loss and metric themselves."""
    choices, numbers = TRIALS.trial(number)
    network = mlp((2, 4, 3), choices.activation)
    root, (train, validation, test) = jax.random.key(0), TOY.data
    key = jax.random.fold_in(root, numbers["seed"])
    run = fit(
        key, network, train, optax.adam, {"learning_rate": numbers["learning_rate"]}, loss=SOFTMAX.loss,
        order=row_order(jax.random.fold_in(root, 1), 24, epochs=6, batch_size=8), epochs=6, batch_size=8,
        evaluate_every=2, validation=validation, metric=accuracy, target=0.6,
    )  # fmt: skip
    scores = network.apply(run.best_params, test.x)
    return run, jnp.mean(SOFTMAX.loss(scores, test.y)), accuracy(scores, test.y)


@pytest.mark.parametrize("number", [0, 9, 13])
def test_a_trial_is_a_run_of_fit(once, number):
    run, test_loss, test_metric = by_hand(number)
    row = {name: column[number] for name, column in once.table.items()}
    for name in CURVES:
        np.testing.assert_allclose(once.curves[name][number], getattr(run.history, name), **CLOSE)
        np.testing.assert_allclose(row[name], getattr(run.history, name)[-1], **CLOSE)
    for name in ("best_step", "last_step", "target_step", "reached", "diverged"):
        assert row[name] == getattr(run, name)
    np.testing.assert_allclose(row["best_validation_metric"], run.best_metric, **CLOSE)
    np.testing.assert_allclose([row["test_loss"], row["test_metric"]], [test_loss, test_metric], **CLOSE)
    assert once.steps["toy"].tolist() == run.history.step.tolist() == [0, 6, 12, 18]


def test_the_table_has_a_row_for_each_trial_in_the_order_of_the_plan(once):
    assert once.table["trial"].tolist() == list(range(20))
    for number in range(20):
        choices, numbers = TRIALS.trial(number)
        row = {name: column[number] for name, column in once.table.items()}
        assert {name: row[name] for name in numbers} == numbers
        told = [row[name] for name in ("task", "activation", "hidden", "head", "init", "optimizer")]
        assert told == ["toy", choices.activation, "4", "softmax", "matched", "adam"]
    assert {"seconds", *Outcome._fields} <= once.table.keys()
    assert all(len(column) == 20 for column in once.table.values())
    assert np.all(once.table["seconds"] > 0)


def test_one_device_gives_the_same_numbers(once, monkeypatch):
    assert jax.local_device_count() == 2
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    first = Plan(TRIALS.groups[:1])
    assert_same(sweep(first, PROBLEMS), once.take(np.arange(10)), **CLOSE)


def test_another_seed_gives_other_numbers(once, programs):
    other = sweep(TRIALS, PROBLEMS, seed=1, programs=programs)
    assert not np.any(np.isclose(other.table["loss"], once.table["loss"]))


def test_a_part_of_the_plan_gives_the_same_numbers(once, programs):
    """Block after block of one program, whatever else it trains: bit for bit."""
    found = sweep(Plan(TRIALS.groups[1:]), PROBLEMS, programs=programs, curves=False)
    assert found.curves == {}
    assert_same(found, once.take(np.arange(10, 20))._replace(curves={}), trial=False)


def test_one_compilation_for_each_group_however_many_seeds_and_rates(once, compilations):
    """And in blocks of another size the same numbers."""
    programs, traces = {}, []

    def relu(x):
        traces.append(1)
        return jax.nn.relu(x)

    def added(**axes):
        """Programs, and traces of an activation, that a sweep adds."""
        before = len(compilations), len(traces)
        found = sweep(grid(task="toy", hidden=4, **axes), PROBLEMS, block=4, programs=programs)
        return found, len(compilations) - before[0], len(traces) - before[1]

    both = {"activation": ["tanh", relu], "learning_rate": [0.01, 0.1]}
    found, compiled, traced = added(**both, seed=range(5))
    assert_same(found, once, **CLOSE)
    assert compiled == len(programs) == 2
    *_, compiled, more = added(**both, seed=range(10))
    assert compiled == 0
    assert more < traced
    assert added(**both | {"learning_rate": np.linspace(0.01, 0.1, 4)}, seed=range(5))[1:] == (0, more)
    assert len(programs) == 2
    assert added(activation="tanh", learning_rate=0.1, b1=[0.5, 0.9], seed=range(2))[1] == 1  # it does count


class TestFolder:
    @pytest.fixture
    def kept(self, once, programs, tmp_path):
        """A folder with every block of the sweep."""
        assert_same(sweep(TRIALS, PROBLEMS, programs=programs, folder=tmp_path), once)
        assert len(self.files(tmp_path)) == 2
        return tmp_path

    @staticmethod
    def files(folder):
        return sorted(folder.glob("blocks/*"))

    def test_a_finished_sweep_is_found_without_compiling(self, kept, once, compilations):
        assert_same(sweep(TRIALS, PROBLEMS, folder=kept), once)
        assert sweep(TRIALS, PROBLEMS, folder=kept, curves=False).curves == {}
        assert not compilations

    @pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "another block's", "empty"])
    def test_what_is_missing_or_damaged_is_computed_again(self, kept, once, programs, damage):
        first, second = self.files(kept)
        whole = first.read_bytes()
        if damage == "missing":
            first.unlink()
        elif damage == "another block's":
            first.write_bytes(second.read_bytes())
        else:
            middle = len(whole) // 2
            flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
            first.write_bytes({"cut": whole[:-100], "flipped": flipped, "empty": b""}[damage])
        stamp = second.stat().st_mtime_ns
        assert_same(sweep(TRIALS, PROBLEMS, folder=kept, programs=programs), once)
        assert self.files(kept) == [first, second]
        assert len(first.read_bytes()) == len(whole)
        assert second.stat().st_mtime_ns == stamp

    def test_what_the_numbers_depend_on_makes_another_block(self, kept, programs):
        def kept_with(trials=TRIALS, problem=TOY, **more):
            sweep(trials, {"toy": problem}, folder=kept, programs=programs, **more)
            return len(self.files(kept))

        x = TOY.data.test.x + 1
        assert kept_with(seed=1) == 4
        assert kept_with(problem=TOY._replace(data=TOY.data._replace(test=TOY.data.test._replace(x=x)))) == 6
        assert kept_with() == 6

    def test_two_runs_exclude_each_other(self, kept, programs):
        from jaxnn import store

        refused = pytest.raises(ValueError, match="is in use by another run; wait for it, or choose another folder")
        with store.exclusive(kept), refused:
            sweep(TRIALS, PROBLEMS, folder=kept, programs=programs)

    @pytest.mark.parametrize("interruption", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
    def test_an_interruption_leaves_the_finished_blocks(self, tmp_path, once, programs, monkeypatch, interruption):
        """A full disk, or Ctrl-C, at the second block."""
        fsync, calls = os.fsync, []

        def interrupted(file):
            calls.append(file)
            if len(calls) == 2:
                raise interruption
            fsync(file)

        monkeypatch.setattr(os, "fsync", interrupted)
        with pytest.raises(type(interruption)):
            sweep(TRIALS, PROBLEMS, folder=tmp_path, programs=programs)
        (first,) = self.files(tmp_path)
        assert_same(sweep(TRIALS, PROBLEMS, folder=tmp_path, programs=programs), once)
        assert len(calls) == 3
        assert first in self.files(tmp_path)

    def test_killed_at_twenty_moments_it_ends_with_the_same_table(self, tmp_path):
        script = Path(__file__).with_name("killed.py")
        told = subprocess.run([sys.executable, script, tmp_path], check=True, capture_output=True, text=True)
        blocks = list(map(int, told.stdout.split()))
        assert len(blocks) == 20
        assert blocks == sorted(blocks)
        assert 0 < blocks[-1] <= 60
        killed, whole = (np.load(tmp_path / name / "table.npz") for name in ("killed", "whole"))
        for name in set(whole) - {"seconds"}:
            np.testing.assert_array_equal(killed[name], whole[name], name)
        names = [[path.name for path in self.files(tmp_path / folder)] for folder in ("killed", "whole")]
        assert names[0] == names[1]
        assert len(names[0]) == 62


def xor_problem(epochs, **more):
    rows = xor()
    return Problem(Split(rows, rows, rows), epochs=epochs, evaluate_every=epochs, metric="least_probability", **more)


class Flax(flax.linen.Module):
    @flax.linen.compact
    def __call__(self, x):
        return flax.linen.Dense(1)(flax.linen.tanh(flax.linen.Dense(8)(x)))


def flax_network():
    model = Flax()
    return Network(lambda key: model.init(key, jnp.zeros((1, 2))), model.apply)


def equinox_network():
    def model(key):
        return equinox.nn.MLP(2, 1, 8, 1, jnp.tanh, key=key)

    static = equinox.partition(model(jax.random.key(0)), equinox.is_array)[1]
    return Network(
        lambda key: equinox.partition(model(key), equinox.is_array)[0],
        lambda params, x: jax.vmap(equinox.combine(params, static))(x),
    )


def own_network():
    def init(key):
        one, two = jax.random.split(key)
        return {"W": jax.random.normal(one, (2, 8)), "b": jnp.zeros(8), "v": jax.random.normal(two, (8, 1)) / 3}

    return Network(init, lambda p, x: jnp.tanh(x @ p["W"] + p["b"]) @ p["v"])


def test_anybodys_networks_sweep(tmp_path):
    """Flax, Equinox, a few lines of jnp: trained as a plain loop trains them, and found again in the folder."""
    networks = {"flax": flax_network(), "equinox": equinox_network(), "own": own_network()}
    trials = grid(task="xor", network=networks, learning_rate=0.05, seed=range(4))
    problems = {"xor": xor_problem(150)}
    table = sweep(trials, problems, folder=tmp_path).table
    assert table["activation"].tolist() == np.repeat(list(networks), 4).tolist()
    for name in networks:
        assert np.mean(table["test_metric"][table["activation"] == name] > 0.6) >= 0.75
    rows, optimizer = xor(), optax.adam(0.05)
    for start, network in enumerate(networks.values()):
        params = network.init(jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 2), 0))

        @jax.jit
        def step(carry, _, network=network):
            params, state = carry
            loss, gradient = jax.value_and_grad(
                lambda p: jnp.mean(optax.losses.sigmoid_binary_cross_entropy(network.apply(p, rows.x)[:, 0], rows.y))
            )(params)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), loss

        _, loss = jax.lax.scan(step, (params, optimizer.init(params)), length=151)
        np.testing.assert_allclose(table["loss"][4 * start + 2], loss[-1], rtol=1e-3)
    again = grid(task="xor", network={"flax": flax_network()}, learning_rate=0.05, seed=range(4))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("blocks/*")}
    np.testing.assert_array_equal(sweep(again, problems, folder=tmp_path).table["loss"], table["loss"][:4])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("blocks/*")} == before


@pytest.fixture(scope="module")
def columns():
    """Stochastic gradient descent on XOR with every kind of number; then by AdamW."""
    trials = grid(
        task="xor", activation="relu", optimizer="sgd", learning_rate=[0.5, 1e30], momentum=[0, 0.9], label_noise=[0, 1]
    ) + grid(task="xor", activation="tanh", optimizer="adamw", learning_rate=0.1, weight_decay=[0, 0.1], seed=[0, 1])
    return sweep(trials, {"xor": xor_problem(10)._replace(metric="accuracy")})


class TestColumns:
    def test_numbers_are_the_optimizers(self, columns):
        """Against `fit` with the optimizers that the columns stand for."""
        sgd, adamw = functools.partial(optax.sgd, momentum=0.9), functools.partial(optax.adamw, weight_decay=0.1)
        for activation, optimizer, chosen in (
            ("relu", sgd, {"momentum": 0.9, "learning_rate": 0.5, "label_noise": 0}),
            ("tanh", adamw, {"weight_decay": 0.1, "seed": 0}),
        ):
            row, network = columns.where(**chosen).table, mlp((2, 8, 1), activation)
            run = fit(
                jax.random.fold_in(jax.random.key(0), 0), network, xor(), optimizer,
                {"learning_rate": row["learning_rate"][0]}, loss=network.loss, epochs=10,
            )  # fmt: skip
            np.testing.assert_allclose(row["loss"], [run.history.loss[-1]], rtol=1e-4)
        for name, values in {"momentum": (0, 0.9), "weight_decay": (0, 0.1)}.items():
            one, other = (columns.where(**{name: value}).table["loss"] for value in values)
            assert not np.any(np.isclose(one[:2], other[:2], rtol=1e-3))

    def test_columns_that_a_group_has_not_are_nan(self, columns):
        sgd = columns.where(optimizer="sgd").table
        assert np.all(np.isnan(sgd["weight_decay"]))
        assert np.all(np.isfinite(sgd["momentum"]))

    def test_noise_changes_the_labels_that_are_trained_on_and_no_others(self, columns):
        """With two classes, noise of 1 turns every label round."""
        clean, noisy = (
            columns.where(optimizer="sgd", learning_rate=0.5, momentum=0, label_noise=share) for share in (0, 1)
        )
        assert clean.curves["metric"][0, 0] == 1 - noisy.curves["metric"][0, 0]
        assert clean.curves["validation_metric"][0, 0] == noisy.curves["validation_metric"][0, 0]
        assert clean.curves["validation_loss"][0, 0] == noisy.curves["validation_loss"][0, 0]
        assert noisy.table["loss"] < noisy.table["validation_loss"]

    def test_a_diverged_run_is_marked_and_leaves_the_others_alone(self, columns):
        sgd = columns.where(optimizer="sgd").table
        assert sgd["diverged"].tolist() == [False] * 4 + [True] * 4
        assert np.all(np.isfinite(columns.table["loss"]))


def test_a_mixture_in_one_of_two_layers_sweeps_and_is_replayed():
    trials = grid(
        task="xor",
        activation=[["tanh", {"relu": 0.25, "prelu": 0.75}]],
        hidden=(4, 4),
        learning_rate=0.1,
        seed=range(2),
    )
    problems = {"xor": xor_problem(20)}
    found = sweep(trials, problems)
    assert found.table["activation"].tolist() == ["tanh, 0.25 relu + 0.75 prelu"] * 2
    assert set(found.table["hidden"]) == {"4x4"}
    run = replay(trials, problems, 1)
    for name in CURVES:
        np.testing.assert_allclose(found.curves[name][1], getattr(run.history, name), **CLOSE)


def test_tasks_of_different_length_share_a_table_and_no_program(once, programs):
    trials = Plan(TRIALS.groups[:1]) + grid(task="xor", activation="tanh", hidden=4, learning_rate=0.1, seed=range(2))
    for epochs in (2, 4):
        found = sweep(trials, PROBLEMS | {"xor": xor_problem(epochs)}, programs=programs)
        assert found.table["last_step"].tolist() == [18] * 10 + [epochs] * 2
        assert {name: at.tolist() for name, at in found.steps.items()} == {"toy": [0, 6, 12, 18], "xor": [0, epochs]}
        assert np.isnan(found.curves["loss"]).sum(axis=1).tolist() == [0] * 10 + [2, 2]
    assert found.join(found).table["trial"].tolist() == list(range(24))


def test_the_batch_size_is_a_static_choice(once, programs):
    """A group of its own, with the numbers of a task that has this batch size."""
    axes = {"task": "toy", "activation": "tanh", "hidden": 4, "learning_rate": [0.01, 0.1], "seed": range(5)}
    both = sweep(grid(batch_size=[None, 12], **axes), PROBLEMS)
    alone = sweep(grid(**axes), {"toy": TOY._replace(batch_size=12)})
    np.testing.assert_array_equal(both.where(batch_size="12").table["loss"], alone.table["loss"])
    own = once.where(activation="tanh").table["loss"]
    np.testing.assert_allclose(both.where(batch_size="").table["loss"], own, **CLOSE)
    assert set(both.where(batch_size="12").table["last_step"]) == {12}


@pytest.mark.parametrize("block", [0, -4, {"toy": 0}])
def test_a_block_has_networks(block):
    with pytest.raises(ValueError, match="expected at least 1 network"):
        sweep(TRIALS, PROBLEMS, block=block)


def test_a_gpu_trains_more_networks_at_once(tmp_path, monkeypatch):
    """As many as a CPU's cache holds would leave it waiting for its next kernel."""
    rows = xor()
    problems = {"xor": Problem(Split(rows, rows, rows), epochs=1)}
    trials = grid(task="xor", hidden=2, activation="tanh", learning_rate=0.1, seed=range(520))
    for backend, blocks in {"cpu": 2, "gpu": 1}.items():
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        sweep(trials, problems, folder=tmp_path / backend)
        assert len(list((tmp_path / backend / "blocks").iterdir())) == blocks
