"""How fast is jaxnn beside scikit-learn, PyTorch, Flax, Equinox and plain JAX? Measured in one run, taking turns.

    python experiments/benchmark.py [--quick] [--jobs NAME ...] [--systems NAME ...] [--rounds N] [--seed SEED]
                                    [--out FOLDER]

Jobs: xor, xor-relu, xor-sgd, xor-relu-sgd (2-8-2, full batch of four rows, 4,096 networks), digits (64-64-10, batch 64,
64 networks), wide (64-256-256-10, batch 64, 32 networks), one-xor, one-digits, one-wide (a single network), products
(of the shapes of these steps, alone: how near the peak a step can come), updates (Adam alone), predict (many rows, and
one), cold (processes, from their start to the accuracy), networks (time and memory against their number, 1 to 10^6) and
commands (from process start to exit). Rivals come with `pip install -e '.[lab,rivals]'`; absent ones are skipped with a
word. On a GPU there are 1,000 digits networks and 10^6 XOR networks, and products are TF32 unless
JAX_DEFAULT_MATMUL_PRECISION is highest, PyTorch's as well.

All start from the same weights and see the same minibatches, both drawn before the clock starts, in float32, with the
same optimizer, on all cores, and evaluate nothing before the end: "gap" is how far 99 % of the losses are at most from
ours, relatively, a few epochs in. Everything is counted per network-step: systems that train one network after another
train one here, and rivals stop early, after a share of a second. The clock includes our evaluations, before and after
training, and no rival's. scikit-learn gets all minibatches as one epoch, which spares it the work between epochs, and
gives XOR's two classes one score, so that its loss is another. PyTorch trains on one thread or on all, whichever is
faster, and where networks are batched its optimizer is fused, its fastest. All that runs on JAX runs under the flags of
`use_all_cores`. Ours keeps of a network its loss and accuracy, rivals keep their weights. A cold process reads rows and
minibatches from a file; we pay for drawing the weights, the rivals do not.

Prints the peak of float32 matrix products, and for each job and system: time, ratio to ours in the same round (median,
minimum, maximum), network-steps per second, share of the peak (matrix products only, without the first layer's input
gradient), seconds of import, tracing and compilation, peak memory of the process. Writes benchmark.csv and, of
"networks", benchmark.png.
"""

import argparse
import csv
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib import import_module, metadata, util
from pathlib import Path

import numpy as np
import options
from rivals.jobs import BLOCK_ON_GPU, JOBS, ON_GPU, order_of, outcome_of, rows_of, start_of
from rivals.systems import SYSTEMS, torch_optimizer, torch_ready

PRODUCTS = 200  # one after the other
SHAPES = {(64, 64, 64): 32, (64, 64, 10): 32, (64, 64, 256): 4, (64, 256, 256): 4, (64, 256, 10): 4}  # in a batch
UPDATES = {"xor": 10_000, "digits": 500, "wide": 100}  # one after the other
SCALING = JOBS["xor"]._replace(epochs=200, block=500)
COLD = {"one-digits": 3, "xor": 1, "digits": 1, "wide": 1}  # processes of each
COMMANDS = {
    "12 activations x 100 seeds of XOR": [Path(__file__).parent / "rivals" / "table.py"],
    "jaxnn compare xor": ["-m", "jaxnn", "compare", "xor"],
    "jaxnn compare xor digits": ["-m", "jaxnn", "compare", "xor", "digits"],
}
COLUMNS = (
    "job system networks threads unit units seconds seconds_min seconds_max ratio ratio_min ratio_max share_of_peak "
    "gap accuracy import_s trace_s compile_s peak_mib"
).split()
QUICK = {"jobs": ["xor", "digits", "products", "updates", "predict", "cold", "networks"], "rounds": 1, "budget": 0.1}
FULL = {"jobs": [*JOBS, "products", "updates", "predict", "cold", "networks", "commands"], "rounds": 7, "budget": 0.25}


