"""Do the intervals hold on new rows? Tables drawn from known populations, and what each way of judging says of them.

    python experiments/calibration.py [--quick] [--populations NAME ...] [--rows N ...] [--tables N] [--seed SEED]
                                      [--out FOLDER]

Draws many tables of each population, compares six activations on each (ten splits, three learning rates tuned in each,
two networks a split for the verdict; celu is elu under another name and other seeds), and holds what is said against
the truth: the mean accuracy, on 20,000 fresh rows, of networks trained alike on ten other splits of the same table. As
only ten are seen, its own error is added to the interval (half-widths are without it): where runs differ more than rows
do, as on spirals, two means of ten runs are further apart than either is from the truth.

Ways: `rows and runs`, that of this package (covariance clustered by rows and by runs); `naive t` over splits;
`corrected t` (Nadeau & Bengio 2003); `seeds on one split`, as comparisons are commonly made.

Prints for each population and number of rows, and writes to calibration.csv: how often the 95 % interval of an
activation, and of a difference of two, covers the truth, with its mean half-width; how often one of two equals (elu and
its twin) falls out of the best set of the two; how often the bound "at most behind" holds; how often an activation that
truly is 1.5 points behind or more is found out. Draws calibration.png. Every share comes with its own Wilson interval
in the file.
"""

import csv
import sys
import time
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import options
import scipy.stats

from jaxnn import Activation, get_activation, lab, moons, noisy_xor, spirals
from jaxnn.lab import inference
from jaxnn.lab.comparison import first_best
from jaxnn.lab.progress import Progress
from jaxnn.lab.stats import wilson

FRESH = 20_000
RATES = (0.003, 0.01, 0.03)
TUNING, SEEDS, SPLITS = 1, 2, 10
TWINS = ("elu", "twin")
ARMS = ("relu", "tanh", "gelu", "sin", "elu", Activation("twin", get_activation("elu").fn))
NAMES = [get_activation(arm).name for arm in ARMS]


def line(features):
    """Two classes that a noisy plane separates: y = [w·x + ε > 0]."""

    def draw(key, rows):
        one, two = jax.random.split(key)
        x = np.asarray(jax.random.normal(one, (rows, features)))
        w = np.asarray(jax.random.normal(jax.random.key(features), (features,))) / np.sqrt(features)
        curved = x @ w + 0.5 * np.sin(2 * x[:, 0]) + 0.6 * np.asarray(jax.random.normal(two, (rows,)))
        return x, (curved > 0).astype(np.int32)

    return draw


def toy(make, **settings):
    """A population of `jaxnn.data`; its fixed features do not depend on the key."""

    def draw(key, rows):
        found = make(key, rows=rows, **settings)
        order = np.random.default_rng(np.asarray(jax.random.key_data(key))).permutation(rows)
        return found.x[order], found.y[order]

    return draw


def three_blobs(key, rows):
    """Three overlapping clouds at fixed places."""
    one, two = jax.random.split(key)
    y = np.asarray(jax.random.randint(one, (rows,), 0, 3))
    centres = np.array([[0, 0], [2, 0], [1, 1.8]])
    return centres[y] + np.asarray(jax.random.normal(two, (rows, 2))), y.astype(np.int32)


POPULATIONS = {
    "moons": toy(moons, noise=0.35),
    "noisy-xor": toy(noisy_xor, noise=0.35),
    "blobs": three_blobs,
    "spirals": toy(spirals, noise=0.08, turns=1.0),
    "10 features": line(10),
    "20 features": line(20),
}
QUICK = {"populations": ["moons"], "rows": [150], "tables": 4}
FULL = {"populations": list(POPULATIONS), "rows": [150, 600, 2400], "tables": 200}
STEPS = 200
AT_ONCE = 20  # tables
WAYS = ("rows and runs", "corrected t", "naive t", "seeds on one split")


