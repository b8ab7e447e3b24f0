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

from jaxnn import Network, fit, get_head, get_metric, mlp, row_order, xor
from jaxnn.lab import Plan, Splits, Task, grid, outcome, replay, splits, store, sweep, sweeps, task
from jaxnn.lab.sweeps import CURVES

# Programs of other shapes round otherwise, and training amplifies that: over the 18 steps here to 1e-5 at most.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def toy_splits(number=1, seed=0):
    """48 rows of three classes in the plane, that are not quite separable."""
    rng = np.random.default_rng(seed)
    y = np.arange(48, dtype=np.int32) % 3
    x = rng.normal(size=(48, 2)) + 2 * np.eye(3)[y][:, :2]
    rows = np.stack([np.roll(np.arange(48), 12 * i) for i in range(number)])
    return Splits(Task("toy", x, y, ("0", "1", "2")), rows[:, :24], rows[:, 24:36], rows[:, 36:])


TOY = toy_splits()
TASKS = {"toy": TOY}
AXES = {"task": "toy", "hidden": 4, "epochs": 6, "batch_size": 8, "evaluate_every": 2, "target": 0.6}
TRIALS = grid(**AXES, activation=["tanh", "relu"], learning_rate=[0.01, 0.1], seed=range(5))


@pytest.fixture(scope="module")
def programs():
    """Compiled once for all tests of this module."""
    return {}


@pytest.fixture(scope="module")
def once(programs):
    return sweep(TRIALS, TASKS, programs=programs)


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
    """The tables, measured seconds aside; where asked, but for the number of the trial."""
    assert found.columns.keys() == expected.columns.keys()
    for name in found.columns.keys() - {"seconds", "" if trial else "trial"}:
        if found[name].dtype.kind == "U" or not tolerance:
            np.testing.assert_array_equal(found[name], expected[name], name)
        else:
            np.testing.assert_allclose(found[name], expected[name], **tolerance, err_msg=name)


SOFTMAX = get_head("softmax")


def accuracy(scores, labels):
    return get_metric("accuracy").fn(SOFTMAX.probabilities(scores), labels)


def by_hand(number, splits=TOY, batch_size=8):
    """A trial with the keys that the documentation names, by `fit` and the loss and metric themselves."""
    _, activation, _, numbers = TRIALS.trial(number)
    network = mlp((2, 4, 3), activation)
    root, (train, validation, test, _) = jax.random.key(0), splits.parts(numbers["split"])
    key = jax.random.fold_in(root, numbers["seed"])
    run = fit(
        key, network, train, optax.adam, {"learning_rate": numbers["learning_rate"]}, loss=SOFTMAX.loss,
        order=row_order(jax.random.fold_in(root, 1), 24, epochs=6, batch_size=batch_size), epochs=6,
        batch_size=batch_size, evaluate_every=2, validation=validation, metric=accuracy, target=0.6,
    )  # fmt: skip
    scores = network.apply(run.best_params, test[0])
    return run, jnp.mean(SOFTMAX.loss(scores, test[1])), jnp.argmax(scores, -1) == test[1]


@pytest.mark.parametrize("number", [0, 9, 13])
def test_a_trial_is_a_run_of_fit(once, number):
    run, test_loss, right = by_hand(number)
    row = once.take(number)
    for name in CURVES:
        np.testing.assert_allclose(row[f"curve_{name}"], getattr(run.history, name), **CLOSE)
        np.testing.assert_allclose(row[name], getattr(run.history, name)[-1], **CLOSE)
    for name in ("best_step", "last_step", "target_step", "reached", "diverged"):
        assert row[name] == getattr(run, name)
    np.testing.assert_allclose(row["best_validation_metric"], run.best_metric, **CLOSE)
    np.testing.assert_allclose([row["test_loss"], row["test_metric"]], [test_loss, right.mean()], **CLOSE)
    np.testing.assert_allclose(row["test_rows"], right, **CLOSE)
    np.testing.assert_array_equal(row["test_right"], right)
    assert row["curve_step"].tolist() == run.history.step.tolist() == [0, 6, 12, 18]
    again = replay(TRIALS, TASKS, number)
    np.testing.assert_allclose(again.history.loss, run.history.loss, **CLOSE)


