"""What a card can do, in one table: speed of training, latency, memory, and one policy from data to success.

    bash examples/gpu_check.sh [--minutes 10]             # on a machine with a CUDA GPU; no network is needed
    bash examples/gpu_check.sh --device cpu --small       # the same parts, reduced, where there is none

Every part is a command in a process of its own with a time limit, the most important first. What fails, crashes or
takes too long is a row that says so. After each part the table is written anew: ``table.md`` and ``manifest.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omp_cli.core.base.device import device_name, pick_device
from omp_cli.core.base.errors import OmpError
from omp_cli.core.base.files import read_jsonl, write_text
from omp_cli.core.base.manifest import write_manifest
from omp_cli.core.base.run import Run

ROOT = Path(__file__).resolve().parents[1]
TRAINED = (("light", "dde"), ("light", "forward"), ("omp-paper", "dde"), ("omp-paper", "forward"))
"""Presets and derivatives whose training step is timed."""
DECIDED = ("light", "omp-paper")
"""Presets whose decision is timed: eager and as a graph, and at last by every runtime, which are built for minutes."""
SMALL_NET = ("--set", "encoder.channels=[8, 16]", "--set", "encoder.points=32", "--set", "net.hidden=32")


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure with its unit, or why there is none."""

    part: str
    what: str
    value: float | None
    unit: str = ""
    note: str = ""


class PartFailed(Exception):
    """A part that has no figures: one line says why."""


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        name: what it is called in the table.
        line: its command.
        rows: the figures of what it printed on its standard output; ``PartFailed`` where there are none.
        seconds: it may take so long, and no longer than is left.
    """

    name: str
    line: Sequence[object]
    rows: Callable[[str], Iterable[Row]]
    seconds: float


def run_part(part: Part, seconds: float, folder: Path) -> list[Row]:
    """The rows of a part, one with the reason where it failed, crashed or took too long."""
    log = folder / "logs" / f"{part.name.replace(' ', '-').replace(',', '')}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    limit = min(part.seconds, seconds)
    if limit < 1:
        return [Row(part.name, "", None, note="skipped: no time is left, --minutes gives it more")]
    try:
        with log.open("w", encoding="utf-8") as errors:
            out = _output([str(word) for word in part.line], limit, errors)
        return list(part.rows(out))
    except PartFailed as failed:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        told = [line.strip() for line in said if "error" in line.lower()] or said
        return [Row(part.name, "", None, note=f"failed: {failed}{f' ({told[-1].strip()[:160]})' if told else ''}")]
    except (ValueError, KeyError, TypeError, IndexError, OSError, OmpError) as error:
        return [Row(part.name, "", None, note=f"failed: no figures in its output ({type(error).__name__}: {error})")]


def _output(line: Sequence[str], limit: float, errors: Any) -> str:
    """What a command writes to its standard output; it is ended with all its processes after ``limit`` seconds."""
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        out, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        raise PartFailed(f"not done within {limit:.0f} s") from None
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode < 0:
        raise PartFailed(f"signal {-process.returncode}")
    if process.returncode:
        raise PartFailed(f"exit code {process.returncode}")
    return out


def omp(*words: object) -> list[object]:
    """A command of this environment's omp."""
    return [sys.executable, "-m", "omp_cli", *words]


def gpu_tests() -> list[Path]:
    """Files with tests that need a GPU; the others may import what such a machine does not have."""
    return sorted(file for file in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in file.read_text())


