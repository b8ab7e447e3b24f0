"""What one perceptron can learn: every Boolean function of two, three and four inputs, each verdict proven.

    python experiments/gates.py [--seed 0] [--quick] [--out FOLDER]

Rosenblatt's rule is trained on all 2^(2ⁿ) functions of n inputs in one vmapped program. Where it converges its weights
separate; where its weights repeat its mistake counts c prove that none do (Σ cᵢvᵢ = 0); both are checked in exact
integers. The number of separable functions is compared with OEIS A000609, the mistakes with Novikoff's bound (R/γ)².
Any separating weights give a γ with a valid bound; printed is that of the largest margin, the tightest, found by
Hildreth's method and rounded to integers, for which the bound is then evaluated exactly.

Prints the 16 functions of two inputs, then one line for each n; draws `gates.png` into the folder: the decision
lines, the share of separable functions, the mistakes against the bound.

--seed draws the order in which the rows are shown, on which the mistakes depend and no verdict does.
--quick stops at three inputs.
"""

import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import options
from matplotlib.figure import Figure

from jaxnn.data import truth_table
from jaxnn.perceptron import Training, maximum_margin, novikoff_bound, rosenblatt, verdict

A000609 = {2: 14, 3: 104, 4: 1882}  # https://oeis.org/A000609
TWO_INPUTS = "false,NOR,x2 > x1,NOT x1,x1 > x2,NOT x2,XOR,NAND,AND,XNOR,x2,x1 ≤ x2,x1,x2 ≤ x1,OR,true".split(",")


class Census(NamedTuple):
    """All Boolean functions of n inputs; rows in the order shown, function f in row f."""

    x: np.ndarray  # (2ⁿ, n)
    y: np.ndarray  # (functions, 2ⁿ)
    training: Training  # arrays of (functions, ...)
    proven: np.ndarray  # (functions,) +1 separable, −1 not
    bound: np.ndarray  # (separable functions,) Novikoff's
    seconds: float  # to train and to prove, compilation included


def census(key, n: int) -> Census:
    """Train and certify all functions of n inputs, the rows shown in an order drawn by key."""
    start = time.perf_counter()
    x, rows = truth_table(n), 2**n
    order = np.asarray(jax.random.permutation(key, rows))
    x, y = x[order], (np.arange(2**rows, dtype=np.int32)[:, None] >> order.astype(np.int32)) & 1
    training = jax.device_get(jax.jit(jax.vmap(lambda y: rosenblatt(jnp.asarray(x), y)))(y))
    proven = verdict(x, y, training.counts)
    seconds = time.perf_counter() - start
    separable = y[proven > 0]
    margin_weights = jax.jit(jax.vmap(lambda y: maximum_margin(jnp.asarray(x), y)))(separable)
    bound = novikoff_bound(x, separable, np.round(np.asarray(margin_weights) * 2**16).astype(np.int64))
    return Census(x, y, training, proven, bound, seconds)


def print_two_inputs(two: Census):
    columns = np.argsort(two.x @ [2, 1])  # rows shown -> 00 01 10 11
    print("The 16 functions of two inputs             w·x + b > 0, or the mistakes c with Σ cᵢvᵢ = 0")
    print(f"{'':>3} {'name':7} {'00 01 10 11':12} {'mistakes':>8} {'bound':>6} {'passes':>6}   proof")
    bounds = iter(two.bound)
    for f, name in enumerate(TWO_INPUTS):
        run = jax.tree.map(lambda leaf, f=f: leaf[f], two.training)
        truth = "  ".join(map(str, two.y[f, columns]))
        if two.proven[f] > 0:
            bound, proof = f"{next(bounds):6.1f}", f"w = ({run.weights[0]}, {run.weights[1]}), b = {run.weights[2]}"
        else:
            bound, proof = "  none", f"no line: c = ({', '.join(map(str, run.counts[columns]))})"
        print(f"{f:3} {name:7} {truth:12} {run.mistakes:8} {bound} {run.passes:6}   {proof}")


