"""The options that every script here has: --quick, --seed, --out."""

import argparse
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def parser(about: str, quick: str) -> argparse.ArgumentParser:
    """Of a script that is about something, and does less of it with --quick."""
    found = argparse.ArgumentParser(
        description=about.split("\n")[0], epilog=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--quick", action="store_true", help=quick)
    found.add_argument("--seed", type=int, default=0, help="of everything random")
    found.add_argument("--out", type=Path, help="default: results/ beside this script, of a part results/quick/")
    return found


def parsed(parser, arguments, full: dict, quick: dict, part=("quick",)) -> argparse.Namespace:
    """The options, those that were not given from `full` or `quick`; with one of `part` the results are of a part."""
    args = parser.parse_args(arguments)
    args.out = args.out or RESULTS / ("quick" if any(getattr(args, name) for name in part) else "")
    for name, value in (quick if args.quick else full).items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {args.out}: {error.strerror}; expected a folder that can be written")
    return args
