"""A block that is found is the right one, whole; a name stands for all that the numbers depend on."""

import errno
import functools
import os
import signal
import subprocess
import sys

import equinox
import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import ACTIVATIONS, HEADS, get_activation
from jaxnn.lab import store

ARRAYS = {"loss": np.array([0.5, 0.25], np.float32), "diverged": np.array([True, False]), "curve": np.ones((2, 3))}
ABOUT = {"jax": "0.10.2"}
SCALE = 2.0


def helper(x):
    return jnp.sin(x)


def scaled(scale):
    def decorate(fn):
        @functools.wraps(fn)
        def wrapped(x):
            return scale * fn(x)

        return wrapped

    return decorate


def ruled(rule):
    function = jax.custom_jvp(lambda x: x)
    function.defjvp(rule)
    return function


class Plain:
    def __init__(self, width):
        self.width = width

    def apply(self, params, x):
        return x @ params[: self.width]


class Flax(flax.linen.Module):
    width: int
    activation: object = flax.linen.relu

    @flax.linen.compact
    def __call__(self, x):
        return flax.linen.Dense(1)(self.activation(flax.linen.Dense(self.width)(x)))


def equinox_model(width, activation=jax.nn.relu):
    model = equinox.nn.MLP(2, 1, width, 1, activation, key=jax.random.key(0))
    static = equinox.partition(model, equinox.is_array)[1]
    return lambda params, x: jax.vmap(equinox.combine(params, static))(x)


def recursive(x):
    return recursive(x - 1) if x else helper(x)


# Each function makes something new every time; no two of them make the same.
DIFFERENT = {
    "function called": lambda: lambda x: jnp.sin(x),
    "another function called": lambda: lambda x: jnp.tanh(x),
    "constant": lambda: lambda x: jnp.sin(x) + 1,
    "another constant": lambda: lambda x: jnp.sin(x) + 2,
    "default": lambda: lambda x, a=1: a * x,
    "another default": lambda: lambda x, a=2: a * x,
    "keyword default": lambda: lambda x, *, a=1: a * x,
    "another keyword default": lambda: lambda x, *, a=2: a * x,
    "closure": lambda: scaled(2)(helper),
    "another closure": lambda: scaled(3)(helper),
    "large array": lambda: functools.partial(jnp.add, jnp.zeros(5000)),
    "another large array": lambda: functools.partial(jnp.add, jnp.zeros(5000).at[2500].set(1)),
    "inner function": lambda: lambda x: (lambda z: jnp.sin(z))(x),
    "another inner function": lambda: lambda x: (lambda z: jnp.cos(z))(x),
    "global function": lambda: lambda x: helper(x),
    "global number": lambda: lambda x: SCALE * x,
    "recursive": lambda: recursive,
    "compiled": lambda: jax.jit(lambda x: jnp.sin(x)),
    "another compiled": lambda: jax.jit(lambda x: jnp.cos(x)),
    "derivative": lambda: ruled(lambda x, t: (x[0], t[0])),
    "another derivative": lambda: ruled(lambda x, t: (x[0], 2 * t[0])),
    "key": lambda: functools.partial(jax.random.normal, jax.random.key(0)),
    "another key": lambda: functools.partial(jax.random.normal, jax.random.key(1)),
    "method": lambda: Plain(4).apply,
    "another object's method": lambda: Plain(8).apply,
    "flax": lambda: Flax(4).apply,
    "another width in flax": lambda: Flax(8).apply,
    "another activation in flax": lambda: Flax(4, flax.linen.tanh).apply,
    "equinox": lambda: equinox_model(4),
    "another width in equinox": lambda: equinox_model(8),
    "another activation in equinox": lambda: equinox_model(4, jax.nn.tanh),
    "optimizer": lambda: functools.partial(optax.sgd, momentum=0.9),
    "another optimizer": lambda: functools.partial(optax.sgd, momentum=0.8),
    "activation": lambda: get_activation("relu"),
    "all activations": lambda: tuple(ACTIVATIONS.values()),
    "heads": lambda: HEADS,
    "array": lambda: np.zeros(2, np.float32),
    "other dtype": lambda: np.zeros(2, np.int32),
    "other shape": lambda: np.zeros((2, 1), np.float32),
    "text": lambda: "1",
    "number": lambda: 1,
    "nothing": lambda: None,
}


