"""Heads compared: what turns scores into probabilities, what it minimises, and what the probabilities are worth.

    python experiments/heads.py [--quick] [--tasks NAME ...] [--width H] [--seeds N] [--steps N]
                                [--learning-rate RATE] [--seed SEED] [--out FOLDER]

Trains a network of one hidden layer of tanh with every head, full batch, Adam, each head with its own loss; every seed
draws its own split (60 % of the rows to train on, 40 % untouched) and weights, the same split for every head; all seeds
of a task and head train in one compiled program.

Prints, for each task and head, on the untouched rows: accuracy, log-likelihood (the mean of log p_y over the rows with
p_y > 0), calibration error, the share of rows with p_y = 0, and the share of all probabilities that are zero: mean over
the seeds ± half the 95 % interval (Student's t). Then, on moons:
- sigmoid with the score z against softmax with the scores (0, z), from the same weights: the largest difference of the
  losses and of the weights over a whole run, float32;
- the norm of the gradient of the loss and of the accuracy with respect to the weights over a run. The accuracy counts
  rows: it is flat wherever it has a slope, and can only be reported.
Draws heads.png into the folder.
"""

import sys
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import options

from jaxnn import HEADS, get_dataset, get_metric, lab, mlp, spread
from jaxnn.lab.progress import Progress

QUICK = {"tasks": ["moons"], "width": 4, "seeds": 5, "steps": 100}
FULL = {"tasks": ["moons", "breast-cancer", "iris", "spirals-3"], "width": 16, "seeds": 20, "steps": 1000}


class Measured(NamedTuple):
    """On the untouched rows; arrays of shape (seeds,)."""

    accuracy: np.ndarray
    log_likelihood: np.ndarray  # over the rows with p_y > 0
    calibration_error: np.ndarray
    impossible: np.ndarray  # share of rows with p_y = 0
    zeros: np.ndarray  # share of zero probabilities, of all classes


def rows(name, seed, seeds):
    """The first split of as many tables as there are seeds; a table that is not drawn is the same, split anew."""
    return lab.stack([lab.splits(lab.task(name, seed=one), repeats=1, seed=one).take([0])
                      for one in range(seed * seeds, (seed + 1) * seeds)])  # fmt: skip


def measure(built, run, parts):
    """Every number of the table, on the rows that were not trained on."""
    x, labels = (jnp.concatenate(both) for both in zip(parts.validation, parts.test, strict=True))
    probabilities = built.head.probabilities(built.network.apply(run.params, x))
    metrics = {name: get_metric(name).fn for name in ("accuracy", "calibration_error", "zero_probability_share")}
    numbers = {name: metric(probabilities, labels) for name, metric in metrics.items()}
    p_true = jnp.sum(jax.nn.one_hot(labels, probabilities.shape[-1]) * probabilities, axis=-1)
    likelihood = get_metric("log_likelihood").fn(probabilities, labels, (p_true > 0).astype(probabilities.dtype))
    zeros = jnp.mean((probabilities == 0).astype(jnp.float32))
    return Measured(
        numbers["accuracy"], likelihood, numbers["calibration_error"], numbers["zero_probability_share"], zeros
    )._asdict()


def sweep(tasks, width, seeds, steps, rate, seed):
    """{(task, head): Measured}."""
    found = {name: rows(name, seed, seeds) for name in tasks}
    jobs = [(task, head) for task in tasks for head in HEADS if head != "sigmoid" or found[task].task.classes == 2]
    numbers = {"split": np.arange(seeds), "seed": np.arange(seeds), "learning_rate": np.full(seeds, rate)}

    def group(task, head):
        recipe = lab.Recipe(hidden=(width,), head=head, epochs=steps, evaluate_every=steps,
                            batch_size=found[task].train_rows)  # fmt: skip
        return lab.Group(task, "tanh", recipe, numbers)

    plan = lab.Plan(tuple(group(*job) for job in jobs))
    progress = Progress(plan.size, "networks", sys.stderr)
    table = lab.sweep(plan, found, measure=measure, seed=seed, progress=progress)
    progress.close()
    columns = [table[name].reshape(len(jobs), seeds) for name in Measured._fields]
    return {job: Measured(*(column[i] for column in columns)) for i, job in enumerate(jobs)}


def half_interval(values):
    """Half of the 95 % interval of the mean, axis last: t s / √n."""
    from scipy.stats import t

    n = values.shape[-1]
    return t.ppf(0.975, n - 1) * values.std(axis=-1, ddof=1) / np.sqrt(n)


