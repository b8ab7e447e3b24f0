"""Which activation for which task: a dozen activations on eight small tasks, with intervals for new rows.

    python experiments/classification.py [--quick] [--tasks NAME ...] [--seed SEED] [--out FOLDER]

The comparison that `jaxnn compare` makes, on XOR, noisy XOR, spirals, moons, iris, wine, breast cancer and
digits: ten splits of every table, in each of which every activation's learning rate is tuned and its networks are
trained and tested anew.

Prints the answer; writes classification.csv, one row for each task and activation, classification.png, every
activation's interval on every task, and the whole answer with its report in the folder `classification`. Finished
blocks stay there, so that an interrupted run goes on where it was.
"""

import csv
import time

import options

from jaxnn import lab
from jaxnn.lab import figures

FULL = {"tasks": ["xor", "noisy-xor", "spirals", "moons", "iris", "wine", "breast-cancer", "digits"]}
QUICK = {"tasks": ["xor", "iris"]}
FEW = {
    "activations": ["relu", "tanh"], "learning_rates": [0.03], "epochs": 30, "repeats": 1, "seeds": 2,
    "tuning_seeds": 1,
}  # fmt: skip


def write_csv(path, answer):
    """One row for each task and activation."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["task", "activation", "kind", "recommended", "best", "value", "low", "high", "behind_at_most",
             "behind_at_least", "diverged", "runs", "learning_rate", "us_per_step"]
        )  # fmt: skip
        for task in answer.tasks.values():
            references = [reference.choice for reference in task.references if reference.choice]
            for choice in (*task.choices, *references):
                metric = [f"{value:.4f}" for value in (choice.metric.value, choice.metric.low, choice.metric.high)]
                behind = [f"{choice.at_most:.4f}", f"{choice.at_least:.4f}"]
                if choice.kind == "reference":
                    behind = ["", ""]
                writer.writerow(
                    [task.name, choice.name, choice.kind, choice.name == task.recommended, choice.in_best, *metric,
                     *behind, choice.diverged, choice.runs, choice.tuning.rate,
                     f"{1e6 * choice.step_seconds.value:.2f}"]
                )  # fmt: skip


def parse(arguments):
    parser = options.parser(__doc__, "two tasks, two activations, one learning rate: seconds")
    parser.add_argument("--tasks", nargs="+", metavar="NAME", help=f"default: {' '.join(FULL['tasks'])}")
    return options.parsed(parser, arguments, FULL, QUICK)


def main(arguments=None):
    args = parse(arguments)
    start = time.perf_counter()
    lab.use_all_cores()
    folder = args.out / "runs" / "classification"
    try:
        answer = lab.compare(args.tasks, **(FEW if args.quick else {}), seed=args.seed, folder=folder)
    except ValueError as error:
        raise SystemExit(f"classification.py: {error}") from None
    print(answer)
    page = answer.save(folder)
    write_csv(args.out / "classification.csv", answer)
    figures.answer(answer).savefig(args.out / "classification.png", dpi=130)
    where = f"{answer.machine['processor']}, {answer.machine['devices']}"
    print(f"\n{answer.trials.size:,} networks in {time.perf_counter() - start:.0f} s on {where}")
    print(f"classification.csv, classification.png in {args.out}; the report: {page}")


if __name__ == "__main__":
    main()
