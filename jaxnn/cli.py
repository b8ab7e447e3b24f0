"""The command: `jaxnn compare TASK...` and what belongs to it; `python -m jaxnn` is the same.

Errors are one line on standard error and a non-zero exit; an interrupted comparison keeps what it has.
"""

import argparse
import csv
import errno
import json
import re
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

EPILOG = """\
A comparison trains every activation at every learning rate on some seeds, keeps for each the rate that is best on the
validation rows, trains it again on seeds that tuning never saw, and compares the test rows: best set, ties, intervals.

  jaxnn compare xor digits                                 two tasks, a dozen activations
  jaxnn compare pets.csv --label kind --target 0.9         your own table of numbers
  jaxnn compare digits --activations relu gelu "0.5 relu + 0.5 sin" --budget 200ms
  jaxnn compare moons --hidden 16 16 --mixtures            two hidden layers; search mixtures as well
  jaxnn activations gelu                                   what is known about one activation
  jaxnn replay runs/xor-digits 17                          train one trial again, alone

The same command goes on where it was interrupted.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status.

    Args: arguments, those of the process where None.

    >>> main(["tasks"])  # doctest: +ELLIPSIS
    and ...
    0
    """
    args = _parser().parse_args(arguments)
    args.command_line = shlex.join(["jaxnn", *(sys.argv[1:] if arguments is None else arguments)])
    try:
        return args.run(args) or 0
    except KeyboardInterrupt:
        print("\njaxnn: interrupted; finished blocks are kept, the same command goes on from there", file=sys.stderr)
        return 130
    except (ValueError, TypeError, ImportError, OSError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC
        more = "; finished blocks are kept, the same command goes on where there is space" if full else ""
        print(f"jaxnn: {error}{more}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jaxnn",
        description="Which activation should I choose? Compared on your task, with intervals.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _compare_parser(commands)
    command = commands.add_parser("activations", help="list the activations, or tell what is known about one")
    command.add_argument("name", nargs="?", metavar="NAME")
    command.add_argument("--plot", type=Path, metavar="FILE", help="draw it and its derivative into a PNG or SVG file")
    command.set_defaults(run=_activations)
    command = commands.add_parser("tasks", help="list the built-in tasks")
    command.set_defaults(run=_tasks)
    command = commands.add_parser("replay", help="train one trial of a result again, alone")
    command.add_argument("result", type=Path, metavar="RESULT", help="folder of a comparison")
    command.add_argument("trial", type=int, metavar="TRIAL", help="number in its trials.parquet")
    command.set_defaults(run=_replay)
    command = commands.add_parser("report", help="write the report of a result again")
    command.add_argument("result", type=Path, metavar="RESULT", help="folder of a comparison")
    command.set_defaults(run=_report)
    return parser


def _compare_parser(commands) -> None:
    command = commands.add_parser(
        "compare",
        help="compare activations on tasks",
        description="Compare activations on tasks: built-in names (see `jaxnn tasks`) or CSV files of numbers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=_compare)
    add = command.add_argument
    add("tasks", nargs="+", metavar="TASK", help="a built-in name, or a CSV file")
    add("--label", metavar="COLUMN", help="the column of CSV files that holds the classes")
    group = command.add_argument_group("what is compared")
    add = group.add_argument
    add("--activations", nargs="+", metavar="NAME", help='default: a dozen; "all"; mixtures as "0.5 relu + 0.5 tanh"')
    add("--mixtures", action="store_true", help="search mixtures too, as many as there are activations")
    add("--null-pair", action="store_true", help="run the baseline once more under other seeds, as a check")
    add("--baseline", metavar="NAME", help="that differences are from; default: relu, else the first")
    group = command.add_argument_group("what is wanted")
    add = group.add_argument
    add("--target", type=float, help="the metric to reach on the validation rows, from 0 to 1 (truth tables: solved)")
    add("--budget", type=_seconds, metavar="TIME", help="for one network alone: 5s, 200ms")
    add("--metric", default="accuracy", help="default: accuracy; of truth tables always whether they are solved")
    group = command.add_argument_group("how it is trained")
    add = group.add_argument
    add("--hidden", type=int, nargs="+", metavar="UNITS", help="of every hidden layer; default: by the task")
    add("--learning-rates", type=float, nargs="+", metavar="RATE", help="default: 0.001 0.003 0.01 0.03 0.1")
    add("--epochs", type=int, help="default: by the task")
    add("--batch-size", type=int, help="default: by the task")
    add("--optimizer", default="adam", help="of optax; default: adam")
    add("--head", help="default: sigmoid for two classes, softmax for more")
    add("--init", default="matched", help="default: matched, by each activation's gain; he_normal, ...")
    group = command.add_argument_group("how sure it is")
    add = group.add_argument
    add("--seeds", type=int, help="of the verdict; default: 25, for truth tables 100")
    add("--tuning-seeds", type=int, help="default: 10, for truth tables 20")
    add("--rate", type=float, default=0.05, help="at which equals may be called different; default: 0.05")
    add("--seed", type=int, default=0, help="of everything random; default: 0")
    group = command.add_argument_group("what it leaves")
    add = group.add_argument
    add("--out", type=Path, metavar="FOLDER", help="default: runs/TASKS")
    add("--json", action="store_true", help="print the answer as JSON instead of text")


def _seconds(text: str) -> float:
    match = re.fullmatch(r"([0-9.]+(?:e-?[0-9]+)?) ?(s|ms|min|)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 5s, 200ms or 2min")
    return float(match[1]) * {"s": 1, "": 1, "ms": 1e-3, "min": 60}[match[2]]


def _compare(args) -> int:
    from jaxnn import comparison, devices, plots, report, verdict
    from jaxnn.progress import Progress

    start = time.perf_counter()
    devices.use_all_cores()
    del plots  # a missing extra is told before hours of work, not after
    settings = _settings(args)
    problems = _problems(args)
    out = args.out or Path("runs", "-".join(Path(task).stem for task in args.tasks))
    _say_what_is_replaced(out, args)
    progress = Progress(0, "networks", sys.stderr)
    try:
        measured = comparison.measure(problems, settings, folder=out, progress=progress)
    finally:
        progress.close()
    found = verdict.answer(measured, problems, settings)
    about = _about(args, out, settings, problems, time.perf_counter() - start)
    _write(out, about | found, verdict.curves(measured, found, problems, settings), measured)
    page = report.write(out)
    if args.json:
        print(json.dumps(about | found, indent=1))
        return 0
    for task in found["tasks"]:
        print(f"\n{verdict.table(task)}")
    print(f"\n{found['answer']}\n\nreport: {page}   ({time.perf_counter() - start:.0f} s)")
    return 0


def _say_what_is_replaced(out: Path, args) -> None:
    """The answer of another command makes room for the new one; its blocks stay."""
    path = out / "answer.json"
    if path.exists():
        before = json.loads(path.read_text()).get("command")
        if before != args.command_line:
            print(f"jaxnn: {out} holds the answer to {before!r}, which is replaced (--out keeps it)", file=sys.stderr)


def _settings(args):
    from jaxnn.activations import ACTIVATIONS
    from jaxnn.comparison import Settings
    from jaxnn.plan import activation_label, parse_activation

    names = args.activations or Settings().activations
    if names == ["all"]:
        names = [name for name, record in ACTIVATIONS.items() if not record.untrainable]
    activations = tuple(map(parse_activation, names))
    labels = [activation_label(activation) for activation in activations]
    baseline = "relu" if "relu" in labels else labels[0]
    if args.baseline:
        baseline = activation_label(parse_activation(args.baseline))
    return Settings(
        activations=activations,
        learning_rates=tuple(args.learning_rates or Settings().learning_rates),
        tuning_seeds=args.tuning_seeds,
        seeds=args.seeds,
        hidden=args.hidden and tuple(args.hidden),
        init=args.init,
        optimizer=args.optimizer,
        head=args.head,
        baseline=baseline,
        target=args.target,
        budget=args.budget,
        rate=args.rate,
        mixtures=args.mixtures,
        null_pair=args.null_pair,
        seed=args.seed,
    )


def _problems(args) -> dict:
    import jax

    from jaxnn import comparison, data

    key = jax.random.fold_in(jax.random.key(args.seed), 1)
    changes = {name: getattr(args, name) for name in ("epochs", "batch_size") if getattr(args, name) is not None}
    problems = {}
    for name in args.tasks:
        if name.endswith(".csv") or Path(name).is_file():
            if args.label is None:
                raise ValueError(f"{name}: which column holds the classes? say --label COLUMN")
            dataset, exhaustive = data.load_csv(name, args.label), False
        else:
            dataset, exhaustive = data.get_task(name).load(key), data.get_task(name).exhaustive
        more = changes if exhaustive else changes | {"metric": args.metric, "target": args.target}
        if dataset.name in problems:
            raise ValueError(f"two tasks have the name {dataset.name!r}; leave one out, or rename its file")
        problems[dataset.name] = comparison.problem(dataset, exhaustive, args.seed, **more)
    return problems


def _about(args, out, settings, problems, seconds) -> dict:
    """What was run, where and with what."""
    from jaxnn import devices

    told = settings._asdict() | {"budget_seconds": settings.budget, "confidence": 0.95}
    told["activations"] = [str(name) for name in args.activations or settings.activations]
    return {
        "command": args.command_line,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "folder": str(out),
        "directory": str(Path.cwd()),
        "rows": {name: _digest(problem) for name, problem in problems.items()},
        "versions": devices.versions() | {"python": sys.version.split()[0]},
        "machine": devices.machine(),
        "settings": told,
    }


def _digest(problem) -> str:
    """A short name for the rows of a task."""
    from jaxnn import store

    return store.digest([(part.x, part.y) for part in problem.data])


def _write(out: Path, found: dict, curves: dict, measured) -> None:
    """The answer, its curves, and the table of all trials."""
    import numpy as np
    import pyarrow
    from pyarrow import parquet

    from jaxnn import store

    tuning, verdict = measured.tuning.table, measured.verdict.table
    table = {name: np.concatenate([column, verdict[name]]) for name, column in tuning.items()}
    table["trial"] = np.arange(len(table["trial"]))
    phase = np.repeat(["tune", "verdict"], [len(tuning["trial"]), len(verdict["trial"])])
    table = {"trial": table.pop("trial"), "phase": phase, **table}
    store.write_atomically(out / "trials.parquet", lambda file: parquet.write_table(pyarrow.table(table), file))
    store.write_atomically(out / "curves.npz", lambda file: np.savez_compressed(file, **curves))
    store.write_atomically(out / "answers.csv", lambda file: file.write(_rows_as_csv(found).encode()))
    text = json.dumps(found, indent=1, default=str)
    store.write_atomically(out / "answer.json", lambda file: file.write(text.encode()))


def _rows_as_csv(found: dict) -> str:
    """One row for each task and arm."""
    import io

    text = io.StringIO()
    names = ("task", "arm", "learning_rate", "test", "low", "high", "runs", "diverged", "in_best", "p_best", "reached")
    names += ("median_steps", "seconds_per_step_alone", "seconds_per_step_block", "seconds_to_target", "pareto")
    writer = csv.DictWriter(text, names, extrasaction="ignore")
    writer.writeheader()
    for task in found["tasks"]:
        for arm in task["arms"]:
            test = {"test": arm["test"]["value"]} | {name: arm["test"][name] for name in names[4:8]}
            times = {name: arm[name] and arm[name]["value"] for name in ("reached", "median_steps")}
            writer.writerow(arm | {"task": task["task"], "arm": arm["name"]} | test | times)
    return text.getvalue()


def _activations(args) -> int:
    from jaxnn.activations import ACTIVATIONS, get
    from jaxnn.propagation import activation_facts

    if args.name is None and args.plot:
        raise ValueError("--plot draws one activation; name it, as in: jaxnn activations gelu --plot gelu.png")
    if args.name is None:
        width = max(map(len, ACTIVATIONS))
        for record in ACTIVATIONS.values():
            print(f"{record.name:<{width}}  {record.formula}")
        return 0
    record = get(args.name)
    facts = {
        "formula": record.formula,
        "source": record.source,
        "range": record.range,
        "monotone": "yes" if record.monotone else "no",
        "smoothness": _smoothness(record.smoothness),
        "kinks": ", ".join(f"{at:g} (derivative there {slope:g})" for at, slope in record.kinks),
        "parameters": ", ".join(f"{name}, at first {value:.4g}" for name, value in record.params),
        "constants": ", ".join(f"{name} = {value:g}" for name, value in record.constants.items()),
        "draws random numbers": "in training" if record.random else "",
        "cannot be trained": record.untrainable,
        "aliases": ", ".join(record.aliases),
        "gain": record.gain,
    }
    if record.inputs == record.outputs == 1:
        found = activation_facts(record)
        weight, bias = found.edge
        facts |= {
            "backward gain": f"{found.backward_gain:.10g}",
            "χ₁ at its gain": f"{found.chi_1:.10g}",
            "V′(1) at its gain": f"{found.stability:.6g}",
            "edge of chaos at q = 1": f"σ_w² = {weight:.6g}, σ_b² = {bias:.6g}",
        }
    print(record.name)
    for name, fact in facts.items():
        if fact not in ("", None):
            print(f"  {name:<22} {fact}")
    if args.plot:
        from jaxnn import plots

        plots.activation(record).savefig(args.plot)
        print(f"  {'figure':<22} {args.plot}")
    return 0


def _smoothness(value) -> str:
    if value == float("inf"):
        return "C∞"
    return "jumps" if value < 0 else f"C{value}"


def _tasks(args) -> int:
    from jaxnn.data import TASKS

    for name, task in TASKS.items():
        print(f"{name:<14} {task.source}")
    return 0


def _replay(args) -> int:
    import jax
    import numpy as np
    from pyarrow import parquet

    from jaxnn import devices
    from jaxnn.answers import read
    from jaxnn.plan import Choices, parse_activation
    from jaxnn.sweep import CURVES, run_trial, trial_arguments

    found, _ = read(args.result)
    devices.use_all_cores()
    rows = parquet.read_table(args.result / "trials.parquet").to_pylist()
    if not 0 <= args.trial < len(rows):
        raise ValueError(f"trial {args.trial}; {args.result} has 0 to {len(rows) - 1}")
    row = rows[args.trial]
    told = _parser().parse_args(shlex.split(found["command"])[1:])
    files = [Path(found["directory"], task) for task in told.tasks]
    told.tasks = [str(file) if file.is_file() else task for file, task in zip(files, told.tasks, strict=True)]
    problem = _problems(told)[row["task"]]
    if _digest(problem) != found["rows"][row["task"]]:
        raise ValueError(f"the rows of {row['task']} are not those that were compared; the trial cannot be repeated")
    choices = Choices(
        row["task"], parse_activation(row["activation"]), tuple(map(int, row["hidden"].split("x"))), told.head,
        row["init"], row["optimizer"],
    )  # fmt: skip
    numbers = {name: row[name] for name in ("learning_rate", "seed")}
    arguments = trial_arguments(choices, problem, numbers, jax.random.key(told.seed))
    run = jax.jit(lambda *a: run_trial(choices, problem, *a))(*arguments)
    print(
        f"trial {args.trial}: {row['activation']} on {row['task']}, learning rate {row['learning_rate']:g}, "
        f"seed {row['seed']}"
    )
    again = {name: float(getattr(run.history, name)[-1]) for name in CURVES}
    again |= {
        name: float(getattr(run, name)) for name in ("best_step", "last_step", "target_step", "reached", "diverged")
    }
    print(f"  {'':<20} {'in the sweep':>14} {'alone':>14}")
    for name, value in again.items():
        print(f"  {name:<20} {float(row[name]):>14.6g} {value:>14.6g}")
    apart = max(abs(float(row[name]) - value) for name, value in again.items() if name in CURVES)
    print(f"largest difference of loss and metric (training amplifies rounding, step by step): {np.float32(apart):.2g}")
    return 0


def _report(args) -> int:
    from jaxnn import report

    print(f"report: {report.write(args.result)}")
    return 0