def report(results):
    """Print a line for each task and head."""
    print(
        f"{'task':14} {'head':15} {'accuracy':15} {'log-likelihood':16} {'calibration err.':17} {'p_y = 0':15} p_k = 0"
    )
    for (task, head), measured in results.items():
        cells = [f"{values.mean():.3f} ± {half_interval(values):.3f}" for values in measured]
        print(f"{task:14} {head:15} {cells[0]:15} {cells[1]:16} {cells[2]:17} {cells[3]:15} {cells[4]}")


class Trajectory(NamedTuple):
    """Before every step; runs last."""

    loss: np.ndarray  # (steps + 1, seeds)
    accuracy: np.ndarray  # (steps + 1, seeds)
    loss_slope: np.ndarray  # (steps + 1, seeds) norm of the gradient with respect to the weights
    accuracy_slope: np.ndarray  # (steps + 1, seeds)
    weights: np.ndarray  # (steps + 1, parameters, seeds)


def trajectories(width, seeds, steps, rate, seed):
    """The sigmoid of z and the softmax of (0, z) on moons, from the same weights: two `Trajectory`s by name."""
    keys = [jax.random.fold_in(jax.random.key(seed), i) for i in range(seeds)]
    tables = rows("moons", seed, seeds)
    train = [np.stack(part, axis=-1) for part in zip(*(tables.parts(i).train for i in range(seeds)), strict=True)]
    network = mlp((2, width, 1), "tanh")
    softmax = HEADS["softmax"]

    def two_scores(scores):
        return jnp.concatenate([jnp.zeros_like(scores), scores], axis=-1)

    def trajectory(loss, probabilities):
        def run(key, x, y, rate):
            optimizer = optax.adam(rate)

            def mean_loss(params):
                return jnp.mean(loss(network.apply(params, x), y))

            def accuracy(params):
                return get_metric("accuracy").fn(probabilities(network.apply(params, x)), y)

            def step(carry, _):
                params, state = carry
                value, slope = jax.value_and_grad(mean_loss)(params)
                metric, flat = jax.value_and_grad(accuracy)(params)
                updates, state = optimizer.update(slope, state, params)
                weights = jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(params)])
                measured = Trajectory(value, metric, optax.tree.norm(slope), optax.tree.norm(flat), weights)
                return (optax.apply_updates(params, updates), state), measured

            params = network.init(key)
            return jax.lax.scan(step, (params, optimizer.init(params)), None, steps + 1)[1]

        return jax.device_get(jax.jit(spread(run, (-1, -1, -1, None)))(jnp.stack(keys), *train, jnp.float32(rate)))

    return {
        "sigmoid": trajectory(network.loss, network.head.probabilities),
        "softmax": trajectory(
            lambda scores, labels: softmax.loss(two_scores(scores), labels),
            lambda scores: softmax.probabilities(two_scores(scores)),
        ),
    }


def report_trajectories(runs):
    """Print how far the two heads come apart, and the two slopes."""
    one, two = runs["sigmoid"], runs["softmax"]
    loss, weight = (np.abs(getattr(one, name) - getattr(two, name)).max() for name in ("loss", "weights"))
    steps, seeds = one.loss.shape
    print(f"\nsigmoid(z) against softmax(0, z): moons, {seeds} seeds, {steps - 1} steps from the same weights, float32")
    print(f"  largest difference of the losses  {loss:.1e}  (losses up to {one.loss.max():.2f})")
    print(f"  largest difference of the weights {weight:.1e}  (weights up to {np.abs(one.weights).max():.2f})")
    print("\nnorm of the gradient over the same runs: the loss has a slope to follow, the accuracy has none")
    print(f"  {'step':>6} {'loss':>8} {'accuracy':>9} {'slope of the loss':>18} {'slope of the accuracy':>22}")
    for step in np.unique(np.linspace(0, steps - 1, 6).astype(int)):
        means = (getattr(one, name)[step].mean() for name in ("loss", "accuracy", "loss_slope", "accuracy_slope"))
        print("  {:6} {:8.4f} {:9.4f} {:18.6f} {:22.6f}".format(step, *means))
    print(f"  largest slope of the accuracy, all seeds and steps: {one.accuracy_slope.max()}")


PANELS = {
    "accuracy": "accuracy",
    "log_likelihood": "log-likelihood, $p_y > 0$",
    "calibration_error": "calibration error",
    "impossible": "share of rows with $p_y = 0$",
}