def seconds(function, *arguments):
    """(how long it took, what it returned)."""
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def alternate(runs, rounds):
    """{name: (call, units)} -> {name: seconds per unit, (rounds,)}, taking turns."""
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (call, units) in runs.items():
            times[name].append(seconds(call)[0] / units)
    return {name: np.array(values) for name, values in times.items()}


def row_of(job, system, networks, unit, times, base, **more):
    """A row of the table; a ratio compares two times of the same round."""
    row = {"job": job, "system": system, "networks": networks, "unit": unit}
    for column, values in (("seconds", times), ("ratio", np.divide(times, base))):
        row |= {column: np.median(values), f"{column}_min": np.min(values), f"{column}_max": np.max(values)}
    return row | more


def measure_training(title, args):
    job = args.jobs[title]
    start, order, runs, losses, networks, threads = start_of(job), order_of(job), {}, {}, {}, {}
    for name, system in args.systems.items():
        n = networks[name] = 1 if system.alone else job.networks
        train, _ = system.prepare(job._replace(networks=n), [a[:n] for a in start], rows_of(job.data), order)
        losses[name] = outcome_of(job, rows_of(job.data), train(job.check)).loss
        train, each, threads[name] = on_best_threads(system, train, job.check)
        epochs = job.epochs if name == "jaxnn" else int(np.clip(args.budget / each, job.check, job.epochs))
        train(epochs)
        runs[name] = partial(train, epochs), epochs * job.steps * n
    times = alternate(runs, args.rounds)
    for name, system in args.systems.items():
        yield row_of(
            title, system.label, networks[name], "network-step", times[name], times["jaxnn"], units=runs[name][1],
            threads=threads[name],
            share_of_peak=job.flops / np.median(times[name]) / args.peak,
            gap=np.quantile(np.abs(losses[name] / losses["jaxnn"][: networks[name]] - 1), 0.99),
        )  # fmt: skip


def on_best_threads(system, train, epochs):
    """(train, seconds of an epoch, threads): PyTorch on one thread or on all, whichever is faster; others on all."""
    if "torch" not in system.modules:
        return train, seconds(train, epochs)[0] / epochs, os.cpu_count()
    import torch

    def on(threads, epochs):
        torch.set_num_threads(threads)
        return train(epochs)

    counts = (1, os.cpu_count())
    alternate({n: (partial(on, n, epochs), epochs) for n in counts}, 1)
    times = alternate({n: (partial(on, n, epochs), epochs) for n in counts}, 5)
    times = {n: np.median(values) for n, values in times.items()}  # not the least: threads get in each other's way
    best = min(times, key=times.get)
    return partial(on, best), times[best], best


def measure_products(title, args):
    """Batches of one matrix product after another, spread over the devices as training is, and by PyTorch."""
    import jax

    import jaxnn

    def repeated(a, b):
        def once_more(a, _):
            a, c = jax.lax.optimization_barrier((a, a @ b))  # none is left out or taken together
            return a, c[0, 0]

        return jax.lax.scan(once_more, a, None, length=PRODUCTS)[1]

    def again(product, sides):
        return [product(*sides) for _ in range(PRODUCTS)][-1][0, 0, 0].item()  # waits for a GPU

    products = jax.jit(jaxnn.spread(repeated, (-1, -1)))
    torch = torch_ready() if "baddbmm" in args.systems else None
    for (rows, terms, columns), n in SHAPES.items():
        a, b = (np.ones((n, *shape), np.float32) for shape in ((rows, terms), (terms, columns)))
        ours = [jax.numpy.array(np.moveaxis(x, 0, -1)) for x in (a, b)]
        runs = {"jaxnn": (lambda ours=ours: products(*ours).block_until_ready(), PRODUCTS * n)}
        if torch:
            torch.set_num_threads(os.cpu_count())
            theirs = torch.tensor(a), torch.tensor(b)
            runs["baddbmm"] = (lambda theirs=theirs: again(torch.bmm, theirs), PRODUCTS * n)
        alternate(runs, 2)
        times = alternate(runs, args.rounds)
        for name, values in times.items():
            share = 2 * rows * terms * columns / np.median(values) / args.peak
            shape = f"{title} {rows}x{terms}x{columns}"
            yield row_of(shape, SYSTEMS[name].label, n, "product", values, times["jaxnn"], share_of_peak=share)