def print_census(n: int, result: Census):
    separable = result.proven > 0
    mistakes = result.training.mistakes[separable]
    print(
        f"{n} {len(separable):10,} {separable.sum():10,} {A000609[n]:8,} {(result.proven != 0).sum():10,} "
        f"{np.median(mistakes):9.0f} {mistakes.max():5} {np.median(result.bound):8.1f} {result.bound.max():7.1f} "
        f"{(mistakes / result.bound).max():10.2f} {result.seconds:8.1f}"
    )


def draw(results: dict[int, Census], path: Path):
    figure = Figure(figsize=(12.5, 7.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.15, 1])
    left.suptitle("The perceptron on the functions of two inputs\n(■ 1, ○ 0, grey where the unit fires)", fontsize=11)
    for f, axes in enumerate(left.subplots(4, 4, sharex=True, sharey=True).flat):
        draw_gate(axes, results[2], f)
    left.supxlabel("$x_1$")
    left.supylabel("$x_2$")
    top, bottom = right.subplots(2, 1, height_ratios=[1, 2.2])
    draw_share(top, results)
    draw_mistakes(bottom, results)
    figure.savefig(path, dpi=110)


def draw_gate(axes, two: Census, f: int):
    low, high = -0.5, 1.5
    grid = np.linspace(low, high, 201)
    w1, w2, bias = two.training.weights[f]
    score = w1 * grid[None, :] + w2 * grid[:, None] + bias
    separable = two.proven[f] > 0
    if separable:
        axes.imshow(score > 0, extent=(low, high, low, high), origin="lower", cmap="Greys", vmin=0, vmax=4)
        if w1 or w2:
            axes.contour(grid, grid, score, levels=[0], colors="black", linewidths=1.2)
    ones = two.y[f] == 1
    axes.plot(*two.x[ones].T, "s", color="black", markersize=7)
    axes.plot(*two.x[~ones].T, "o", color="black", markerfacecolor="white", markersize=7)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal", xticks=[0, 1], yticks=[0, 1])
    axes.set_title(TWO_INPUTS[f] if separable else f"{TWO_INPUTS[f]}: no line", fontsize=9)


def draw_share(axes, results: dict[int, Census]):
    shares = [100 * (result.proven > 0).mean() for result in results.values()]
    bars = axes.barh([str(n) for n in results], shares, color="0.75", edgecolor="black", hatch="//")
    counts = [f"{(r.proven > 0).sum():,} of {len(r.proven):,}" for r in results.values()]
    axes.bar_label(bars, counts, padding=4, fontsize=9)
    axes.set(xlim=(0, 130), xticks=range(0, 101, 25), xlabel="linearly separable functions, %", ylabel="inputs n")
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)


def draw_mistakes(axes, results: dict[int, Census]):
    for (n, result), marker, grey in zip(results.items(), "ov.", ("0", "0.4", "0.65"), strict=False):
        mistakes = result.training.mistakes[result.proven > 0]
        axes.plot(result.bound, mistakes, marker, color=grey, markersize=5, label=f"n = {n}", zorder=5 - n)
    limits = [0.9, 1.3 * max(result.bound.max() for result in results.values())]
    axes.plot(limits, limits, "k--", linewidth=1, label="mistakes = bound", zorder=1)
    axes.set(xscale="log", yscale="log", xlim=limits, ylim=limits)
    axes.set(xlabel="Novikoff's bound $(R/\\gamma)^2$ at the largest margin", ylabel="mistakes until convergence")
    axes.set_title("Every separable function: mistakes against their bound", fontsize=11)
    axes.legend(loc="upper left", frameon=False)


def main():
    args = options.parsed(options.parser(__doc__, "stop at three inputs"), None, {}, {})
    key = jax.random.key(args.seed)
    results = {n: census(jax.random.fold_in(key, n), n) for n in ((2, 3) if args.quick else (2, 3, 4))}
    print_two_inputs(results[2])
    print("\nAll functions of n inputs; mistakes and bound over the separable ones, median and maximum")
    print("n  functions  separable  A000609  certified  mistakes   max    bound     max  max ratio  seconds")
    for n, result in results.items():
        print_census(n, result)
    draw(results, args.out / "gates.png")
    print(f"\nfigure: {args.out / 'gates.png'}")


if __name__ == "__main__":
    main()