def test_the_table_has_a_row_for_each_trial_in_the_order_of_the_plan(once):
    assert once["trial"].tolist() == list(range(20))
    for number in range(20):
        _, activation, _, numbers = TRIALS.trial(number)
        row = once.take(number)
        assert {name: row[name] for name in numbers} == numbers
        told = [row[name] for name in ("task", "activation", "hidden", "head", "init", "optimizer", "batch_size")]
        assert told == ["toy", activation, "4", "softmax", "matched", "adam", "8"]
    assert all(len(column) == 20 for column in once.columns.values())
    assert np.all(once["seconds"] > 0)


class TestSplits:
    def test_each_split_has_its_own_rows_and_compiles_nothing(self, compilations):
        """Small networks carry their rows, whatever else is in their block: the numbers of each split alone."""
        three = toy_splits(3)
        plan = grid(**AXES, learning_rate=0.1, split=range(3), seed=range(2))
        whole = sweep(plan, {"toy": three})
        assert len(compilations) == 1
        for split in range(3):
            rows = (part[[split]] for part in (three.train, three.validation, three.test))
            alone = sweep(grid(**AXES, learning_rate=0.1, seed=range(2)), {"toy": Splits(three.task, *rows)})
            found = whole.where(split=split)
            for name in ("loss", "test_loss", "curve_validation_loss", "test_rows"):
                np.testing.assert_allclose(found[name], alone[name], **CLOSE)
        assert len(set(whole["validation_loss"].tolist())) == 6

    def test_large_networks_of_a_block_share_the_rows_of_one_split(self, compilations):
        plan = grid(**AXES | {"hidden": 400}, learning_rate=0.1, split=range(3), seed=range(2))
        tasks = {"toy": toy_splits(3)}
        whole = sweep(plan, tasks)
        assert len(compilations) == 1
        for number in (0, 3, 5):
            run = replay(plan, tasks, number)
            np.testing.assert_allclose(whole["curve_loss"][number], run.history.loss, rtol=1e-4, atol=1e-5)

    def test_the_best_rows_are_those_of_the_split(self):
        """A row's value belongs to the row that the split tests: seen by a task whose labels tell the row."""
        found = toy_splits(3)
        for split in range(3):
            _, _, (x, y), _ = found.parts(split)
            np.testing.assert_array_equal(y, found.task.y[found.test[split]])
            train = found.task.x[found.train[split]]
            np.testing.assert_allclose(x, (found.task.x[found.test[split]] - train.mean(0)) / train.std(0), rtol=1e-5)


def test_what_is_measured_is_an_argument():
    """And one's own measure compiles once, is kept with any shape, and sees network, run and rows."""

    def weights(built, run, parts):
        return {"norm": jnp.linalg.norm(run.params[0].weight, axis=0), "rows": jnp.float32(len(parts.train[1]))}

    found = sweep(TRIALS, TASKS, measure=weights)
    assert found["norm"].shape == (20, 4)
    assert set(found["rows"]) == {24}
    run = replay(TRIALS, TASKS, 7)
    np.testing.assert_allclose(found["norm"][7], jnp.linalg.norm(run.params[0].weight, axis=0), **CLOSE)
    assert "loss" not in found.columns


class TestFamilies:
    """Activations of the table share a program; which it is and who shares it change nothing but roundings."""

    MANY = ("gelu", "tanh", "selu", "relu", "sin")

    def plan(self, *activations):
        return grid(**AXES, activation=list(activations), learning_rate=[0.01, 0.1], seed=range(5))

    def test_a_trial_is_the_same_in_a_family_of_any_size_and_order(self, once, compilations):
        found = sweep(self.plan(*self.MANY), TASKS)
        assert len(compilations) == 1
        for name in ("tanh", "relu"):
            assert_same(found.where(activation=name), once.where(activation=name), trial=False, **CLOSE)
        np.testing.assert_allclose(
            replay(self.plan(*self.MANY), TASKS, 44).history.loss, found["curve_loss"][44], **CLOSE
        )

    def test_a_long_sweep_pays_for_programs_of_its_own(self, once, compilations, monkeypatch):
        monkeypatch.setattr(sweeps, "LONG", 0)
        found = sweep(self.plan("tanh", "relu"), TASKS)
        assert len(compilations) == 2
        assert_same(found, once, **CLOSE)

    def test_what_has_another_form_stays_alone(self, compilations):
        alone = [{"relu": 0.5, "tanh": 0.5}, "crelu", lambda x: jnp.tanh(x)]
        sweep(self.plan("relu", "tanh", "prelu", *alone), TASKS)
        assert len(compilations) == 2 + len(alone)