@dataclass(frozen=True, eq=False)
class Tables(lab.Splits):
    """Splits of stacked tables as they are: the populations are of size one, and fresh rows need no other scale."""

    fresh: tuple | None = None  # x and y, to be tested on in place of the table's

    def parts(self, split):
        """The rows of a split."""
        x, y = self.task.x.astype(np.float32), self.task.y
        train, validation, test = ((x[r[split]], y[r[split]]) for r in (self.train, self.validation, self.test))
        return lab.Parts(train, validation, self.fresh or test)


def right(built, params, x, y):
    return jnp.argmax(built.head.probabilities(built.network.apply(params, x)), axis=-1) == y


def tested(built, run, parts):
    """Right or wrong, on each test row."""
    return tuned(run) | {"right": right(built, run.best_params, *parts.test)}


def tuned(run):
    return {"validation": run.best_metric, "loss": run.history.validation_loss[-1]}


def share(built, run, parts):
    """The truth: the share of right rows, 200 at a time: a block's fit in the cache."""
    x, y = parts.test
    parts = x.reshape(-1, 200, x.shape[1]), y.reshape(-1, 200)
    found = jax.lax.map(lambda part: right(built, run.best_params, *part), parts)
    return tuned(run) | {"right": jnp.mean(found.astype(jnp.float32))}