def measure_updates(title, args):
    """Adam alone, one update after the other of a block of networks, with a gradient that stays as it is."""
    import jax
    import optax

    import jaxnn

    torch = torch_ready() if "baddbmm" in args.systems else None
    for name, times in UPDATES.items():
        job = JOBS[name]
        optimizer = optax.adam(job.rate)

        def repeated(weights, gradients, optimizer=optimizer, times=times):
            def once_more(carry, _):
                updates, state = optimizer.update(gradients, carry[1])
                return (optax.apply_updates(carry[0], updates), state), None

            return jax.lax.scan(once_more, (weights, optimizer.init(weights)), None, length=times)[0][0]

        start = [a[: job.block] for a in start_of(job)]
        weights = [jax.numpy.array(np.moveaxis(a, 0, -1)) for a in start]
        program = jax.jit(jaxnn.spread(repeated, (-1, -1)))
        units = times * job.block
        runs = {"jaxnn": (lambda p=program, w=weights: jax.block_until_ready(p(w, w)), units)}
        if torch:
            torch.set_num_threads(os.cpu_count())
            params = [torch.tensor(a) for a in start]
            for param in params:
                param.grad = param.clone()
            adam = torch_optimizer(job, params)
            runs["baddbmm"] = (
                lambda adam=adam, a=params[0], times=times: ([adam.step() for _ in range(times)], a.sum().item()),
                units,
            )
        alternate(runs, 2)
        measured = alternate(runs, args.rounds)
        for name, values in measured.items():
            sizes = "-".join(map(str, job.sizes))
            yield row_of(f"{title} {sizes}", SYSTEMS[name].label, job.block, "update", values, measured["jaxnn"])


def measure_prediction(title, args):
    job = JOBS["one-digits"]
    arguments = job, start_of(job), rows_of(job.data), None
    predictors = {name: system.prepare(*arguments)[1] for name, system in args.systems.items()}
    x = np.tile(rows_of(job.data)[0], (4 if args.quick else 100, 1))

    def repeat(predict, rows, times):
        for _ in range(times):
            predict(rows)

    for rows, times in ((x, 1), (x[:1], 300)):
        units = len(rows) * times
        runs = {name: (partial(repeat, p, rows, times), units) for name, p in predictors.items() if p}
        alternate(runs, 1)
        measured = alternate(runs, args.rounds)
        for name, values in measured.items():
            job_title = f"{title} {len(rows):,}"
            yield row_of(job_title, SYSTEMS[name].label, 1, "row", values, measured["jaxnn"], units=units)


def measure_cold(title, args):
    for job, rounds in COLD.items():
        if args.quick and job != "one-digits":
            continue
        reports = [
            {name: in_process(title, name, job, args) for name in args.systems} for _ in range(min(rounds, args.rounds))
        ]
        for name, system in args.systems.items():
            total, ours = ([report[n]["total"] for report in reports] for n in (name, "jaxnn"))
            stages = {c: np.median([report[name][c] for report in reports]) for c in COLUMNS if c in reports[0][name]}
            yield row_of(f"{title} {job}", system.label, reports[0][name]["n"], "process", total, ours, **stages)


def measure_networks(title, args):
    for name, system in list(args.systems.items())[: 1 if args.quick else None]:
        for n, took, mib in in_process(title, name, "xor", args)["points"]:
            yield row_of(title, system.label, n, f"{SCALING.epochs} steps", took, np.nan, peak_mib=mib)