def parts_of(args: argparse.Namespace) -> list[Part]:
    """All parts, the most important first; the data set of the trainings before them."""
    folder, data = args.folder, args.folder / "data"
    device = ("--device", args.device)
    tests = [ROOT / "tests/train/test_graph.py"] if args.small else gpu_tests()
    suite = ("toy", "--demos", 4) if args.small else ("metaworld", "--demos", 10, "--points", 512)
    found = [
        Part("data", omp("prepare", *suite, "--out", data, "--json"), lambda out: [_episodes(out)], 120),
        Part(
            "tests on a GPU",
            [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *tests],
            lambda out: [Row("tests on a GPU", out.strip().splitlines()[-1].strip("= "), None)],
            240,
        ),
    ]
    steps, every = (9, 3) if args.small else (200, 50)
    reduced = SMALL_NET if args.small else ()
    for preset, derivative in TRAINED[:1] if args.small else TRAINED:
        out = folder / f"{preset}-{derivative}"
        line = ("--preset", preset, "--derivative", derivative, "--steps", steps, "--set", f"train.log_every={every}")
        line += ("--set", f"train.checkpoint_every={steps}", *reduced, "--out", out, "--json")
        name = f"training {preset} {derivative}"
        found.append(Part(name, omp("pretrain", data, *line, *device), _speed_of(name, out, every), 120))
    memory = ("--preset", "light", "--horizon", 4, "--derivative", "dde", "--no-accuracy")
    if args.small:
        memory += ("--points", 48, "--batch", 4)
    else:
        memory += ("--derivative", "forward", "--preset", "omp-paper")
    line = omp("memprofile", *memory, "--out", folder / "memory", "--json", *device)
    found.append(Part("memory", line, _memory, 180))
    policy, episodes = folder / "policy", 2 if args.small else 50
    train = ("--preset", "light", "--derivative", "dde", *(("--steps", 9, *reduced) if args.small else ()))
    found.append(Part("policy", omp("pretrain", data, *train, "--out", policy, "--json", *device), _trained, 240))
    tried = omp("eval", policy, "--episodes", episodes, "--out", folder / "eval", "--json", *device)
    found.append(Part("success", tried, _success, 240))
    for graph in ("off", "auto") if args.device.startswith("cuda") else ("auto",):
        found.append(_tuning(args, graph))
    backends = {"latency": ("--backend", "eager")}
    if args.device.startswith("cuda"):
        backends["latency"] += ("--backend", "cudagraph")
    if not args.small:
        backends["runtimes"] = ("--backend", "all", "--set", "patience=60")
    few = ("--calls", 3, "--blocks", 2) if args.small else ("--nfe", 5)
    for part, chosen in backends.items():
        for preset in DECIDED[:1] if args.small else DECIDED:
            out, line = folder / f"{part}-{preset}", ("--preset", preset, "--nfe", 1, *few, *chosen, "--no-parts")
            bench = omp("bench-latency", *line, "--out", out, "--json", *device)
            found.append(Part(f"{part} {preset}", bench, _latency_of(f"{part} {preset}"), 420))
    return found


def _tuning(args: argparse.Namespace, graph: str) -> Part:
    """Updates of PPO on a cloud, four minibatches of each rollout, passed over a few times; the first are eager."""
    envs, rows, iterations, passes = (4, 8, 3, 2) if args.small else (16, 64, 8, 5)
    settings = {
        "graph": graph,
        "evaluation.every": 0,
        "algorithm.warmup": 0,
        "algorithm.epochs": passes,
        "algorithm.batch_size": rows,
        "algorithm.decisions": 4 * rows // envs,
    }
    line = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    line += ["--envs", envs, "--iterations", iterations, "--workers", 1 if args.small else os.cpu_count()]
    name, out = f"finetune, graph {graph}", args.folder / f"finetune-{graph}"

    def updates(said: str) -> list[Row]:
        found = _result(said)
        seconds = found["seconds_by_part"]["update"] / (4 * passes * iterations)
        return [Row(name, f"update of {rows} rows", 1e3 * seconds, "ms", found["graph"])]

    start = args.folder / "light-dde"
    return Part(name, omp("finetune", start, *line, "--out", out, "--json", "--device", args.device), updates, 180)


def _result(out: str) -> dict[str, Any]:
    return json.loads(out)["result"]


def _episodes(out: str) -> Row:
    return Row("data", "demonstrations", _result(out)["demos"], "")


