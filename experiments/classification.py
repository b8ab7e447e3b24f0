"""Which activation for which task: a dozen activations on eight small classification tasks, with intervals and times.

    python experiments/classification.py [--quick] [--tasks NAME ...] [--activations NAME ...] [--target SHARE]
                                         [--seed SEED] [--out FOLDER]

The comparison that `jaxnn compare` makes, on XOR, noisy XOR, spirals, moons, iris, wine, breast cancer and digits: for
every activation the learning rate is tuned on ten seeds and the validation rows (XOR has four rows, so seeds alone),
the verdict is that of other seeds on the test rows, and mixtures are searched with as many candidates.

Prints a table and a sentence for each task; writes classification.csv, one row for each task and activation, and
classification.png: the test metric of every activation on every task, the best sets marked, and the ranks over tasks.
Finished blocks stay in the folder `runs` under the results, so that an interrupted run goes on where it was.
"""

import argparse
import csv
import sys
import time
from pathlib import Path

import jax
import numpy as np

from jaxnn import comparison, get_task, verdict
from jaxnn.devices import machine, use_all_cores
from jaxnn.progress import Progress

TASKS = ["xor", "noisy-xor", "spirals", "moons", "iris", "wine", "breast-cancer", "digits"]
QUICK = {"tasks": ["xor", "iris"], "activations": ["relu", "tanh"], "rates": (0.03,), "seeds": 6, "mixtures": False}
FULL = {
    "tasks": TASKS,
    "activations": comparison.ACTIVATIONS,
    "rates": comparison.LEARNING_RATES,
    "seeds": None,
    "mixtures": True,
}


def compare(args, folder):
    """The answer of `jaxnn compare` on the chosen tasks."""
    key = jax.random.fold_in(jax.random.key(args.seed), 1)
    problems = {}
    for name in args.tasks:
        task = get_task(name)
        changes = {} if task.exhaustive else {"target": args.target}
        problems[name] = comparison.problem(task.load(key), task.exhaustive, args.seed, **changes)
    settings = comparison.Settings(
        activations=tuple(args.activations), learning_rates=args.rates, seeds=args.seeds, tuning_seeds=args.seeds,
        baseline=args.activations[0], target=args.target, mixtures=args.mixtures, seed=args.seed,
    )  # fmt: skip
    progress = Progress(0, "networks", sys.stderr)
    measured = comparison.measure(problems, settings, folder=folder, progress=progress)
    progress.close()
    return verdict.answer(measured, problems, settings), len(measured.tuning.table["trial"]) + len(
        measured.verdict.table["trial"]
    )


def write_csv(path, tasks):
    """One row for each task and activation."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["task", "activation", "kind", "learning_rate", "test", "low", "high", "runs", "diverged", "best",
             "us_per_step_alone", "us_per_step_in_a_block"]
        )  # fmt: skip
        for task in tasks:
            for arm in task["arms"]:
                test = [f"{arm['test'][name]:.4f}" for name in ("value", "low", "high")]
                times = [f"{arm[f'seconds_per_step_{how}'] * 1e6:.2f}" for how in ("alone", "block")]
                writer.writerow(
                    [task["task"], arm["name"], arm["kind"], arm["learning_rate"], *test, arm["test"]["runs"],
                     arm["test"]["diverged"], arm["in_best"], *times]
                )  # fmt: skip


def draw(path, answer, activations):
    """A map of the test metric, task by activation, beside the mean rank of each activation."""
    from matplotlib.figure import Figure

    tasks, across = answer["tasks"], answer["across"]
    names = sorted(activations, key=lambda name: across["ranks"][name]) if across else list(activations)
    found = [{arm["name"]: arm for arm in task["arms"]} for task in tasks]
    values = np.array([[arms[name]["test"]["value"] for arms in found] for name in names])
    ahead = values - values.max(axis=0)
    figure = Figure(figsize=(2.6 + 1.15 * len(tasks), 1.7 + 0.36 * len(names)), layout="constrained")
    axes = figure.subplots()
    scale = np.where(ahead.min(axis=0) < 0, -ahead.min(axis=0), 1)
    axes.imshow(1 + ahead / scale, aspect="auto", cmap="Greys", vmin=-0.2, vmax=2.5)
    for (i, j), value in np.ndenumerate(values):
        best = found[j][names[i]]["in_best"]
        axes.text(j, i, f"{value:.3f}" + (" *" if best else "  "), ha="center", va="center",
                  weight="bold" if best else "normal", fontsize=9)  # fmt: skip
    ranks = [f"{name}  ({across['ranks'][name]:.1f})" if across else name for name in names]
    axes.set_yticks(range(len(names)), ranks)
    axes.set_xticks(range(len(tasks)), [f"{task['task']}\n{task['metric']}" for task in tasks], fontsize=9)
    axes.tick_params(length=0)
    axes.set_ylabel("activation (mean rank over the tasks)" if across else "activation")
    axes.set_title("Test metric at the tuned learning rate\n(* bold: cannot be told from the best)", fontsize=10)
    figure.savefig(path, dpi=130)


def parse(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two tasks, two activations, one learning rate: seconds")
    parser.add_argument("--tasks", nargs="+", metavar="NAME", help=f"default: {' '.join(TASKS)}")
    parser.add_argument("--activations", nargs="+", metavar="NAME", help="default: a dozen")
    parser.add_argument("--target", type=float, help="for the metric on the validation rows, from 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--out", type=Path, help="default: results/ beside this script, quick: results/quick/")
    args = parser.parse_args(arguments)
    args.out = args.out or Path(__file__).parent / "results" / ("quick" if args.quick else "")
    for name, value in (QUICK if args.quick else FULL).items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)
    return args


def main(arguments=None):
    args = parse(arguments)
    start = time.perf_counter()
    use_all_cores()
    try:
        answer, networks = compare(args, args.out / "runs" / "classification")
    except ValueError as error:
        raise SystemExit(f"classification.py: {error}") from None
    for task in answer["tasks"]:
        print(f"\n{verdict.table(task)}")
    print(f"\n{answer['answer']}")
    write_csv(args.out / "classification.csv", answer["tasks"])
    draw(args.out / "classification.png", answer, args.activations)
    seconds, where = time.perf_counter() - start, machine()
    print(f"\n{networks:,} networks in {seconds:.0f} s on {where['processor']}, {where['devices']}; ", end="")
    print(f"classification.csv, classification.png in {args.out}")


if __name__ == "__main__":
    main()
