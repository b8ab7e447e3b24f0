"""XOR decides between activations: which ones find the boundary, at which width, in how many steps?

    python experiments/xor.py [--quick] [--activations NAME ...] [--widths H ...] [--seeds N] [--steps N]
                              [--learning-rate RATE] [--seed SEED] [--out FOLDER]

Trains a 2-H-1 network with a sigmoid head on the four rows of XOR, full batch, Adam, for every activation with a useful
gradient x width x seed, one compiled program for each activation and width. A run has found the boundary once every row
gives its true class a probability of at least 0.6.

Prints, for each activation, the share of runs that found the boundary at each width; then, at the width of 8 (or the
widest), the 95 % Wilson interval, the median of the steps to get there (censored: "never" where fewer than half the
runs arrive) and the share of dead units; then ReLU under its two conventions for the derivative at zero, beside the
bound that dying at birth sets; then the width of 1 against the theorem: one unit represents XOR exactly when its
activation is not monotone. Writes xor.csv, xor.png and xor_hidden.png to the folder.
"""

import csv
import sys
import time
from contextlib import suppress

import jax
import jax.numpy as jnp
import numpy as np
import optax
import options

from jaxnn import ACTIVATIONS, Activation, fit, get_activation, lab, mlp, xor
from jaxnn.lab.progress import Progress
from jaxnn.lab.stats import kaplan_meier, wilson
from jaxnn.metrics import least_probability

PROBABILITY = 0.6
QUICK = {
    "activations": ["identity", "relu", "gelu", "tanh", "sin"],
    "widths": [1, 2, 4, 8],
    "seeds": 200,
    "steps": 1000,
}
FULL = {"activations": None, "widths": [1, 2, 3, 4, 6, 8, 16], "seeds": 1000, "steps": 2000}


def relu_half(x):
    """ReLU with the derivative ½ at zero, as automatic differentiation of max(x, 0) gives it."""
    return jnp.maximum(x, 0)


def measure(built, run, parts):
    """Found the boundary? In how many steps? Which share of the units is dead: sends no row's gradient through?"""
    first, last = run.params

    def scores(bias):
        return built.network.apply((first._replace(bias=bias), last), parts.train[0])[:, 0]

    dead = jnp.all(jax.jacobian(scores)(first.bias) == 0, axis=0)
    return {
        "found": run.reached, "step": run.target_step, "dead": jnp.mean(dead.astype(jnp.float32)),
        "diverged": run.diverged,
    }  # fmt: skip


def sweep(activations, widths, seeds, steps, rate, seed):
    """{(name, width): (found, steps, dead, diverged)}, each an array of shape (seeds,)."""
    jobs = {}
    for name, activation in activations.items():
        for width in widths:
            with suppress(ValueError):  # the units of some do not divide
                mlp((2, width, 1), activation)
                jobs[name, width] = lab.grid(
                    task="xor", activation=[activation], hidden=[(width,)], learning_rate=rate, epochs=steps,
                    evaluate_every=10, target=PROBABILITY, seed=range(seeds),
                )  # fmt: skip
    plan = sum(jobs.values(), start=lab.Plan(()))
    progress = Progress(plan.size, "networks", sys.stderr)
    table = lab.sweep(plan, {"xor": lab.splits(lab.task("xor"))}, measure=measure, seed=seed, progress=progress)
    progress.close()
    parts = np.arange(plan.size).reshape(len(jobs), seeds)
    columns = ("found", "step", "dead", "diverged")
    return {job: tuple(table[column][rows] for column in columns) for job, rows in zip(jobs, parts, strict=True)}