def test_one_device_gives_the_same_numbers(once, monkeypatch):
    assert jax.local_device_count() == 2
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    first = Plan(TRIALS.groups[:1])
    assert_same(sweep(first, TASKS), once.take(np.arange(10)), **CLOSE)


def test_another_seed_gives_other_numbers(once, programs):
    other = sweep(TRIALS, TASKS, seed=1, programs=programs)
    assert not np.any(np.isclose(other["loss"], once["loss"]))


def test_a_part_of_the_plan_gives_the_same_numbers(once, programs):
    """Block after block of one program, whatever else it trains: bit for bit."""
    found = sweep(Plan(TRIALS.groups[1:]), TASKS, programs=programs)
    assert_same(found, once.take(np.arange(10, 20)), trial=False)


def test_one_compilation_for_each_group_however_many_seeds_and_rates(once, compilations):
    """And in blocks of another size the same numbers."""
    programs, traces = {}, []

    def relu(x):
        traces.append(1)
        return jax.nn.relu(x)

    def added(**axes):
        """Programs, and traces of an activation, that a sweep adds."""
        before = len(compilations), len(traces)
        found = sweep(grid(**AXES, **axes), TASKS, block=4, programs=programs)
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
        assert_same(sweep(TRIALS, TASKS, programs=programs, folder=tmp_path), once)
        assert len(self.files(tmp_path)) == 2
        return tmp_path

    @staticmethod
    def files(folder):
        return sorted(folder.glob("blocks/*"))

    def test_a_finished_sweep_is_found_without_compiling(self, kept, once, compilations):
        assert_same(sweep(TRIALS, TASKS, folder=kept), once)
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
        assert_same(sweep(TRIALS, TASKS, folder=kept, programs=programs), once)
        assert self.files(kept) == [first, second]
        assert len(first.read_bytes()) == len(whole)
        assert second.stat().st_mtime_ns == stamp

    def test_what_the_numbers_depend_on_makes_another_block(self, kept, programs):
        def kept_with(splits=TOY, **more):
            sweep(TRIALS, {"toy": splits}, folder=kept, programs=programs, **more)
            return len(self.files(kept))

        def shorter(built, run, parts):
            return {"loss": outcome(built, run, parts)["loss"]}

        assert kept_with(seed=1) == 4
        assert kept_with(toy_splits(seed=1)) == 6
        assert kept_with(measure=shorter) == 8
        assert kept_with() == 8

    def test_two_runs_exclude_each_other(self, kept, programs):
        refused = pytest.raises(ValueError, match="is in use by another run; wait for it, or choose another folder")
        with store.exclusive(kept), refused:
            sweep(TRIALS, TASKS, folder=kept, programs=programs)

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
            sweep(TRIALS, TASKS, folder=tmp_path, programs=programs)
        (first,) = self.files(tmp_path)
        assert_same(sweep(TRIALS, TASKS, folder=tmp_path, programs=programs), once)
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


XOR = {"xor": splits(task("xor"))}


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


NETWORKS = {"flax": flax_network(), "equinox": equinox_network(), "own": own_network()}


@pytest.mark.parametrize("name", NETWORKS)
def test_anybodys_networks_sweep(name, tmp_path):
    """Flax, Equinox, a few lines of jnp: trained as a plain loop trains them, and found again in the folder."""

    def architecture(activation, task):
        assert (activation, task.classes, task.features) == ("tanh", 2, 2)
        return NETWORKS[name]

    axes = {"task": "xor", "activation": "tanh", "epochs": 150, "evaluate_every": 150}
    trials = grid(**axes, architecture=architecture, learning_rate=0.05, seed=range(4))
    table = sweep(trials, XOR, folder=tmp_path)
    assert set(table["hidden"]) == {""}
    assert set(table["init"]) == {"its own"}
    assert set(table["head"]) == {"sigmoid"}  # one score for two classes
    assert np.mean(table["test_metric"] > 0.6) >= 0.75
    network, rows, optimizer = NETWORKS[name], xor(), optax.adam(0.05)
    params = network.init(jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 2), 0))

    @jax.jit
    def step(carry, _):
        params, state = carry
        loss, gradient = jax.value_and_grad(
            lambda p: jnp.mean(optax.losses.sigmoid_binary_cross_entropy(network.apply(p, rows.x)[:, 0], rows.y))
        )(params)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), loss

    _, loss = jax.lax.scan(step, (params, optimizer.init(params)), length=151)
    np.testing.assert_allclose(table["loss"][2], loss[-1], rtol=1e-3)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("blocks/*")}
    np.testing.assert_array_equal(sweep(trials, XOR, folder=tmp_path)["loss"], table["loss"])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("blocks/*")} == before