def measure_commands(title, args):
    for label, command in COMMANDS.items():
        out = ["--out", Path(args.folder, label)] if "-m" in command else []
        call = partial(subprocess.run, [sys.executable, *command, *out], capture_output=True, text=True)
        took, done = seconds(call)
        if done.returncode:
            print(f"{label}: failed: {done.stderr[-300:]}")
        else:
            yield row_of(title, label, "", "process", took, np.nan)


MEASURES = {
    "products": measure_products,
    "updates": measure_updates,
    "predict": measure_prediction,
    "cold": measure_cold,
    "networks": measure_networks,
    "commands": measure_commands,
}


def in_process(kind, name, job, args):
    """What `child` reports from a process of its own; "total" is from before its start to its result."""
    command = [sys.executable, __file__, "--child", kind, "--jobs", job, "--systems", name, "--seed", str(args.seed)]
    before = time.time()
    done = subprocess.run(
        [*command, "--out", args.folder, *["--quick"] * args.quick], stdout=subprocess.PIPE, check=True
    )
    report = json.loads(done.stdout)
    return report | {"total": report["finished"] - before}


def child(args):
    """The other end of `in_process`."""
    ((name, system),) = list(args.systems.items())[-1:]
    report = {"import_s": seconds(lambda: [import_module(module) for module in system.modules])[0]}
    if name == "jaxnn":
        from jaxnn.lab.devices import use_all_cores

        use_all_cores()
    if args.child == "networks":
        report["points"] = list(points(system, name == "jaxnn", args))
    else:
        report |= once(system, name == "jaxnn", *args.jobs.values(), args)
    print(json.dumps({"finished": time.time()} | report))


def once(system, is_ours, job, args):
    """The first training of a process."""
    compiling = []
    if "jax" in system.modules:
        import jax

        def listen(event, duration, **_):
            compiling.append(duration * event.endswith("backend_compile_duration"))

        jax.monitoring.register_event_duration_secs_listener(listen)
    stored = np.load(Path(args.out, f"{job.data}.npz"))
    rows, job = (stored["x"], stored["y"]), job._replace(networks=1) if system.alone else job
    start = None if is_ours else start_of(job)
    train, _ = system.prepare(job, start, rows, stored["order"] if job.batch else None)
    first, outcome = seconds(lambda: outcome_of(job, rows, train(job.epochs)))
    report = {"finished": time.time(), "peak_mib": peak_mib(), "accuracy": float(outcome.accuracy.mean())}
    report |= {"n": job.networks} | ({"compile_s": sum(compiling)} if compiling else {})
    if is_ours:
        report["trace_s"] = first - seconds(train, job.epochs)[0] - report["compile_s"]
    return report


def points(system, is_ours, args):
    """(networks, seconds, peak memory so far), as far as patience goes."""
    took, block = 0, SCALING.block
    if is_ours:
        import jax

        block = block if jax.default_backend() == "cpu" else BLOCK_ON_GPU
    for n in [10] if args.quick else [10**k for k in range(7)]:
        if 10 * took > (60 if is_ours else 25):
            return
        job = SCALING._replace(networks=n, block=block)
        train, _ = system.prepare(job, None if is_ours else start_of(job), rows_of(job.data), None)
        if not is_ours:
            train, *_ = on_best_threads(system, train, 2)
        took = seconds(train, job.epochs)[0]
        if took < 3 or (is_ours and n <= block):  # the first call compiles
            took = seconds(train, job.epochs)[0]
        yield n, took, peak_mib()


def peak_mib():
    status = Path("/proc/self/status")
    if status.exists():  # a new process inherits its parent's ru_maxrss on Linux
        return int(next(line for line in status.read_text().split("\n") if line.startswith("VmHWM")).split()[1]) / 2**10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def sgemm_peaks(systems, size):
    """{library: FLOP per second} of float32 matrix products."""
    import jax

    a = np.random.default_rng(0).standard_normal((size, size), np.float32)
    on_jax, product = jax.numpy.array(a), jax.jit(lambda a: a @ a)
    calls = {"numpy": lambda: a @ a, "jax": lambda: product(on_jax).block_until_ready()}
    if "baddbmm" in systems:
        on_torch = torch_ready().tensor(a)
        calls["PyTorch"] = lambda: (on_torch @ on_torch)[0, 0].item()  # waits for a GPU
    times = alternate({name: (call, 2 * size**3) for name, call in calls.items()}, 8)
    return {name: 1 / values.min() for name, values in times.items()}


