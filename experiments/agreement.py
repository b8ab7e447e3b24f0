"""Would another deal of the same rows give the same answer? The same question under several seeds.

    python experiments/agreement.py [--quick] [--tasks NAME ...] [--seeds N] [--seed SEED] [--out FOLDER]

Asks `jaxnn compare` with its own settings (but for timing) under every seed: other splits, weights and orders of rows.
An answer names a first and the set that cannot be told from it, and claims that some activations are better than
others: the first than all outside that set, and one than the baseline (or the baseline than one) where the interval of
their difference leaves out 0.

Counts, over all ordered pairs of seeds, how often the first under one is outside the set of the other; and, over all
pairs of activations and of seeds, how often one seed claims the opposite of what the other does.

Prints a line for each task; writes agreement.csv, and agreement.png with the interval of every activation under every
seed.
"""

import csv
import itertools
import sys
import time

import numpy as np
import options
from recommendation import FEW

from jaxnn import lab
from jaxnn.lab import comparison, judge
from jaxnn.lab.answer import TaskAnswer
from jaxnn.lab.progress import Progress

FULL = {"tasks": ["iris", "wine", "breast-cancer", "digits"], "seeds": 8}
QUICK = {"tasks": ["iris"], "seeds": 3}


def claims(answer: TaskAnswer) -> set[tuple[str, str]]:
    """Pairs of which the first is said to be better than the second."""
    first, outside = answer.choices[0].name, [choice.name for choice in answer.choices if not choice.in_best]
    said = {(first, name) for name in outside}
    for choice in answer.choices:
        if choice.difference is not None:
            said |= {(choice.name, answer.baseline)} if choice.difference.low > 0 else set()
            said |= {(answer.baseline, choice.name)} if choice.difference.high < 0 else set()
    return said


def disagreement(answers: list[TaskAnswer]) -> dict[str, tuple[int, int]]:
    """How many of how many: firsts that another seed leaves out, opposite claims."""
    pairs = list(itertools.permutations(answers, 2))
    left_out = sum(one.choices[0].name not in other.best for one, other in pairs)
    said = [claims(answer) for answer in answers]
    opposite = sum(len(one & {pair[::-1] for pair in other}) for one, other in itertools.combinations(said, 2))
    arms = len(answers[0].choices)
    return {
        "first left out": (left_out, len(pairs)),
        "opposite claims": (opposite, arms * (arms - 1) // 2 * (len(pairs) // 2)),
    }


def asked(name, seeds, settings, folder, progress) -> list[TaskAnswer]:
    """The answer under every seed."""
    programs, answers = {}, []
    for seed in seeds:
        rows = lab.splits(lab.task(name), seed=seed)
        checked = comparison.checked(lab.Settings(**settings, seed=seed))
        found = comparison.run(rows, checked, folder=folder / str(seed), progress=progress, programs=programs)
        answers.append(judge.answer(found))
    return answers


def draw(path, answers) -> None:
    """Of every task and activation, the interval under each seed; filled where it is in the set of the best."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(answers), 5), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(answers)))
    for panel, (name, several) in zip(panels, answers.items(), strict=True):
        mean = {c.name: np.mean([a.choice(c.name).metric.value for a in several]) for c in several[0].choices}
        order = sorted(mean, key=mean.get, reverse=True)
        for place, arm in enumerate(order):
            for number, answer in enumerate(several):
                choice = answer.choice(arm)
                at = place + 0.7 * ((number + 0.5) / len(several) - 0.5)
                low, value, high = 100 * np.array([choice.metric.low, choice.metric.value, choice.metric.high])
                panel.plot([low, high], [at, at], color="0.6", linewidth=1)
                panel.plot(value, at, "o", color="black", markersize=3,
                           markerfacecolor="black" if choice.in_best else "white")  # fmt: skip
        panel.set_yticks(range(len(order)), order)
        panel.invert_yaxis()
        panel.set(xlabel=f"{several[0].metric} on new rows, %", title=name)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle("each line one seed; filled: cannot be told from the best", fontsize=9)
    figure.savefig(path, dpi=130)


def parse(arguments):
    parser = options.parser(__doc__, "iris, three seeds, three activations, few epochs")
    parser.add_argument("--tasks", nargs="+", metavar="NAME", help=f"default: {' '.join(FULL['tasks'])}")
    parser.add_argument("--seeds", type=int, help="default: 8, from --seed on")
    args = options.parsed(parser, arguments, FULL, QUICK)
    if args.seeds < 2:
        parser.error(f"--seeds {args.seeds}; expected at least 2")
    return args


def main(arguments=None):
    args = parse(arguments)
    start = time.perf_counter()
    lab.use_all_cores()
    progress, folder, answers = Progress(0, "networks", sys.stderr), args.out / "runs" / "agreement", {}
    seeds, settings = range(args.seed, args.seed + args.seeds), FEW if args.quick else {"timing": False}
    print(f"{'task':14} {'first under each seed':60} {'first left out':>16} {'opposite claims':>18}")
    with (args.out / "agreement.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["task", "seed", "first", "best", "recommended"])
        for name in args.tasks:
            try:
                answers[name] = asked(name, seeds, settings, folder, progress)
            except ValueError as error:
                raise SystemExit(f"agreement.py: {error}") from None
            for seed, one in zip(seeds, answers[name], strict=True):
                writer.writerow([name, seed, one.choices[0].name, " ".join(one.best), one.recommended])
            counts = [f"{some} of {all}" for some, all in disagreement(answers[name]).values()]
            firsts = ", ".join(one.choices[0].name for one in answers[name])
            print(f"{name:14} {firsts:60} {counts[0]:>16} {counts[1]:>18}", flush=True)
    progress.close()
    print(
        "\nfirst left out: of all ordered pairs of seeds, those where the first of one is outside the best set of the"
    )
    print("other; opposite claims: of all pairs of activations and of seeds, those where one says better, one worse.")
    draw(args.out / "agreement.png", answers)
    print(
        f"\n{args.seeds} seeds each in {time.perf_counter() - start:.0f} s; agreement.csv, agreement.png in {args.out}"
    )


if __name__ == "__main__":
    main()
