"""Activations as text: how they stand in tables and commands, and what such text means."""

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from jaxnn.activations import Activation
from jaxnn.activations import get as get_activation


def spelled(activation) -> str:
    """An activation as it stands in tables: its name, its shares, or one of these for every layer.

    >>> spelled({"relu": 0.5, "tanh": 0.5}), spelled(["relu", "tanh"])
    ('0.5 relu + 0.5 tanh', 'relu, tanh')
    """
    if is_shares(activation):
        return " + ".join(f"{float(share)} {spelled(a)}" for a, share in dict(activation).items())
    if isinstance(activation, Sequence) and not isinstance(activation, str | Activation):
        return ", ".join(map(spelled, activation))
    return get_activation(activation).name


def read(text: Any) -> Any:
    """What text means: a name, `module:function`, shares, or one of these for every layer; not text, as it is.

    >>> read("gelu"), read("0.5 relu + 0.5 tanh"), read("relu, tanh")
    ('gelu', {'relu': 0.5, 'tanh': 0.5}, ['relu', 'tanh'])
    >>> read("numpy:tanh")
    <ufunc 'tanh'>
    """
    if not isinstance(text, str):
        return text
    if "," in text:
        return [read(part.strip()) for part in text.split(",")]
    if "+" in text:
        try:
            shares = [part.split() for part in text.split(" + ")]
            return {read(name): float(share) for share, name in shares}
        except ValueError:
            raise ValueError(f"activation {text!r}; expected shares and names, as '0.5 relu + 0.5 tanh'") from None
    if ":" not in text:
        return text
    module, _, name = text.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"activation {text!r}: {error}; expected module:function of something to import") from None


def written(activation) -> str:
    """Text that `read` understands: that of `spelled`, with `module:function` for a function of one's own.

    >>> from jax.nn import relu6
    >>> written(["relu", "tanh"]), written(read("numpy:tanh"))
    ('relu, tanh', 'numpy:tanh')
    """
    if is_shares(activation):
        return " + ".join(f"{float(share)} {written(a)}" for a, share in dict(activation).items())
    if isinstance(activation, Sequence) and not isinstance(activation, str | Activation):
        return ", ".join(map(written, activation))
    if isinstance(activation, str | Activation):
        return get_activation(activation).name
    module = inspect.getmodule(activation)
    name = getattr(activation, "__name__", "")
    return f"{module.__name__}:{name}" if module and getattr(module, name, None) is activation else spelled(activation)


def is_shares(activation) -> bool:
    """Is it a mapping from activation to share, or what `frozen` makes of one?"""
    return isinstance(activation, Mapping) or (
        isinstance(activation, tuple)
        and all(isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], float) for pair in activation)
    )


def frozen(value):
    """Lists and mappings as tuples, which can be hashed; a named tuple stays what it is.

    >>> frozen({"relu": 0.5, "tanh": 0.5})
    (('relu', 0.5), ('tanh', 0.5))
    """
    if isinstance(value, Mapping):
        return tuple((frozen(activation), float(share)) for activation, share in value.items())
    return tuple(map(frozen, value)) if type(value) in (list, tuple) else value


def thawed(activation):
    """An activation as `mlp` takes it: of what `frozen` makes.

    >>> thawed(frozen({"relu": 0.5, "tanh": 0.5}))
    {'relu': 0.5, 'tanh': 0.5}
    """
    if is_shares(activation):
        return dict(activation)
    return [thawed(a) for a in activation] if isinstance(activation, tuple) else activation