class TestDigest:
    def test_equal_things_have_one_name_and_different_ones_two(self):
        names = {what: store.digest(make()) for what, make in DIFFERENT.items()}
        assert len(set(names.values())) == len(DIFFERENT)
        assert names == {what: store.digest(make()) for what, make in DIFFERENT.items()}

    def test_a_global_counts(self, monkeypatch):
        before = [store.digest(DIFFERENT[what]()) for what in ("global number", "global function")]
        monkeypatch.setitem(globals(), "SCALE", 3.0)
        monkeypatch.setitem(globals(), "helper", lambda x: jnp.cos(x))
        after = [store.digest(DIFFERENT[what]()) for what in ("global number", "global function")]
        assert not set(before) & set(after)

    def test_is_the_same_in_another_process_and_after_use(self, tmp_path):
        """Python specializes the code of a function that is called often."""
        tmp_path.joinpath("theirs.py").write_text(
            "S = 2.0\ndef helper(x):\n    return S * x\ndef act(x, *, a={'b': 1}):\n    return [helper(z) for z in x]\n"
        )
        code = (
            f"import sys, importlib.util as u; sys.path.insert(0, {str(tmp_path)!r}); import theirs\n"
            f"spec = u.spec_from_file_location('store', {store.__file__!r}); store = u.module_from_spec(spec)\n"
            "spec.loader.exec_module(store); print(store.digest(theirs.act, {'x': (1.5, None)}))\n"
            "[theirs.act([1.0, 2.0]) for _ in range(5000)]; print(store.digest(theirs.act, {'x': (1.5, None)}))"
        )
        names = [
            name
            for seed in "01"
            for name in subprocess.check_output(
                [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, text=True
            ).split()
        ]
        assert len(names) == 4
        assert len(set(names)) == 1


@pytest.fixture
def block(tmp_path):
    path = tmp_path / "blocks" / "a.npz"
    store.save(path, ARRAYS, ABOUT)
    return path


def same(found):
    return found.keys() == ARRAYS.keys() and all(
        found[name].dtype == a.dtype and np.array_equal(found[name], a) for name, a in ARRAYS.items()
    )


class TestFiles:
    def test_what_is_saved_is_loaded(self, block):
        assert same(store.load(block, ABOUT))
        assert store.load(block, {"jax": "0.12.0"}) is None
        assert store.load(block.with_name("b.npz"), ABOUT) is None
        with np.load(block) as archive:  # an ordinary one
            assert set(archive) == {*ARRAYS, "about"}

    def test_any_damage_is_noticed(self, block, monkeypatch):
        """A bit flipped in every byte, every length; the checksums of zip miss some of that."""
        whole = block.read_bytes()
        for place in range(len(whole)):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << place % 8
            for damaged in (bytes(flipped), whole[:place]):
                monkeypatch.setattr(type(block), "read_bytes", lambda _, damaged=damaged: damaged)
                assert store.load(block, ABOUT) is None
        monkeypatch.undo()
        assert same(store.load(block, ABOUT))

    def test_another_blocks_file_is_noticed(self, block):
        other = block.with_name("b.npz")
        os.replace(block, other)
        assert store.load(other, ABOUT) is None

    @pytest.mark.parametrize("failing", ["fsync", "replace"])
    def test_a_full_disk_leaves_what_was_there(self, block, failing, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, failing, full)
        for name in ("a.npz", "b.npz"):
            with pytest.raises(OSError, match="No space left on device"):
                store.save(block.with_name(name), ARRAYS | {"loss": np.zeros(2)}, ABOUT)
        assert [path.name for path in block.parent.iterdir()] == ["a.npz"]
        assert same(store.load(block, ABOUT))


class TestExclusive:
    def test_one_at_a_time(self, tmp_path):
        with store.exclusive(tmp_path / "new"):
            refused = pytest.raises(ValueError, match="new is in use by another run; wait for it, or choose another")
            with refused, store.exclusive(tmp_path / "new"):
                pass
            with store.exclusive(tmp_path / "other"):
                pass
        with store.exclusive(tmp_path / "new"):
            pass

    def test_the_lock_ends_with_its_process_however_that_ends(self, tmp_path):
        code = (
            f"import importlib.util as u; spec = u.spec_from_file_location('store', {store.__file__!r})\n"
            "store = u.module_from_spec(spec); spec.loader.exec_module(store)\n"
            f"with store.exclusive(store.Path({str(tmp_path)!r})): print('held', flush=True); input()"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"held\n"
            with pytest.raises(ValueError, match="is in use by another run"), store.exclusive(tmp_path):
                pass
            process.send_signal(signal.SIGKILL)
        with store.exclusive(tmp_path):
            pass
