"""This package and its rivals: each trains the same networks on the same minibatches from the same weights.

Weights travel as [W₁, b₁, W₂, ...] with the networks first, (networks, fan_in, fan_out) and (networks, fan_out).
Rivals are imported inside the functions, so that the absent ones can be skipped and a process loads only its own.
"""

import os
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from rivals.jobs import Outcome


class System(NamedTuple):
    """Who trains: `prepare(job, start, rows, order)` -> (train(epochs) -> weights or Outcome, predict(x) or None)."""

    label: str
    modules: tuple
    prepare: Callable
    alone: bool = False  # one network after another


@cache
def program(job):
    """Our side, compiled: (weights, key, rate, order, x, y) -> Outcome of a block of networks that share the order."""
    import jax
    import jax.numpy as jnp
    import optax

    import jaxnn

    network, make_optimizer = jaxnn.mlp(job.sizes, job.activation), getattr(optax, job.optimizer)

    def accuracy(scores, labels):
        return jnp.mean(jnp.argmax(scores, -1) == labels)

    def train(params, key, rate, order, x, y):
        run = jaxnn.fit(
            key, network, (x, y), make_optimizer, {"learning_rate": rate}, params=params, order=order,
            loss=network.loss, metric=accuracy, epochs=job.epochs, evaluate_every=job.epochs, batch_size=job.batch,
        )  # fmt: skip
        return Outcome(run.history.loss[-1], run.history.metric[-1])

    return jax.jit(train if job.networks == 1 else jaxnn.spread(train, (-1, *[None] * 5)))