def facts(args):
    """The machine, the versions, the threads and the command."""
    import jax

    from jaxnn.lab.machine import machine

    processor = machine()["processor"]
    names = ("jax", "jaxlib", "optax", "numpy", "scikit-learn", "torch", "flax", "equinox")
    versions = [f"{n} {metadata.version(n)}" for n in names if any(metadata.distributions(name=n))]
    threads = [f"{jax.local_device_count()} JAX {jax.default_backend()} device(s)"]
    if "baddbmm" in args.systems:
        threads.append(f"{import_module('torch').get_num_threads()} PyTorch threads")
    if jax.default_backend() == "gpu":
        precise = jax.config.jax_default_matmul_precision in ("highest", "float32")
        threads.append(f"{jax.devices()[0].device_kind}, its matrix products {'float32' if precise else 'TF32'}")
    return [
        f"{processor}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start",
        f"Python {platform.python_version()}, {', '.join(versions)}",
        f"{', '.join(threads)}; numpy and scikit-learn on all cores",
        f"command: {shlex.join([Path(sys.executable).name, *sys.argv])}",
    ]


def show(row):
    """Print a row of the table."""
    small = row["unit"] in ("network-step", "product", "update", "row")
    text = f"{row['job']:<16} {row['system']:<21} {row['networks']:>7} "
    text += f"{row['seconds'] * 1e6:10.3f} us" if small else f"{row['seconds']:10.3f} s "
    text += f" per {row['unit']:<12}" + (f" {1 / row['seconds']:>12,.0f} /s" if small else "")
    if np.isfinite(row["ratio"]):
        text += f"  ratio {row['ratio']:8.2f} [{row['ratio_min']:.2f}, {row['ratio_max']:.2f}]"
    forms = {
        "share_of_peak": "  {:.1%} of peak", "gap": "  gap {:.0e}", "accuracy": "  accuracy {:.3f}",
        "import_s": "  import {:.2f} s", "trace_s": "  trace {:.2f} s", "compile_s": "  compile {:.2f} s",
        "peak_mib": "  {:.0f} MiB",
    }  # fmt: skip
    print(text + "".join(form.format(row[column]) for column, form in forms.items() if column in row), flush=True)


def write_csv(path, table, notes):
    with path.open("w", newline="") as file:
        file.writelines(f"# {note}\n" for note in notes)
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(
            {c: f"{v:.4g}" if isinstance(v, float) and np.isfinite(v) else "" if v != v else v for c, v in row.items()}
            for row in table
        )


