"""Depth without an activation buys nothing: eight linear layers are one linear layer, and one ReLU changes that.

    python experiments/linear_stack.py [--quick] [--depths D ...] [--width H] [--seeds N] [--steps N]
                                       [--learning-rate RATE] [--seed SEED] [--out FOLDER]

Trains networks of D linear layers with the identity between them, and the same networks with ReLU after the first layer
only, on moons, circles, spirals and noisy XOR: softmax head, full batch, Adam. Every seed draws its own rows, split and
weights, the same ones for every depth; all seeds of all tasks train in one compiled program for each network.

Prints, for each task and depth, the loss on the training rows and the accuracy on untouched test rows, mean and range
over the seeds, and how far the scores of the collapsed stack, the one layer W = W₁W₂…, are from those of the stack:
max |S − S′| / max |S|, float32, the largest over all seeds. Draws linear_stack.png into the folder.
"""

import sys
import time
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import options

from jaxnn import collapse, get_metric, lab
from jaxnn.lab.progress import Progress

TASKS = ("moons", "circles", "spirals", "noisy-xor")
KINDS = {"identity": "identity", "relu": "one ReLU"}
QUICK = {"depths": [1, 2, 4], "width": 4, "seeds": 3, "steps": 300}
FULL = {"depths": list(range(1, 9)), "width": 16, "seeds": 20, "steps": 1000}


class Measured(NamedTuple):
    """Of one network; arrays of shape (tasks, seeds)."""

    loss: np.ndarray  # mean on the training rows
    accuracy: np.ndarray  # on the test rows
    apart: np.ndarray  # the collapsed layer's scores from the stack's, relative to their size; NaN with a ReLU


def rows(name, seed, seeds):
    """The first split of as many tables as there are seeds."""
    return lab.stack([lab.splits(lab.task(name, seed=one), repeats=1, seed=one).take([0])
                      for one in range(seed * seeds, (seed + 1) * seeds)])  # fmt: skip


def measure(built, run, parts):
    """Loss on the training rows, accuracy on the test rows, and how far the collapsed layer is from a linear stack."""
    network, (x, y) = built.network, parts.test
    accuracy = get_metric("accuracy").fn(built.head.probabilities(network.apply(run.params, x)), y)
    apart = jnp.nan
    if {part.activation.name for layer in network.layers for part in layer} <= {"identity"}:
        scores, one = network.apply(run.params, x), collapse(run.params)
        apart = jnp.max(jnp.abs(x @ one.weight + one.bias - scores)) / jnp.max(jnp.abs(scores))
    return Measured(run.history.loss[-1], accuracy, jnp.float32(apart))._asdict()


def sweep(depths, width, seeds, steps, rate, seed):
    """{(kind, depth): Measured}."""
    tasks = {name: rows(name, seed, seeds) for name in TASKS}
    numbers = {"split": np.arange(seeds), "seed": np.arange(seeds), "learning_rate": np.full(seeds, rate)}
    jobs = [(kind, depth) for kind in KINDS for depth in depths if depth > 1 or kind == "identity"]

    def group(kind, depth, task):
        activations = (kind, *["identity"] * depth)[: depth - 1]
        recipe = lab.Recipe(hidden=(width,) * (depth - 1), head="softmax", epochs=steps, evaluate_every=steps,
                            batch_size=tasks[task].train_rows)  # fmt: skip
        return lab.Group(task, activations, recipe, numbers)

    plan = lab.Plan(tuple(group(*job, task) for job in jobs for task in TASKS))
    progress = Progress(plan.size, "networks", sys.stderr)
    table = lab.sweep(plan, tasks, measure=measure, seed=seed, progress=progress)
    progress.close()
    found = {name: table[name].reshape(len(jobs), len(TASKS), seeds) for name in Measured._fields}
    return {job: Measured(*(values[i] for values in found.values())) for i, job in enumerate(jobs)}