def ours(job, start, rows, order):
    import jax

    import jaxnn

    network, key, block = jaxnn.mlp(job.sizes, job.activation), jax.random.key(job.seed), min(job.block, job.networks)

    @jax.jit
    def draw(ids):
        return jax.vmap(lambda i: network.init(jax.random.fold_in(key, i)), out_axes=-1)(ids)

    def given(i):
        arrays = [jax.numpy.array(a[i] if block == 1 else np.moveaxis(a[i : i + block], 0, -1)) for a in start]
        return tuple(jaxnn.Layer(w, b) for w, b in zip(arrays[::2], arrays[1::2], strict=True))

    def drawn(i):  # None: `fit` draws them
        return None if block == 1 else draw(np.arange(i, i + block))

    firsts = range(0, job.networks, block)
    starts = [] if start is None else [given(i) for i in firsts]

    def train(epochs):
        run = program(job._replace(networks=block, epochs=epochs))
        steps = order if order is None else order[: epochs * (len(rows[0]) // job.batch)]
        # A block's outcome is fetched before the next one starts: memory stays that of one block.
        outcomes = [
            jax.device_get(run(params, key, np.float32(job.rate), steps, *rows))
            for params in starts or map(drawn, firsts)
        ]
        return Outcome(*(np.concatenate([np.atleast_1d(a) for a in parts]) for parts in zip(*outcomes, strict=True)))

    predict = jax.jit(network.predict)
    return train, lambda x: np.asarray(predict(starts[0], x))


def batches(x, y, order, epochs):
    """The rows of every step."""
    if order is None:
        return ((x, y) for _ in range(epochs))
    return ((x[rows], y[rows]) for rows in order[: epochs * (len(x) // order.shape[1])])


def scikit_learn(job, start, rows, order):
    from sklearn.neural_network import MLPClassifier

    warnings.filterwarnings("ignore", "Stochastic Optimizer")
    (x, y), size, binary = rows, job.batch or len(rows[0]), job.sizes[-1] == 2
    # It gives two classes one score.
    start = [*start[:-2], *(a[..., 1:] - a[..., :1] for a in start[-2:])] if binary else start

    def model_of(network, epochs):
        model = MLPClassifier(
            job.sizes[1:-1], activation=job.activation, solver=job.optimizer, learning_rate_init=job.rate, alpha=0,
            batch_size=size, max_iter=epochs, tol=0, n_iter_no_change=10**9, shuffle=False, momentum=0,
        )  # fmt: skip
        model.partial_fit(x[:size], y[:size], classes=np.unique(y)).set_params(warm_start=True)
        model.coefs_, model.intercepts_ = ([a[network].copy() for a in start[i::2]] for i in (0, 1))
        return model

    def train(epochs):
        # All minibatches are one long epoch: its own shuffling would give it another order.
        xs, ys = rows if order is None else (a[order[: epochs * job.steps].ravel()] for a in rows)
        models = [model_of(i, epochs if order is None else 1).fit(xs, ys) for i in range(job.networks)]
        layers = [a for layer in zip(models[-1].coefs_, models[-1].intercepts_, strict=True) for a in layer]
        layers[-2:] = [np.concatenate([0 * a, a], axis=-1) for a in layers[-2:]] if binary else layers[-2:]
        return [a[None] for a in layers]

    return train, model_of(0, 1).predict


def torch_optimizer(job, params, fused=True):
    import torch

    return getattr(torch.optim, {"adam": "Adam", "sgd": "SGD"}[job.optimizer])(params, lr=job.rate, fused=fused)


def torch_ready():
    """PyTorch, on the GPU where there is one, with products as precise as JAX's: TF32, or float32 where that is set."""
    import torch

    if torch.cuda.is_available():
        torch.set_default_device("cuda")
        asked = os.environ.get("JAX_DEFAULT_MATMUL_PRECISION")
        torch.set_float32_matmul_precision("highest" if asked in ("highest", "float32") else "high")
    return torch


def torch_rows(rows, order):
    torch = torch_ready()
    return torch.tensor(rows[0]), torch.tensor(rows[1]).long(), order if order is None else torch.tensor(order)


def torch_module(job, start, network=0):
    from torch import nn, tensor

    model = nn.Sequential()
    for w, b in zip(start[::2], start[1::2], strict=True):
        if len(model):
            model.append({"tanh": nn.Tanh, "relu": nn.ReLU}[job.activation]())
        model.append(nn.Linear(*w.shape[1:]))
        model[-1].weight.data, model[-1].bias.data = tensor(w[network].T.copy()), tensor(b[network])
    return model


def torch_eager(job, start, rows, order, fused):
    import torch

    x, y, order = torch_rows(rows, order)

    def train(epochs):
        for network in range(job.networks):
            model = torch_module(job, start, network)
            optimizer = torch_optimizer(job, model.parameters(), fused)
            for xs, ys in batches(x, y, order, epochs):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(xs), ys).backward()
                optimizer.step()
        return [p.detach().cpu().numpy().T[None] for p in model.parameters()]

    model = torch_module(job, start)

    def predict(x):
        with torch.inference_mode():
            return model(torch.as_tensor(x)).argmax(1).cpu().numpy()

    return train, predict


def torch_baddbmm(job, start, rows, order):
    import torch

    x, y, order = torch_rows(rows, order)
    activation, n = getattr(torch, job.activation), job.networks

    def mean_losses(params, xs, ys):
        h = xs.expand(n, *xs.shape)
        for i in range(0, len(params), 2):
            h = torch.baddbmm(params[i + 1][:, None], activation(h) if i else h, params[i])
        return torch.nn.functional.cross_entropy(h.flatten(0, 1), ys.repeat(n), reduction="sum") / len(xs)

    def train(epochs):
        params = [torch.tensor(a).requires_grad_() for a in start]
        optimizer = torch_optimizer(job, params)
        for xs, ys in batches(x, y, order, epochs):
            optimizer.zero_grad()
            mean_losses(params, xs, ys).backward()
            optimizer.step()
        return [p.detach().cpu().numpy() for p in params]

    return train, None


def torch_func(job, start, rows, order):
    import torch
    from torch.func import functional_call, grad, vmap

    x, y, order = torch_rows(rows, order)
    model = torch_module(job, start)

    def loss(params, xs, ys):
        return torch.nn.functional.cross_entropy(functional_call(model, params, (xs,)), ys)

    gradients = vmap(grad(loss), in_dims=(0, None, None))

    def train(epochs):
        names = [name for name, _ in model.named_parameters()]
        params = {name: torch.tensor(a.swapaxes(1, -1).copy()) for name, a in zip(names, start, strict=True)}
        optimizer = torch_optimizer(job, params.values())
        for xs, ys in batches(x, y, order, epochs):
            for name, gradient in gradients(params, xs, ys).items():
                params[name].grad = gradient
            optimizer.step()
        return [p.swapaxes(1, -1).cpu().numpy() for p in params.values()]

    return train, None


def jax_loss(scores, labels):
    import optax

    return optax.losses.softmax_cross_entropy_with_integer_labels(scores, labels).mean()


def jax_vmap(job, start, rows, order):
    import jax
    import optax

    activation, optimizer = getattr(jax.nn, job.activation), getattr(optax, job.optimizer)(job.rate)

    def apply(params, x):
        for i in range(0, len(params), 2):
            x = (activation(x) if i else x) @ params[i] + params[i + 1]
        return x

    def step(params, state, x, y):
        gradient = jax.grad(lambda p: jax_loss(apply(p, x), y))(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state

    steps = jax.jit(jax.vmap(step, (0, 0, None, None)), donate_argnums=(0, 1))
    states, predict = jax.jit(jax.vmap(optimizer.init)), jax.jit(lambda p, x: apply(p, x).argmax(-1))

    def train(epochs):
        params = [jax.numpy.array(a) for a in start]
        state = states(params)
        for xs, ys in batches(*rows, order, epochs):
            params, state = steps(params, state, xs, ys)
        return [np.asarray(a) for a in params]

    one = [jax.numpy.array(a[0]) for a in start]
    return train, lambda x: np.asarray(predict(one, x))


def flax_nnx(job, start, rows, order):
    import jax
    import optax
    from flax import nnx

    update = getattr(optax, job.optimizer)(job.rate)

    def module(network):
        layers = []
        for w, b in zip(start[::2], start[1::2], strict=True):
            linear = nnx.Linear(*w.shape[1:], rngs=nnx.Rngs(0))
            linear.kernel[...], linear.bias[...] = w[network], b[network]
            layers += [getattr(jax.nn, job.activation), linear]
        return nnx.Sequential(*layers[1:])

    @nnx.jit
    def step(model, optimizer, x, y):
        optimizer.update(model, nnx.grad(lambda model: jax_loss(model(x), y))(model))

    def train(epochs):
        for network in range(job.networks):
            model = module(network)
            fast_step = nnx.cached_partial(step, model, nnx.Optimizer(model, update, wrt=nnx.Param))
            for xs, ys in batches(*rows, order, epochs):
                fast_step(xs, ys)
        linear = model.layers[::2]
        return [np.asarray(a[...])[None] for layer in linear for a in (layer.kernel, layer.bias)]

    predict = nnx.cached_partial(nnx.jit(lambda model, x: model(x).argmax(-1)), module(0))
    return train, lambda x: np.asarray(predict(x))


def equinox_loop(job, start, rows, order):
    import equinox
    import jax
    import optax

    optimizer = getattr(optax, job.optimizer)(job.rate)

    def module(network):
        hidden, activation = job.sizes[1:-1], getattr(jax.nn, job.activation)
        mlp = equinox.nn.MLP(job.sizes[0], job.sizes[-1], hidden[0], len(hidden), activation, key=jax.random.key(0))
        arrays = [jax.numpy.array(a[network].T) for a in start]
        return equinox.tree_at(lambda m: [a for layer in m.layers for a in (layer.weight, layer.bias)], mlp, arrays)

    @equinox.filter_jit
    def step(model, state, x, y):
        gradient = equinox.filter_grad(lambda model: jax_loss(jax.vmap(model)(x), y))(model)
        updates, state = optimizer.update(gradient, state)
        return equinox.apply_updates(model, updates), state

    def train(epochs):
        for network in range(job.networks):
            model = module(network)
            state = optimizer.init(equinox.filter(model, equinox.is_array))
            for xs, ys in batches(*rows, order, epochs):
                model, state = step(model, state, xs, ys)
        return [np.asarray(a).T[None] for layer in model.layers for a in (layer.weight, layer.bias)]

    predict, one = equinox.filter_jit(lambda model, x: jax.vmap(model)(x).argmax(-1)), module(0)
    return train, lambda x: np.asarray(predict(one, x))


SYSTEMS = {
    "jaxnn": System("jaxnn", ("jax", "optax", "jaxnn"), ours),
    "sklearn": System("scikit-learn", ("sklearn.neural_network",), scikit_learn, alone=True),
    "torch": System("PyTorch eager", ("torch",), partial(torch_eager, fused=False), alone=True),
    "torch-fused": System("PyTorch eager, fused", ("torch",), partial(torch_eager, fused=True), alone=True),
    "baddbmm": System("PyTorch baddbmm", ("torch",), torch_baddbmm),
    "func": System("torch.func", ("torch",), torch_func),
    "vmap": System("jit(vmap(step))", ("jax", "optax"), jax_vmap),
    "nnx": System("Flax nnx", ("jax", "optax", "flax"), flax_nnx, alone=True),
    "equinox": System("Equinox", ("jax", "optax", "equinox"), equinox_loop, alone=True),
}
