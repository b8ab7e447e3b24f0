"""Is the recommendation worth following? Recommend from one half of the splits, look at the other half.

    python experiments/recommendation.py [--quick] [--tasks NAME ...] [--seed SEED] [--out FOLDER]

Compares a dozen activations on some twenty tables (scikit-learn's, drawn ones, and drawn ones of several sizes), ten
splits each. For every table and each of the two repeats of the five folds, the recommendation is made from one repeat
alone, by the rule of `jaxnn compare`; the regret is how far the mean metric of that activation over the other repeat
is behind the best one's there. Beside it the regret of always taking relu, of always taking the best mean of the first
half, and of hindsight, which is 0 by definition; and the regret is at most the bound, or it is not.

The two repeats have rows in common, as train and test, so a regret is that of another deal of the same rows.

Prints a line for each table; writes recommendation.csv and recommendation.png.
"""

import csv
import sys
import time

import jax
import numpy as np
import options

from jaxnn import blobs, circles, lab, moons, noisy_xor, spirals
from jaxnn.lab import comparison, judge
from jaxnn.lab.progress import Progress
from jaxnn.lab.stats import over_runs

NAMED = ["iris", "wine", "breast-cancer", "digits"]
KINDS = {
    "moons": (moons, {"noise": 0.3}),
    "circles": (circles, {"noise": 0.2}),
    "noisy xor": (noisy_xor, {"noise": 0.4}),
    "spirals": (spirals, {"noise": 0.05}),
    "three spirals": (spirals, {"noise": 0.05, "arms": 3}),
    "blobs": (blobs, {"noise": 4.0, "classes": 4}),
    "blobs in 10": (blobs, {"noise": 9.0, "features": 10}),
    "blobs in 20": (blobs, {"noise": 11.0, "features": 20, "classes": 5}),
}
DRAWN = {f"{name} {rows}": (make, rows, settings) for name, (make, settings) in KINDS.items() for rows in (200, 800)}
FULL, QUICK = {"tasks": [*NAMED, *DRAWN]}, {"tasks": ["iris", "moons 200"]}
FEW = {"activations": ("relu", "tanh", "sin"), "learning_rates": (0.01, 0.1), "seeds": 1, "tuning_seeds": 1,
       "recipe": lab.Recipe(epochs=20), "timing": False}  # fmt: skip


def table(name, seed) -> lab.Task:
    """The rows by name."""
    if name not in DRAWN:
        return lab.task(name, seed=seed)
    make, rows, settings = DRAWN[name]
    found = make(jax.random.fold_in(jax.random.key(seed), 1), rows=rows, **settings)
    return lab.task((found.x, found.y), name=name)


def half(found: comparison.Comparison, repeat: int) -> comparison.Comparison:
    """What was run in the five folds of one repeat."""
    numbers = range(5 * repeat, 5 * repeat + 5)

    def some(trials):
        inside = trials.take(np.flatnonzero(np.isin(trials["split"], numbers)))
        return lab.Table(inside.columns | {"split": inside["split"] - 5 * repeat})

    return found._replace(
        splits=found.splits.take(numbers), tuning=some(found.tuning), verdict=some(found.verdict),
        chosen={arm: rates[list(numbers)] for arm, rates in found.chosen.items()},
    )  # fmt: skip


def regrets(found: comparison.Comparison) -> list[dict]:
    """Of every repeat: the choice of each rule made from it, and its regret on the other."""
    answers = [judge.answer(half(found, repeat)) for repeat in (0, 1)]
    rows = []
    for one, other in (answers, answers[::-1]):
        there = {choice.name: choice.metric.value for choice in other.choices}
        best = max(there.values())
        taken = {"recommended": one.recommended, "best mean": one.choices[0].name, "relu": "relu"}
        row = {f"{rule}": best - there[name] for rule, name in taken.items()}
        rows.append(row | {"taken": one.recommended, "bound": one.choice(one.recommended).at_most})
    return rows


RULES = ("recommended", "best mean", "relu")


def draw(path, regret) -> None:
    """The regret of each rule on each table."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1 + 0.28 * len(regret)), layout="constrained")
    axes = figure.subplots()
    names = sorted(regret, key=lambda name: -np.mean(regret[name]["relu"]))
    for rule, marker, fill in zip(RULES, "sox", ("black", "white", "black"), strict=True):
        means = [100 * np.mean(regret[name][rule]) for name in names]
        style = {} if marker == "x" else {"markerfacecolor": fill}
        axes.plot(means, range(len(names)), marker, color="black", label=rule, **style)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("points behind the best on the other half of the splits (mean of both ways)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


def parse(arguments):
    parser = options.parser(__doc__, "two tables, three activations, few epochs: seconds")
    parser.add_argument("--tasks", nargs="+", metavar="NAME", help=f"default: {', '.join(FULL['tasks'])}")
    return options.parsed(parser, arguments, FULL, QUICK)


def main(arguments=None):
    args = parse(arguments)
    start = time.perf_counter()
    lab.use_all_cores()
    settings = comparison.checked(lab.Settings(**FEW if args.quick else {}, seed=args.seed))
    progress, folder, regret, told = Progress(0, "networks", sys.stderr), args.out / "runs" / "recommendation", {}, []
    print(f"{'table':18} {'taken, each half':28} regret in points: " + "  ".join(f"{rule:>11}" for rule in RULES))
    for name in args.tasks:
        try:
            rows = lab.splits(table(name, args.seed), seed=args.seed)
        except ValueError as error:
            raise SystemExit(f"recommendation.py: {error}") from None
        found = regrets(comparison.run(rows, settings, folder=folder, progress=progress))
        regret[name] = {rule: [one[rule] for one in found] for rule in RULES}
        told += [[name, repeat, one["taken"], *(f"{one[rule]:.4f}" for rule in RULES), f"{one['bound']:.4f}"]
                 for repeat, one in enumerate(found)]  # fmt: skip
        means = "  ".join(f"{100 * np.mean(regret[name][rule]):11.2f}" for rule in RULES)
        print(f"{name:18} {', '.join(one['taken'] for one in found):28} {'':18}{means}", flush=True)
    progress.close()
    print(f"\nmean regret over {len(regret)} tables, points, with its interval over tables:")
    for rule in RULES:
        values = 100 * np.array([regret[name][rule] for name in regret])
        mean = over_runs(values, lambda v: v.mean(-1)) if len(values) > 1 else (values.mean(), np.nan, np.nan)
        print(f"  {rule:12} {mean[0]:.2f} ({mean[1]:.2f} to {mean[2]:.2f}), largest {values.max():.2f}")
    holds = np.mean([float(row[3]) <= float(row[-1]) + 1e-9 for row in told])
    print(f"  the bound of the recommended one holds in {holds:.0%} of {len(told)}")
    with (args.out / "recommendation.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["table", "half", "recommended", *(f"regret {rule}" for rule in RULES), "bound"], *told]
        )
    draw(args.out / "recommendation.png", regret)
    print(f"\nin {time.perf_counter() - start:.0f} s; recommendation.csv, recommendation.png in {args.out}")


if __name__ == "__main__":
    main()