def report(results):
    """Print a line for each task and network, then what the identity and the ReLU came to."""
    print(f"{'task':10} {'between layers':15} {'layers':>6}   {'training loss':22}   {'test accuracy':22}   collapsed")
    for t, task in enumerate(TASKS):
        for (kind, depth), measured in results.items():
            loss, accuracy = (
                f"{values[t].mean():.3f} ({values[t].min():.3f} to {values[t].max():.3f})" for values in measured[:2]
            )
            apart = "" if np.isnan(measured.apart).all() else f"{measured.apart[t].max():.1e}"
            between = "nothing" if depth == 1 else KINDS[kind]
            print(f"{task:10} {between:15} {depth:6}   {loss:22}   {accuracy:22}   {apart:>9}")
    one = results["identity", 1]
    stacks = [m for (kind, depth), m in results.items() if kind == "identity" and depth > 1]
    bent = [m for (kind, _), m in results.items() if kind == "relu"]
    apart = max(m.apart.max() for m in stacks)
    print(f"\nidentity: collapsed scores differ by at most {apart:.1e} of the largest score,")
    print(f"{apart / np.finfo(np.float32).eps:.0f} times the float32 epsilon of {np.finfo(np.float32).eps:.1e}")
    print("more than one layer against one layer, on the same rows (mean over depths and seeds):")
    for t, task in enumerate(TASKS):
        for name, group in (("identity", stacks), ("one ReLU", bent)):
            loss, gain = (np.mean([m[i][t] - one[i][t] for m in group]) for i in (0, 1))
            print(f"  {task:10} {name:9} training loss {loss:+.4f}, test accuracy {gain:+.4f}")


def draw(path, results, seeds):
    """Accuracy against depth for every task, and below it the distance of the collapsed scores."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.4), layout="constrained")
    panels = figure.subplots(2, len(TASKS), sharex=True, sharey="row", height_ratios=[1.6, 1])
    depths = [depth for kind, depth in results if kind == "identity"]
    for t, (task, (above, below)) in enumerate(zip(TASKS, panels.T, strict=True)):
        for kind, style, shift in (("identity", "o--", 0.0), ("relu", "s-", 0.12)):
            of_kind = {depth: m.accuracy[t] for (k, depth), m in results.items() if k == kind}
            mean = np.array([a.mean() for a in of_kind.values()])
            reach = [mean - [a.min() for a in of_kind.values()], [a.max() for a in of_kind.values()] - mean]
            above.errorbar(
                np.array(list(of_kind)) + shift, mean, np.maximum(reach, 0), fmt=style, capsize=3, color="black",
                markerfacecolor="white" if kind == "identity" else "black", label=KINDS[kind],
            )  # fmt: skip
        above.set(title=task, ylim=(0.25, 1.03))
        apart = [results["identity", depth].apart[t].max() for depth in depths[1:]]
        below.plot(depths[1:], apart, "kv--", label="largest over seeds", markerfacecolor="white")
        below.axhline(np.finfo(np.float32).eps, color="0.5", linestyle=":", label="float32 epsilon")
        below.set(yscale="log", ylim=(1e-8, 1e-4), xlabel="linear layers", xticks=depths)
    panels[0, 0].set_ylabel(f"test accuracy\n(mean, range over {seeds} seeds)")
    panels[1, 0].set_ylabel("collapsed scores:\nrelative difference")
    panels[0, -1].legend(loc="lower right", frameon=False)
    panels[1, 0].legend(loc="upper left", frameon=False, fontsize=9)
    figure.suptitle("Linear layers in a row are one linear layer; one ReLU between them is enough to make a network")
    figure.savefig(path, dpi=110)


def parse(arguments):
    parser = options.parser(__doc__, "three depths, 3 seeds, 300 steps: seconds")
    parser.add_argument("--depths", nargs="+", type=int, metavar="D", help="default: 1 to 8; 1 is always among them")
    parser.add_argument("--width", type=int, help="of every layer but the last; default: 16, quick 4")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--learning-rate", type=float, default=0.03)
    args = options.parsed(parser, arguments, FULL, QUICK)
    if min(args.seeds, args.width, args.steps, *args.depths) < 1 or not args.learning_rate > 0:
        parser.error("depths, width, seeds and steps are at least 1, the learning rate above 0")
    args.depths = sorted({1, *args.depths})
    if len(args.depths) == 1:
        parser.error("at least one depth above 1 is needed to compare with one layer")
    return args


def main(arguments=None):
    args = parse(arguments)
    start = time.perf_counter()
    lab.use_all_cores()
    results = sweep(args.depths, args.width, args.seeds, args.steps, args.learning_rate, args.seed)
    report(results)
    draw(args.out / "linear_stack.png", results, args.seeds)
    runs = len(results) * len(TASKS) * args.seeds
    print(f"\n{runs:,} networks x {args.steps:,} steps in {time.perf_counter() - start:.0f} s; ", end="")
    print(f"figure: {args.out / 'linear_stack.png'}")


if __name__ == "__main__":
    main()