def compared(tables: Tables, seed, programs, measure=tested, fresh=None):
    """Every activation tuned in every split, then trained on seeds of its own: measured, (arms, splits, seeds, ...)."""
    splits, rows = len(tables), tables.train_rows
    epochs = -(-STEPS // (rows // 32))
    every = max(1, epochs // 4)
    recipe = lab.Recipe(hidden=(32,), batch_size=32, epochs=epochs // every * every, evaluate_every=every)

    def sweep(split, rates, first, tables=tables, measure=tested):
        """`rates` (arms, trials), seeds of each arm's own."""
        groups = [
            lab.Group("table", arm, recipe, {
                "split": split, "learning_rate": rate,
                "seed": first + len(split) * ("twin" in str(arm)) + np.arange(len(split)),
            })
            for arm, rate in zip(ARMS, rates, strict=True)
        ]  # fmt: skip
        found = lab.sweep(
            lab.Plan(tuple(groups)), {"table": tables}, measure=measure, seed=seed, programs=programs, block=400
        )
        return {name: found[name].reshape(len(ARMS), len(split), *found[name].shape[1:])
                for name in ("validation", "loss", "right")}  # fmt: skip

    tried = sweep(np.repeat(np.arange(splits), len(RATES)), np.tile(RATES, (len(ARMS), splits)), 0)
    means, others = (tried[name].reshape(len(ARMS), splits, len(RATES)) for name in ("validation", "loss"))
    best = np.array([[first_best(m, o) for m, o in zip(*arm, strict=True)] for arm in zip(means, others, strict=True)])
    rates = np.repeat(np.array(RATES)[best], SEEDS, axis=1)
    first, judged = 2 * splits * len(RATES), replace(tables, fresh=fresh)
    found = sweep(np.repeat(np.arange(splits), SEEDS), rates, first, judged, measure)["right"]
    return found.reshape(len(ARMS), splits, SEEDS, *found.shape[2:]), np.array(RATES)[best], sweep


def judge(e, rows, seeds, train_rows) -> dict:
    """What every way says of one table: e (arms, splits, tested), seeds (arms, seeds) of one split."""
    found = inference.means(e, rows)
    estimate, best = inference.intervals(found), inference.best(found)
    margins = [inference.contrast(found, i) for i in range(len(ARMS))]
    one = {"rows and runs": (found.value, estimate.low, estimate.high, [(c.high - c.low) / 2 for c in margins])}
    runs = e.mean(2)
    for way, values, factor in (
        ("corrected t", runs, 1 / runs.shape[1] + rows.shape[1] / train_rows),
        ("naive t", runs, 1 / runs.shape[1]),
        ("seeds on one split", seeds, 1 / seeds.shape[1]),
    ):
        t, mean = scipy.stats.t.isf(0.025, values.shape[1] - 1), values.mean(1)
        half = t * np.sqrt(factor) * values.std(1, ddof=1)
        differences = t * np.sqrt(factor) * (values[:, None] - values).std(2, ddof=1)
        one[way] = mean, mean - half, mean + half, differences
    pair = [NAMES.index(name) for name in TWINS]
    return {
        "ways": one, "member": best.member, "at_most": best.at_most,
        "twins": inference.best(found.take(pair)).member,
    }  # fmt: skip


def tables_of(population, rows, numbers, seed, deal):
    """Stacked tables, each with ten splits; `deal` deals their rows anew."""
    several = []
    for number in numbers:
        x, y = POPULATIONS[population](jax.random.fold_in(jax.random.key(seed), number), rows)
        task = lab.Task("table", x, y, tuple("012"[: int(y.max()) + 1]))
        several.append(lab.splits(task, repeats=SPLITS // 5, seed=1_000 * deal + number))
    whole = lab.stack(several)
    return Tables(whole.task, whole.train, whole.validation, whole.test)


def run(population, rows, tables, seed, progress) -> list[dict]:
    """What every way says of every table, with the truth."""
    programs, said = {}, []
    for start in range(0, tables, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, tables))
        here = tables_of(population, rows, numbers, seed, 0)
        e, rates, sweep = compared(here, seed, programs)
        e = e.mean(2).reshape(len(ARMS), len(numbers), SPLITS, -1)
        one = np.repeat(np.arange(len(numbers)) * SPLITS, SPLITS)  # the first split of each table, under ten seeds
        seeds = sweep(one, np.repeat(rates[:, ::SPLITS], SPLITS, axis=1), 10**6)["right"].mean(2)
        seeds = seeds.reshape(len(ARMS), len(numbers), SPLITS)
        # Others for every few tables: one draw's own error, a third of a point, would be in every cell of a line.
        x, y = POPULATIONS[population](jax.random.fold_in(jax.random.key(seed), 999_999 - start), FRESH)
        again, fresh = tables_of(population, rows, numbers, seed, 1), (x.astype(np.float32), y)
        true, *_ = compared(again, seed + 1, programs, share, fresh)
        true = true.mean(2).reshape(len(ARMS), len(numbers), SPLITS)
        tested_rows = here.test.reshape(len(numbers), SPLITS, -1)
        for i in range(len(numbers)):
            found = judge(e[:, i], tested_rows[i], seeds[:, i], here.train_rows)
            error = np.cov(true[:, i]) / SPLITS
            said.append(found | {"truth": true[:, i].mean(1), "error": error})
        progress.advance(len(numbers), note=f"{population}, {rows} rows")
    return said


def summary(said) -> dict[str, dict]:
    """By way: how often its intervals cover the truth, and how wide they are; of rows and runs also the best set."""
    truth, error = (np.array([one[name] for one in said]) for name in ("truth", "error"))
    own = np.diagonal(error, axis1=1, axis2=2)  # variance of the truth, of which only some runs are seen
    both = own[:, :, None] + own[:, None] - 2 * error
    pairs = np.triu_indices(len(ARMS), 1)
    table = {}
    for way in WAYS:
        value, low, high, half = (np.array([one["ways"][way][i] for one in said]) for i in range(4))
        apart, true = (v[:, :, None] - v[:, None] for v in (value, truth))
        side = np.where(truth < value, value - low, high - value)
        table[way] = {
            "activation covered": (np.abs(value - truth) <= np.hypot(side, 1.96 * np.sqrt(own))).ravel(),
            "activation half-width": (high - low).mean() / 2,
            "difference covered": (np.abs(apart - true) <= np.sqrt(half**2 + 1.96**2 * both))[:, *pairs].ravel(),
            "difference half-width": half[:, *pairs].mean(),
        }
    behind = truth.max(1)[:, None] - truth
    member, at_most = (np.array([one[name] for one in said]) for name in ("member", "at_most"))
    table["rows and runs"] |= {
        "a twin falls out": ~np.array([one["twins"] for one in said]).ravel(),
        "the bound holds": (at_most >= behind - 1e-9).ravel(),
        "the truly best falls out": ~member[np.arange(len(said)), truth.argmax(1)],
        "1.5 points behind, found out": ~member[behind >= 0.015],
    }
    return table


def report(population, rows, table, tables, writer) -> None:
    """Print a line for each way, and write every number with its interval."""
    for way, numbers in table.items():
        cells = []
        for name, value in numbers.items():
            if np.ndim(value) == 0:
                writer.writerow([population, rows, tables, way, name, f"{value:.4f}", "", "", ""])
                cells.append(f"{100 * value:5.1f}")
            elif len(value):
                share = wilson(value.sum(), len(value))
                writer.writerow([population, rows, tables, way, name, *(f"{v:.4f}" for v in share[:3]), len(value)])
                cells.append(f"{100 * share.value:5.1f}%")
            else:
                cells.append("     –")
        print(f"{population:12} {rows:5} {way:19} " + "  ".join(cells), flush=True)


def draw(path, results) -> None:
    """Coverage of differences and of activations, by way, population and rows; the band is what 95 % allows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.2 + 0.42 * len(results)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, what in zip(panels, ("activation", "difference"), strict=True):
        panel.axvspan(93, 99, color="0.9")
        for way, marker in zip(WAYS, "os^x", strict=True):
            shares = [100 * table[way][f"{what} covered"].mean() for table in results.values()]
            fill = {"markerfacecolor": "black" if way == WAYS[0] else "white"} if marker != "x" else {}
            panel.plot(shares, range(len(results)), marker, color="black", label=way, **fill)
        panel.set(xlabel=f"% of 95 % intervals of {'an activation' if what == 'activation' else 'a difference'} "
                  "that hold the truth", xlim=(None, 101))  # fmt: skip
    panels[0].set_yticks(range(len(results)), [f"{name}, {rows} rows" for name, rows in results])
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside upper center", ncols=len(WAYS))
    figure.savefig(path, dpi=130)


def parse(arguments):
    parser = options.parser(__doc__, "four tables of moons with 150 rows: seconds")
    parser.add_argument("--populations", nargs="+", choices=POPULATIONS, metavar="NAME", help=", ".join(POPULATIONS))
    parser.add_argument("--rows", nargs="+", type=int, metavar="N", help="default: 150 600 2400")
    parser.add_argument("--tables", type=int, help="of each population and number of rows; default: 200")
    args = options.parsed(parser, arguments, FULL, QUICK)
    if args.tables < 2 or min(args.rows) < 60:
        parser.error("tables are at least 2, rows at least 60")
    return args


def main(arguments=None):
    args = parse(arguments)
    start = time.perf_counter()
    lab.use_all_cores()
    progress = Progress(args.tables * len(args.rows) * len(args.populations), "tables", sys.stderr)
    print(f"{'':39}activation          difference          twin    bound   best   1.5 behind")
    print("population    rows way                 covered  half-width covered  half-width falls   holds   falls  found")
    results = {}
    with (args.out / "calibration.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["population", "rows", "tables", "way", "what", "value", "low", "high", "of"])
        for rows in args.rows:
            for population in args.populations:
                table = summary(run(population, rows, args.tables, args.seed, progress))
                report(population, rows, table, args.tables, writer)
                results[population, rows] = table
                file.flush()
    progress.close()
    draw(args.out / "calibration.png", results)
    seconds = time.perf_counter() - start
    print(f"\n{args.tables} tables each in {seconds:.0f} s; calibration.csv, calibration.png in {args.out}")


if __name__ == "__main__":
    main()