def draw(path, results, runs):
    """What each head is worth on each task, and the trajectories below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 9), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[1.5, 1])
    draw_heads(above, results)
    draw_trajectories(below, runs)
    figure.savefig(path, dpi=110)


def draw_heads(figure, results):
    tasks, heads = (list(dict.fromkeys(names)) for names in zip(*results, strict=True))
    panels = figure.subplots(1, len(PANELS), sharey=True)
    for panel, (name, label) in zip(panels, PANELS.items(), strict=True):
        for i, (task, marker) in enumerate(zip(tasks, "os^DvP*X" * len(tasks), strict=False)):
            of_task = {head: getattr(results[task, head], name) for head in heads if (task, head) in results}
            places = [heads.index(head) + 0.18 * (i - (len(tasks) - 1) / 2) for head in of_task]
            panel.errorbar(
                [values.mean() for values in of_task.values()], places,
                xerr=[half_interval(values) for values in of_task.values()], fmt=marker, color="black", markersize=5,
                markerfacecolor="white" if i % 2 else "black", elinewidth=0.8, label=task,
            )  # fmt: skip
        panel.set_xlabel(label)
        panel.grid(axis="y", color="0.9")
        panel.set_axisbelow(True)
    panels[0].set_yticks(range(len(heads)), heads)
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(tasks), frameon=False,
                  title="Every head on untouched rows: mean over the seeds, 95 % interval")  # fmt: skip


def draw_trajectories(figure, runs):
    one, two = runs["sigmoid"], runs["softmax"]
    first, second, third = figure.subplots(1, 3)
    first.plot(one.loss.mean(axis=-1), "k-", label="sigmoid(z)")
    mark = max(1, len(one.loss) // 12)
    first.plot(two.loss.mean(axis=-1), "kx", markevery=mark, label="softmax(0, z)")
    first.set(title="The same loss", xlabel="step", ylabel="mean loss on moons")
    first.legend(frameon=False)
    apart = {"weights": np.abs(one.weights - two.weights).max(axis=(1, 2)), "loss": np.abs(one.loss - two.loss).max(-1)}
    for (name, values), style in zip(apart.items(), ("k-", "k:"), strict=True):
        second.plot(np.maximum.accumulate(values), style, label=name)
    second.set_yscale("symlog", linthresh=1e-8)
    second.set(title="sigmoid against softmax: largest difference so far", xlabel="step", ylabel="difference, float32")
    second.legend(loc="lower right")
    third.plot(one.loss_slope.mean(axis=-1), "k-", label="of the loss")
    third.plot(one.accuracy_slope.mean(axis=-1), "k--", label="of the accuracy: zero")
    third.set(title="Only the loss has a slope", xlabel="step", ylabel="norm of the gradient (mean)")
    third.legend(frameon=False)


def parse(arguments):
    parser = options.parser(__doc__, "moons only, 5 seeds, 100 steps: seconds")
    parser.add_argument("--tasks", nargs="+", metavar="NAME", help=f"default: {' '.join(FULL['tasks'])}")
    parser.add_argument("--width", type=int, help="hidden units; default: 16, quick 4")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--learning-rate", type=float, default=0.03)
    args = options.parsed(parser, arguments, FULL, QUICK)
    if min(args.width, args.steps) < 1 or args.seeds < 2 or not args.learning_rate > 0:
        parser.error("width and steps are at least 1, seeds at least 2 for an interval, the learning rate above 0")
    try:
        exhaustive = [name for name in args.tasks if get_dataset(name).exhaustive]
    except ValueError as error:
        parser.error(str(error))
    if exhaustive:
        parser.error(f"{', '.join(exhaustive)}: a truth table has no rows to leave untouched; choose another task")
    return args


def main(arguments=None):
    args = parse(arguments)
    start = time.perf_counter()
    lab.use_all_cores()
    shape = args.width, args.seeds, args.steps, args.learning_rate, args.seed
    results = sweep(args.tasks, *shape)
    runs = trajectories(*shape)
    report(results)
    report_trajectories(runs)
    draw(args.out / "heads.png", results, runs)
    networks = (len(results) + len(runs)) * args.seeds
    print(f"\n{networks:,} networks x {args.steps:,} steps in {time.perf_counter() - start:.0f} s; ", end="")
    print(f"figure: {args.out / 'heads.png'}")


if __name__ == "__main__":
    main()