def report(activations, widths, results):
    """Print the tables."""
    focus = 8 if 8 in widths else max(widths)
    print(
        f"\nshare of runs that find the boundary of XOR, by width | at {focus}: 95 % interval, median steps, dead units"
    )
    print(f"{'activation':<18}" + "".join(f"{w:>6}" for w in widths) + " |")

    def row(name):
        cells = "".join(f"{results[name, w][0].mean():6.3f}" if (name, w) in results else "     –" for w in widths)
        if (name, focus) not in results:
            return f"{name:<18}{cells} |"
        found, steps, dead, diverged = results[name, focus]
        share, middle = wilson(int(found.sum()), len(found)), kaplan_meier(steps, found).median.value
        diverged = f"  {int(diverged.sum())} diverged" if diverged.any() else ""
        median = f"{middle:.0f}" if np.isfinite(middle) else "never"
        interval = f"[{share.low:.3f}, {share.high:.3f}]"
        return f"{name:<18}{cells} | {interval} {median:>6} {dead.mean():7.1%}{diverged}"

    names = sorted(
        activations, key=lambda name: -sum(results[name, w][0].mean() for w in widths if (name, w) in results)
    )
    for name in names:
        print(row(name))
    report_relu(widths, results)
    report_theorem(activations, results)


def report_relu(widths, results):
    """The two conventions of ReLU's derivative at zero, beside the bound."""
    if ("relu", widths[0]) not in results or ("relu_half", widths[0]) not in results:
        return
    print("\nReLU with its derivative at zero 0, and ½: under 0 a unit that is positive on no row is born dead")
    print(f"{'width':<8}{'ReLU′(0)=0':>12}{'bound':>8}{'ReLU′(0)=½':>12}")
    for h in widths:
        bound = 1 - 4.0**-h - h * 0.75 * 4.0 ** (1 - h)
        print(f"{h:<8}{results['relu', h][0].mean():12.3f}{bound:8.3f}{results['relu_half', h][0].mean():12.3f}")


def report_theorem(activations, results):
    """One unit represents XOR exactly when its activation is continuous, fixed and not monotone."""
    print("\none hidden unit: a monotone activation cannot represent XOR, whatever the training")
    for monotone in (True, False):
        names = [
            n for n, a in activations.items()
            if (n, 1) in results and a.monotone is monotone and not a.params and not a.random and a.smoothness >= 0
            and a.inputs == a.outputs == 1
        ]  # fmt: skip
        solved = [n for n in names if results[n, 1][0].any()]
        kind = "monotone" if monotone else "not monotone"
        print(f"  {kind}: {len(names)} activations, {len(solved)} found the boundary at least once")