def draw(path, table, notes):
    """Time, and peak memory, against the number of networks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    panels = figure.subplots(1, 2)
    styles = zip("os^Dv<>PX", ("-", "--", "-.", ":") * 3, strict=False)
    for (marker, line), system in zip(styles, SYSTEMS.values(), strict=False):
        rows = [row for row in table if (row["job"], row["system"]) == ("networks", system.label)]
        if not rows:
            continue
        n, took = [row["networks"] for row in rows], [row["seconds"] for row in rows]
        style = {"marker": marker, "markerfacecolor": "black" if system.label == "jaxnn" else "white"}
        for panel, column in zip(panels, ("seconds", "peak_mib"), strict=True):
            panel.plot(n, [row[column] for row in rows], color="black", linestyle=line, label=system.label, **style)
        # Beyond what was run: linear in the number of networks.
        panels[0].plot([n[-1], 1e6], [took[-1], took[-1] * 1e6 / n[-1]], color="0.7", linewidth=0.8)
    panels[0].set(title="Time, warm", yscale="log", ylabel="seconds (grey: not run, linear)")
    panels[1].set(title="Peak memory of the process", ylabel="MiB")
    panels[1].set_ylim(bottom=0)
    for panel in panels:
        panel.set(xscale="log", xlabel="networks")
        panel.grid(color="0.9")
    figure.suptitle(f"Training XOR networks: 2-8-2, tanh, Adam, {SCALING.epochs} steps")
    panels[0].legend(frameon=False, fontsize=9)
    figure.supxlabel("\n".join(notes), fontsize=6, x=0.01, ha="left")
    figure.savefig(path, dpi=130)


def parse(arguments):
    parser = options.parser(__doc__, "few epochs, few jobs, one round: only to see it run")
    parser.add_argument("--jobs", nargs="+", metavar="NAME", choices=FULL["jobs"], help=f"of {' '.join(FULL['jobs'])}")
    parser.add_argument("--systems", nargs="+", metavar="NAME", choices=SYSTEMS, help=f"of {' '.join(SYSTEMS)}")
    parser.add_argument("--rounds", type=int, help="default: 7, quick 1")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = options.parsed(parser, arguments, FULL, QUICK, part=("quick", "jobs", "systems"))
    if args.rounds < 1 or args.seed < 0:
        parser.error("rounds are at least 1, the seed at least 0")
    args.jobs = {title: resolve(title, args) for title in args.jobs}
    # Ours comes first: the others are compared with it.
    chosen = dict.fromkeys([*([] if args.child else ["jaxnn"]), *(args.systems or SYSTEMS)])
    args.systems = {name: SYSTEMS[name] for name in chosen}
    return args


def resolve(title, args):
    """The job of this title, or None of a title without one."""
    job = JOBS.get(title)
    return job and job._replace(seed=args.seed, epochs=job.check if args.quick else job.epochs)


def skip_absent(args):
    for name, system in list(args.systems.items()):
        absent = [m for m in system.modules if util.find_spec(m.split(".")[0]) is None]
        if absent:
            print(f"{system.label}: skipped, there is no {absent[0]} here: pip install -e '.[lab,rivals]'")
            del args.systems[name]


def main(arguments=None):
    args = parse(arguments)
    if args.child:
        return child(args)
    import jax

    from jaxnn.lab.devices import use_all_cores

    begun = time.perf_counter()
    if util.find_spec("sklearn") is None:
        sys.exit("there is no scikit-learn here, which has the digits: pip install -e '.[lab,rivals]'")
    use_all_cores()
    skip_absent(args)
    on_gpu = jax.default_backend() == "gpu"
    if on_gpu:
        args.jobs = {title: job and job._replace(**ON_GPU.get(title, {})) for title, job in args.jobs.items()}
    peaks = sgemm_peaks(args.systems, 1024 if args.quick else 4096 if on_gpu else 2048)
    args.peak = max(peaks.values())
    listed = ", ".join(f"{name} {peak / 1e9:.0f}" for name, peak in peaks.items())
    notes = [*facts(args), f"float32 matrix products, GFLOP/s: {listed}; the largest is the peak"]
    print("\n".join(notes), flush=True)
    table = []
    with tempfile.TemporaryDirectory() as args.folder:
        for data in ("xor", "digits"):
            (x, y), order = rows_of(data), order_of(resolve(data, args))
            np.savez(Path(args.folder, f"{data}.npz"), x=x, y=y, order=[] if order is None else order)
        for title in args.jobs:
            for row in MEASURES.get(title, measure_training)(title, args):
                table.append(row)
                show(row)
    write_csv(args.out / "benchmark.csv", table, notes)
    if "networks" in args.jobs:
        draw(args.out / "benchmark.png", table, notes)
    print(f"{time.perf_counter() - begun:.0f} s; results in {args.out}")
    return None


if __name__ == "__main__":
    main()
