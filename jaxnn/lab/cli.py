"""The command: `jaxnn compare TASK...` and what belongs to it; `python -m jaxnn` is the same.

It is a thin skin over `jaxnn.lab`. Errors are one line on standard error and a non-zero exit, 2 for a wrong option or
value; an interrupted comparison keeps what it has.
"""

import argparse
import errno
import os
import sys
import time
from pathlib import Path

EPILOG = """\
The rows are split ten times; in every split each activation's learning rate is tuned on validation rows and its
networks are trained on fresh seeds. What they do on the test rows is an answer about new rows: intervals, honest ties.

  jaxnn compare xor digits                                 two tasks, a dozen activations
  jaxnn compare pets.csv --label kind --target 0.9         your own table of numbers
  jaxnn compare digits --activations relu gelu "0.5 relu + 0.5 sin" --budget 200ms
  jaxnn compare wine --activations relu mine:swish2        a function of your own, in mine.py
  jaxnn compare moons --hidden 16 16 --mixtures            two hidden layers; search mixtures as well
  jaxnn activations gelu                                   what is known about one activation
  jaxnn replay runs/xor-digits 17                          train one trial again, alone

The same command goes on where it was interrupted. Compiled programs are kept for the next one in the user's cache
folder (see `jaxnn cache`): JAXNN_CACHE=FOLDER moves them, JAXNN_CACHE=off keeps none.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status.

    Args: arguments, those of the process where None.

    >>> main(["tasks"])  # doctest: +ELLIPSIS
    and ...
    0
    """
    args = _parser().parse_args(arguments)
    try:
        return args.run(args) or 0
    except KeyboardInterrupt:
        print("\njaxnn: interrupted; finished blocks are kept, the same command goes on from there", file=sys.stderr)
        return 130
    except (ValueError, TypeError) as error:
        print(f"jaxnn: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # nobody reads on, as in `jaxnn activations | head -3`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ImportError, OSError) as error:
        number, told = getattr(error, "errno", None), str(error)
        if number and error.filename:
            told = f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
        if number == errno.ENOSPC:
            told += "; finished blocks are kept, the same command goes on where there is space"
        print(f"jaxnn: {told}", file=sys.stderr)
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
    command = commands.add_parser("cache", help="tell where compiled programs are kept, and how much of them")
    command.add_argument("--clear", action="store_true", help="delete them")
    command.set_defaults(run=_cache)
    return parser


def _compare_parser(commands) -> None:
    command = commands.add_parser(
        "compare",
        help="compare activations on tasks",
        description="Compare activations on tasks: built-in names (see `jaxnn tasks`) or CSV files of numbers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is the default of `lab.compare`
    )
    command.set_defaults(run=_compare)
    add = command.add_argument
    add("tasks", nargs="+", metavar="TASK", help="a built-in name, or a CSV file")
    add("--label", metavar="COLUMN", help="the column of CSV files that holds the classes")
    group = command.add_argument_group("what is compared")
    add = group.add_argument
    add("--activations", nargs="+", metavar="NAME", help='default: a dozen; "all"; module:function; mixtures as '
        '"0.5 relu + 0.5 tanh"')  # fmt: skip
    add("--mixtures", action="store_true", help="search mixtures too, as many as there are activations")
    add("--null-pair", action="store_true", help="run the baseline once more under other seeds, as a check")
    add("--baseline", metavar="NAME", help="that differences are from; default: relu, else the first")
    add("--references", action="store_true", help="scikit-learn's gradient boosting and forest on the same rows")
    group = command.add_argument_group("what is wanted")
    add = group.add_argument
    add("--target", type=float, help="the metric to reach on the validation rows, from 0 to 1 (truth tables: solved)")
    add("--budget", metavar="TIME", help="for one network alone: 5s, 200ms")
    add("--metric", metavar="NAME", help="default: accuracy; of truth tables always whether they are solved")
    add("--tolerance", type=float, help="so far behind a recommendation may be; default: 0.01, one point")
    group = command.add_argument_group("how it is trained")
    add = group.add_argument
    add("--hidden", type=int, nargs="+", metavar="UNITS", help="of every hidden layer; default: by the task")
    add("--learning-rates", type=float, nargs="+", metavar="RATE", help="default: 0.001 0.003 0.01 0.03 0.1")
    add("--epochs", type=int, help="default: by the task")
    add("--batch-size", type=int, help="default: by the task")
    add("--optimizer", metavar="NAME", help="of optax; default: adam")
    add("--head", metavar="NAME", help="default: sigmoid for two classes, softmax for more")
    add("--init", metavar="NAME", help="default: matched, by each activation's gain; he_normal, ...")
    add("--architecture", metavar="MODULE:FUNCTION", help="(activation, task) -> Network, in place of hidden layers")
    group = command.add_argument_group("how sure it is")
    add = group.add_argument
    add("--repeats", type=int, help="so often five folds; default: 2, which makes ten splits")
    add("--seeds", type=int, help="of the verdict in each split; default: 3, for truth tables 100")
    add("--tuning-seeds", type=int, help="in each split; default: 2, for truth tables 20")
    add("--rate", type=float, help="at which equals may be called different; default: 0.05")
    add("--confidence", type=float, help="of the intervals; default: 0.95")
    add("--no-timing", dest="timing", action="store_false", help="do not measure what a step costs")
    add("--seed", type=int, help="of everything random; default: 0")
    group = command.add_argument_group("what it leaves")
    add = group.add_argument
    add("--out", type=Path, metavar="FOLDER", default=None, help="default: runs/TASKS")
    add("--json", action="store_true", default=False, help="print the answer as JSON instead of text")


def _compare(args) -> int:
    from jaxnn import lab
    from jaxnn.activations import ACTIVATIONS
    from jaxnn.lab import cache, results
    from jaxnn.lab.answer import to_json

    start = time.perf_counter()
    results.check()
    lab.use_all_cores()
    options = {name: value for name, value in vars(args).items() if name not in ("run", "out", "json")}
    if options.get("activations") == ["all"]:
        options["activations"] = [name for name, record in ACTIVATIONS.items() if not record.untrainable]
    out = args.out or Path("runs", "-".join(Path(task).stem for task in args.tasks))
    sys.path.insert(0, "")  # module:function of the present folder
    with cache.used():
        answer = lab.compare(**options, folder=out)
        _say_what_is_replaced(out, answer)
        page = answer.save(out)
    if args.json:
        print(to_json(answer))
        return 0
    print(f"\n{answer}\n\nreport: {page}   ({time.perf_counter() - start:.0f} s)")
    return 0


def _say_what_is_replaced(out: Path, answer) -> None:
    """The answer to another question makes room for the new one; its blocks stay."""
    from jaxnn.lab import results, wording

    try:
        before = results.load(out).record
    except (OSError, ValueError):
        return
    if before.question != answer.question:
        told = wording.command(before) or wording.call(before)
        print(
            f"jaxnn: {out} held the answer to {told!r}, which is replaced; asked again, that trains nothing anew",
            file=sys.stderr,
        )


def _activations(args) -> int:
    from jaxnn.activations import ACTIVATIONS, get
    from jaxnn.lab.facts import facts

    if args.name is None and args.plot:
        raise ValueError("--plot draws one activation; name it, as in: jaxnn activations gelu --plot gelu.png")
    if args.name is None:
        width = max(map(len, ACTIVATIONS))
        for record in ACTIVATIONS.values():
            print(f"{record.name:<{width}}  {record.formula}")
        return 0
    record = get(args.name)
    told = facts(record)
    if args.plot:
        from jaxnn.lab import figures

        figures.activation(record).savefig(args.plot)
        told["figure"] = str(args.plot)
    print(record.name)
    for name, fact in told.items():
        print(f"  {name:<22} {fact}")
    return 0


def _tasks(args) -> int:
    from jaxnn.data import DATASETS

    for name, source in DATASETS.items():
        print(f"{name:<14} {source.about}")
    return 0


def _replay(args) -> int:
    from jaxnn import lab
    from jaxnn.lab import cache
    from jaxnn.lab.sweeps import CURVES

    lab.use_all_cores()
    sys.path.insert(0, "")
    answer = lab.load(args.result)
    with cache.used():
        run, row = answer.replay(args.trial), answer.trials.take([args.trial])
    told = {name: row[name][0] for name in ("activation", "task", "split", "seed", "learning_rate")}
    print(
        f"trial {args.trial}: {told['activation']} on {told['task']}, split {told['split']}, seed {told['seed']}, "
        f"learning rate {told['learning_rate']:g}"
    )
    again = {name: float(getattr(run.history, name)[-1]) for name in CURVES}
    again |= {
        name: float(getattr(run, name)) for name in ("best_step", "last_step", "target_step", "reached", "diverged")
    }
    print(f"  {'':<20} {'in the sweep':>14} {'alone':>14}")
    for name, value in again.items():
        print(f"  {name:<20} {float(row[name][0]):>14.6g} {value:>14.6g}")
    apart = max(abs(float(row[name][0]) - value) for name, value in again.items() if name in CURVES)
    print(f"largest difference of loss and metric (training amplifies rounding, step by step): {apart:.2g}")
    return 0


def _report(args) -> int:
    from jaxnn import lab
    from jaxnn.lab import store

    page = lab.load(args.result).report()
    store.write_atomically(args.result / "report.html", lambda file: file.write(page.encode()))
    print(f"report: {args.result / 'report.html'}")
    return 0


def _cache(args) -> int:
    from jaxnn.lab import cache

    folder = cache.root()
    if folder is None:
        print(f"no programs are kept: {cache.SWITCH} is off")
        return 0
    if args.clear:
        for program in cache.programs(folder):
            cache.delete(program)
    kept = cache.programs(folder)
    print(f"{folder}: {len(kept)} programs, {sum(kept.values()) / 2**20:.1f} of at most {cache.LIMIT / 2**20:.0f} MiB")
    return 0