def test_images_and_an_architecture_of_ones_own():
    """Rows that are no table: a convolution asks which activation it should have."""
    rng = np.random.default_rng(0)
    y = np.arange(40, dtype=np.int32) % 2
    x = rng.normal(size=(40, 6, 6, 1)).astype(np.float32)
    x[y == 1, 2:4, :, 0] += 2
    images = task((x, y), name="stripes")

    def convolution(activation, task):
        def init(key):
            one, two = jax.random.split(key)
            return {"kernel": jax.random.normal(one, (3, 3, 1, 4)) / 3, "w": jax.random.normal(two, (4, task.classes))}

        def apply(params, x):
            h = jax.lax.conv_general_dilated(
                x, params["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            return getattr(jax.nn, activation)(h).mean((1, 2)) @ params["w"]

        return Network(init, apply)

    trials = grid(task="stripes", activation=["relu", "tanh"], architecture=convolution, epochs=30, learning_rate=0.1)
    table = sweep(trials, {"stripes": splits(images, repeats=1)})
    assert set(table["head"]) == {"softmax"}
    assert np.all(table["test_metric"] > 0.8)


@pytest.fixture(scope="module")
def columns():
    """Stochastic gradient descent on XOR with every kind of number; then by AdamW."""
    axes = {"task": "xor", "epochs": 10, "evaluate_every": 10, "metric": "accuracy"}
    trials = grid(
        **axes, activation="relu", optimizer="sgd", learning_rate=[0.5, 1e30], momentum=[0, 0.9], label_noise=[0, 1]
    ) + grid(**axes, activation="tanh", optimizer="adamw", learning_rate=0.1, weight_decay=[0, 0.1], seed=[0, 1])
    return sweep(trials, XOR)


class TestColumns:
    def test_numbers_are_the_optimizers(self, columns):
        """Against `fit` with the optimizers that the columns stand for."""
        sgd, adamw = functools.partial(optax.sgd, momentum=0.9), functools.partial(optax.adamw, weight_decay=0.1)
        for activation, optimizer, chosen in (
            ("relu", sgd, {"momentum": 0.9, "learning_rate": 0.5, "label_noise": 0}),
            ("tanh", adamw, {"weight_decay": 0.1, "seed": 0}),
        ):
            row, network = columns.where(**chosen), mlp((2, 8, 1), activation)
            run = fit(
                jax.random.fold_in(jax.random.key(0), 0), network, xor(), optimizer,
                {"learning_rate": row["learning_rate"][0]}, loss=network.loss, epochs=10,
            )  # fmt: skip
            np.testing.assert_allclose(row["loss"], [run.history.loss[-1]], rtol=1e-4)
        for name, values in {"momentum": (0, 0.9), "weight_decay": (0, 0.1)}.items():
            one, other = (columns.where(**{name: value})["loss"] for value in values)
            assert not np.any(np.isclose(one[:2], other[:2], rtol=1e-3))

    def test_columns_that_a_group_has_not_are_nan(self, columns):
        sgd = columns.where(optimizer="sgd")
        assert np.all(np.isnan(sgd["weight_decay"]))
        assert np.all(np.isfinite(sgd["momentum"]))

    def test_noise_changes_the_labels_that_are_trained_on_and_no_others(self, columns):
        """With two classes, noise of 1 turns every label round."""
        clean, noisy = (
            columns.where(optimizer="sgd", learning_rate=0.5, momentum=0, label_noise=share) for share in (0, 1)
        )
        assert clean["curve_metric"][0, 0] == 1 - noisy["curve_metric"][0, 0]
        assert clean["curve_validation_metric"][0, 0] == noisy["curve_validation_metric"][0, 0]
        assert clean["curve_validation_loss"][0, 0] == noisy["curve_validation_loss"][0, 0]
        assert noisy["loss"] < noisy["validation_loss"]

    def test_a_diverged_run_is_marked_and_leaves_the_others_alone(self, columns):
        sgd = columns.where(optimizer="sgd")
        assert sgd["diverged"].tolist() == [False] * 4 + [True] * 4
        assert np.all(np.isfinite(columns["loss"]))


def test_a_mixture_in_one_of_two_layers_sweeps_and_is_replayed():
    trials = grid(
        task="xor", activation=[["tanh", {"relu": 0.25, "prelu": 0.75}]], hidden=(4, 4), epochs=20, learning_rate=0.1,
        seed=range(2),
    )  # fmt: skip
    found = sweep(trials, XOR)
    assert found["activation"].tolist() == ["tanh, 0.25 relu + 0.75 prelu"] * 2
    assert set(found["hidden"]) == {"4x4"}
    run = replay(trials, XOR, 1)
    for name in CURVES:
        np.testing.assert_allclose(found[f"curve_{name}"][1], getattr(run.history, name), **CLOSE)


def test_a_trial_that_is_replayed_again_compiles_nothing():
    traces = []

    def counted(x):
        traces.append(1)
        return jnp.tanh(x)

    trials = grid(task="xor", activation=counted, epochs=20, learning_rate=[0.1, 0.2], seed=range(2))
    replay(trials, XOR, 0)
    once = len(traces)
    for trial in range(4):
        replay(trials, XOR, trial)
    assert len(traces) == once


def test_tasks_of_different_length_share_a_table_and_no_program(once, programs):
    axes = {"task": "xor", "activation": "tanh", "hidden": 4, "learning_rate": 0.1, "seed": range(2)}
    for epochs in (2, 4):
        trials = Plan(TRIALS.groups[:1]) + grid(**axes, epochs=epochs, evaluate_every=epochs)
        found = sweep(trials, TASKS | XOR, programs=programs)
        assert found["last_step"].tolist() == [18] * 10 + [epochs] * 2
        steps = found["curve_step"]
        assert steps[0].tolist() == [0, 6, 12, 18]
        assert steps[-1, :2].tolist() == [0, epochs]
        assert np.isnan(found["curve_loss"]).sum(axis=1).tolist() == [0] * 10 + [2, 2]
        assert np.isnan(found["test_rows"]).sum(axis=1).tolist() == [0] * 10 + [12, 12]
    assert found.join(found)["trial"].tolist() == list(range(24))


def test_the_batch_size_is_a_static_choice():
    """A group of its own, with its own steps and the numbers of `fit` with this batch size."""
    axes = AXES | {"activation": "tanh", "learning_rate": [0.01, 0.1], "seed": range(5)}
    both = sweep(grid(**axes | {"batch_size": [8, 12]}), TASKS)
    assert both.where(batch_size="12")["curve_step"][0].tolist() == [0, 4, 8, 12]
    assert both.where(batch_size="8")["curve_step"][0].tolist() == [0, 6, 12, 18]
    run, *_ = by_hand(3, batch_size=12)
    np.testing.assert_allclose(both.where(batch_size="12")["curve_loss"][3], run.history.loss, **CLOSE)


@pytest.mark.parametrize("block", [0, -4])
def test_a_block_has_networks(block):
    with pytest.raises(ValueError, match="expected at least 1 network"):
        sweep(TRIALS, TASKS, block=block)


def test_a_gpu_trains_more_networks_at_once(tmp_path, monkeypatch):
    """As many as a CPU's cache holds would leave it waiting for its next kernel."""
    trials = grid(task="xor", hidden=2, activation="tanh", epochs=1, learning_rate=0.1, seed=range(520))
    for backend, blocks in {"cpu": 2, "gpu": 1}.items():
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        sweep(trials, XOR, folder=tmp_path / backend)
        assert len(list((tmp_path / backend / "blocks").iterdir())) == blocks


def test_a_network_that_does_not_fit_the_memory_is_refused_before_anything_is_made():
    with pytest.raises(ValueError, match=r"a network of 4,\d+,\d+,001 parameters needs about .* GiB .* are free; take"):
        sweep(grid(task="xor", hidden=10**9, learning_rate=0.1), XOR)