def _speed_of(name: str, run: Path, every: int) -> Callable[[str], list[Row]]:
    """Steady time of a step: from the first logged step to the last, so without start-up and checkpoint."""

    def rows(out: str) -> list[Row]:
        result = _result(out)
        logged = [row for row in read_jsonl(run / "metrics.jsonl") if row["step"] % every == 0]
        (first, rate_1), (last, rate_2) = ((row["step"], row["samples_per_second"]) for row in (logged[0], logged[-1]))
        # A rate counts from the start of the run, so step / rate is a time of the run in steps' units.
        batch = json.loads((run / "manifest.json").read_text())["config"]["train.batch_size"]["value"]
        seconds = batch * (last / rate_2 - first / rate_1)
        note = f"{result['graph']}; {result['precision']}; loss {result['loss']:.4g}"
        return [Row(name, "step", 1e3 * seconds / (last - first), "ms", note)]

    return rows


def _latency_of(name: str) -> Callable[[str], list[Row]]:
    def rows(out: str) -> list[Row]:
        return [
            Row(
                name,
                f"NFE {row['nfe']}, {row['backend']}, encoder {row['encoder']}",
                row["ms"] and row["ms"]["p50"],
                "ms",
                "" if row["status"] == "measured" else f"{row['status']}: {row['reason']}",
            )
            for row in _result(out)["rows"]
        ]

    return rows


def _memory(out: str) -> list[Row]:
    """What comes and goes within a step, as each way of counting has it."""
    rows = []
    for row in _result(out)["rows"]:
        what = f"{row['name']} {row['derivative']}, {row['how']}"
        value = None if row.get("peak_allocated") is None else row["peak_allocated"] / 2**20
        rows.append(Row("memory", what, value, "MiB at the peak"))
    return rows


def _trained(out: str) -> list[Row]:
    result = _result(out)
    return [Row("policy", f"{result['steps']} steps", result["train_seconds"], "s", result["graph"])]


def _success(out: str) -> list[Row]:
    rate = _result(out)["success_any"]
    return [Row("success", f"{rate['successes']} of {rate['episodes']} episodes", 100 * rate["rate"], "%")]


def markdown(rows: Sequence[Row], title: str) -> str:
    """The table as GitHub shows it, and readable as it is."""
    cells = [["part", "what", "figure", "unit", "note"]]
    for row in rows:
        value = "-" if row.value is None else f"{row.value:.4g}"
        cells.append([text.replace("|", "/") for text in (row.part, row.what, value, row.unit, row.note)])
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = [" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in cells]
    lines.insert(1, " | ".join("-" * width for width in widths))
    return f"# {title}\n\n" + "".join(f"| {line} |\n" for line in lines)


def main(args: argparse.Namespace) -> list[Row]:
    """Every part in turn; the rows."""
    end = time.monotonic() + 60 * args.minutes
    rows: list[Row] = []
    device = device_name(pick_device(args.device))
    settings = {name: {"value": getattr(args, name), "source": "argument"} for name in ("minutes", "device", "small")}
    with Run(args.folder, "gpu-check", settings, {}, device, earlier="kept") as run:
        for part in parts_of(args):
            if args.part and not part.name.startswith(tuple(args.part)):
                continue
            print(f"{part.name} ...", file=sys.stderr, flush=True)
            rows += run_part(part, end - time.monotonic(), args.folder)
            table = args.folder / "table.md"
            write_text(table, markdown(rows, f"{device}, torch {run.manifest.versions.get('torch')}"))
            run.artifact(table)
            run.metrics(rows=[asdict(row) for row in rows])
            write_manifest(run.folder, run.manifest)
    print((args.folder / "table.md").read_text())
    print(f"manifest {run.path}", file=sys.stderr)
    return rows


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """What stands on the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all parts together (default: 10)")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (default: cuda)")
    parser.add_argument("--small", action="store_true", help="reduced parts on a suite that needs no simulator")
    parser.add_argument("--part", action="append", default=[], help="only parts whose name begins so; repeatable")
    stamp = time.strftime("%Y%m%d-%H%M%S")
    parser.add_argument("--folder", type=Path, default=Path("runs/gpu-check") / stamp, help="where results go")
    return parser.parse_args(words)


if __name__ == "__main__":
    try:
        main(arguments())
    except OmpError as error:
        print(f"error: {error.message}{f' ({error.hint})' if error.hint else ''}", file=sys.stderr)
        sys.exit(error.exit_code)