def write_csv(path, results):
    """One row for each activation and width."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["activation", "width", "runs", "found", "low", "high", "median_steps", "dead_share", "diverged"]
        )
        for (name, width), (found, steps, dead, diverged) in results.items():
            share = wilson(int(found.sum()), len(found))
            middle = kaplan_meier(steps, found).median.value
            numbers = [f"{v:.4f}" for v in (share.low, share.high)]
            writer.writerow(
                [name, width, len(found), int(found.sum()), *numbers, middle, f"{dead.mean():.4f}", int(diverged.sum())]
            )


def plot_shares(path, activations, widths, results):
    """A heat map with its numbers."""
    import matplotlib.pyplot as plt

    shares = np.array([[results[n, w][0].mean() if (n, w) in results else np.nan for w in widths] for n in activations])
    order = np.argsort(-np.nansum(shares, axis=1), kind="stable")
    names = np.array(list(activations))[order]
    figure, axes = plt.subplots(figsize=(7, 1.6 + 0.23 * len(names)), layout="constrained")
    image = axes.imshow(shares[order], aspect="auto", vmin=0, vmax=1, cmap="Blues")
    for (i, j), share in np.ndenumerate(shares[order]):
        text = "–" if np.isnan(share) else f"{share:.2f}"
        axes.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if share > 0.6 else "black")
    axes.set_xticks(range(len(widths)), widths)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xlabel("hidden units")
    axes.set_title("Share of runs that find the boundary of XOR")
    figure.colorbar(image, label="share of runs", shrink=0.5)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_hidden(path, seed, steps, rate):
    """XOR in the plane of its inputs, and in the plane of two hidden units, where one line separates it."""
    import matplotlib.pyplot as plt

    data = xor()
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.7), layout="constrained")
    scatter(panels[0], data.x, data.y)
    panels[0].set(title="inputs: no line separates", xlabel="x₁", ylabel="x₂", xlim=(-0.5, 1.5), ylim=(-0.5, 1.5))
    for panel, name in zip(panels[1:], ("tanh", "relu"), strict=True):
        network = mlp((2, 2, 1), name)
        # The first seed that finds the boundary: with two units many do not.
        for trial in range(100):
            run = fit(
                jax.random.fold_in(jax.random.key(seed), trial), network, data, optax.adam, {"learning_rate": rate},
                loss=network.loss, epochs=steps, evaluate_every=steps,
            )  # fmt: skip
            if least_probability(network.probabilities(run.params, data.x), data.y) >= PROBABILITY:
                break
        hidden = np.asarray(network.trace(run.params, data.x, data.y)[0].A[0])
        scatter(panel, hidden, data.y)
        (w1, w2), b = np.asarray(run.params[-1].weight)[:, 0], float(run.params[-1].bias[0])
        low, high = hidden.min(0), hidden.max(0)
        margin = 0.25 * np.maximum(high - low, 0.2)
        across = np.linspace(low[0] - margin[0], high[0] + margin[0], 2)
        panel.plot(across, -(b + w1 * across) / w2, "k--", label="score = 0")
        panel.set(title=f"two hidden units, {name}", xlabel="a₁", ylabel="a₂")
        panel.set(xlim=across, ylim=(low[1] - margin[1], high[1] + margin[1]))
        panel.legend(loc="best")
    panels[0].legend(loc="center")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def scatter(panel, points, labels):
    """Classes by marker and by fill, with the truth-table row beside each point; rows that coincide share a label."""
    for label, marker, fill in ((0, "o", "white"), (1, "s", "black")):
        chosen = points[labels == label]
        panel.scatter(
            *chosen.T, s=90, marker=marker, facecolor=fill, edgecolor="black", label=f"XOR = {label}", zorder=3
        )
    near, places = 0.1 * np.ptp(points, axis=0).max(), []
    for point, row in zip(points, ("00", "01", "10", "11"), strict=True):
        group = next((g for g in places if np.abs(g[0][0] - point).max() < near), None)
        places.append([(point, row)]) if group is None else group.append((point, row))
    for group in places:
        panel.annotate(", ".join(r for _, r in group), group[0][0], textcoords="offset points", xytext=(9, 7))


def parse(arguments):
    parser = options.parser(__doc__, "five activations, four widths, 200 seeds, 1,000 steps: seconds")
    parser.add_argument("--activations", nargs="+", metavar="NAME", help="default: every one with a useful gradient")
    parser.add_argument("--widths", nargs="+", type=int, metavar="H")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--learning-rate", type=float, default=0.03)
    args = options.parsed(parser, arguments, FULL, QUICK)
    if args.seeds < 1 or min(args.widths) < 1 or args.steps < 10 or args.steps % 10 or not args.learning_rate > 0:
        parser.error("seeds and widths are at least 1, steps a multiple of 10, the learning rate above 0")
    return args


def choose(names) -> dict[str, Activation]:
    """The activations by name; ReLU brings its other convention along."""
    names = names or [n for n, record in ACTIVATIONS.items() if not record.untrainable]
    chosen = {name: get_activation(name) for name in names}
    for name, record in chosen.items():
        if record.untrainable:
            raise SystemExit(f"xor.py: {name} cannot be trained: {record.untrainable}")
    return chosen | ({"relu_half": get_activation(relu_half)} if "relu" in chosen else {})


def main(arguments=None):
    args = parse(arguments)
    start = time.perf_counter()
    lab.use_all_cores()
    try:
        activations = choose(args.activations)
    except ValueError as error:
        raise SystemExit(f"xor.py: {error}") from None
    widths = sorted(set(args.widths))
    results = sweep(activations, widths, args.seeds, args.steps, args.learning_rate, args.seed)
    report(activations, widths, results)
    write_csv(args.out / "xor.csv", results)
    plot_shares(args.out / "xor.png", activations, widths, results)
    plot_hidden(args.out / "xor_hidden.png", args.seed, args.steps, args.learning_rate)
    runs = sum(len(found) for found, *_ in results.values())
    seconds = time.perf_counter() - start
    print(
        f"\n{runs:,} networks x {args.steps:,} steps in {seconds:.0f} s; xor.csv, xor.png, xor_hidden.png in {args.out}"
    )


if __name__ == "__main__":
    main()
