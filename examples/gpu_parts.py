"""The parts of ``gpu_check.py``: their commands, the most important first, and how their figures are read."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from gpu_run import Part, PartFailed, Row

from omp_cli.core.base.files import read_jsonl

EXAMPLES = Path(__file__).resolve().parent
ROOT = EXAMPLES.parent
LARGE = "omp-paper"
"""The preset of 256 M parameters."""
TRAINED = ((LARGE, "dde"), (LARGE, "forward"), ("light", "dde"), ("light", "forward"))
"""Presets and derivatives whose training step is timed."""
DECIDED = (LARGE, "light", "dmpo")
"""Presets whose decision is timed: eager and as a graph, and at last by every runtime, which are built for minutes."""
SMALL_CLOUD = ("--set", "encoder.channels=[8, 16]", "--set", "encoder.points=32")
SMALL = {
    LARGE: (*SMALL_CLOUD, "--set", "net.dims=[16, 32]", "--batch-size", 8),
    "light": (*SMALL_CLOUD, "--set", "net.hidden=32"),
    "dmpo": ("--set", "encoder.width=16", "--set", "net.hidden=32", "--batch-size", 8),
}
TESTS = "tests on a GPU"
VERDICT = re.compile(r"^(\S+::.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b")


def omp(*words: object) -> list[object]:
    """A command of this environment's omp."""
    return [sys.executable, "-m", "omp_cli", *words]


def script(name: str, *words: object) -> list[object]:
    """A script beside this one."""
    return [sys.executable, EXAMPLES / name, *words]


def gpu_tests() -> list[Path]:
    """Files with tests that need a GPU; the others may import what such a machine does not have."""
    return sorted(file for file in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in file.read_text())


def parts_of(args: argparse.Namespace) -> list[Part]:
    """All parts, the most important first; what a part needs is made before it."""
    large = args.folder / f"{LARGE}-dde"
    suite = ("toy", "--demos", 4) if args.small else ("metaworld", "--demos", 10, "--points", 512)
    pictures = args.folder / "pictures"
    trained = [(preset, way) for preset, way in TRAINED if way == "dde" or not args.small]
    precisions = ("fp32",) if args.small else ("fp32", "tf32")
    on_cuda = args.device.startswith("cuda")
    return [
        Part("data", omp("prepare", *suite, "--out", args.folder / "data", "--json"), _episodes_of("data"), 120),
        *(_training(args, preset, f"{preset} {way}", ("--derivative", way)) for preset, way in trained),
        Part("pictures", script("gpu_pictures.py", pictures, 1 if args.small else 10), _episodes_of("pictures"), 60),
        *(_training(args, "dmpo", f"dmpo {x}", ("--precision", x), pictures / "data") for x in precisions),
        *(_latency(args, preset) for preset in DECIDED if not (args.small and preset == LARGE)),
        *(_deployed(args, large, x) for x in ("fp32", *(["tf32"] if on_cuda else []), "bf16")),
        _memory(args),
        _tests(args),
        *_policy(args),
        *(_several(args, count) for count in ((1, 2) if args.small else (1, 2, 4))),
        *(_tuning(args, graph) for graph in (("off", "auto") if on_cuda else ("auto",))),
        *(_latency(args, preset, runtimes=True) for preset in (() if args.small else DECIDED)),
    ]


def _training(
    args: argparse.Namespace, preset: str, label: str, words: Sequence[object], data: Path | None = None
) -> Part:
    """A few steps of a preset, timed without the first ones; the checkpoint of the large one as well."""
    steps, every = (9, 3) if args.small else (200, 50)
    name, out = f"training {label}", args.folder / label.replace(" ", "-")
    line = ["pretrain", data or args.folder / "data", "--preset", preset, *words, "--steps", steps]
    line += ["--set", f"train.log_every={every}", "--set", f"train.checkpoint_every={steps}"]
    line += [*(SMALL[preset] if args.small else ()), "--out", out, "--json", "--device", args.device]
    return Part(name, omp(*line), _speed_of(name, out, every, checkpoint=preset == LARGE), 120)


def _latency(args: argparse.Namespace, preset: str, runtimes: bool = False) -> Part:
    """A decision by one evaluation and by five, with fresh weights."""
    chosen = ["--backend", "eager"] + (["--backend", "cudagraph"] if args.device.startswith("cuda") else [])
    few = ["--calls", 3, "--blocks", 2, "--set", "warmup_seconds=0"] if args.small else []
    name = f"{'runtimes' if runtimes else 'latency'} {preset}"
    line = ["bench-latency", "--preset", preset, "--nfe", 1, "--nfe", 5, *few, "--no-parts"]
    line += ["--backend", "all", "--set", "patience=60"] if runtimes else chosen
    line += ["--out", args.folder / name.replace(" ", "-"), "--json", "--device", args.device]
    return Part(name, omp(*line), _latency_of(name), 420 if runtimes else 180)


def _deployed(args: argparse.Namespace, policy: Path, precision: str) -> Part:
    """A decision as ``omp deploy`` makes it, which casts the network alone: from a frame to an action on the host."""
    name = f"deployed {policy.name.removesuffix('-dde')} {precision}"
    line = ["deploy", policy, "--replay", args.folder / "data", "--precision", precision, "--hz", 100]
    line += ["--episodes", 1 if args.small else 10, "--out", args.folder / name.replace(" ", "-"), "--json"]

    def rows(out: str) -> list[Row]:
        found = _result(out)
        moved = found.get("against_float32")
        note = found["runtime"] + (f"; moves actions by {moved['max_rel']:.2g} of the largest" if moved else "")
        return [Row(name, f"NFE {found['nfe']}, frame to action", found["decision_p50_ms"], "ms", note)]

    return Part(name, omp(*line, "--device", args.device), rows, 120)


def _memory(args: argparse.Namespace) -> Part:
    line = ["memprofile", "--preset", "light", "--horizon", 4, "--derivative", "dde", "--no-accuracy"]
    line += ["--points", 48, "--batch", 4] if args.small else ["--derivative", "forward", "--preset", LARGE]
    return Part("memory", omp(*line, "--out", args.folder / "memory", "--json", "--device", args.device), memory, 180)


def _tests(args: argparse.Namespace) -> Part:
    files = [ROOT / "tests/train/test_graph.py"] if args.small else gpu_tests()
    words = ["-v", "-rfE", "--color=no", "-m", "gpu", "-p", "no:cacheprovider"]
    return Part(TESTS, [sys.executable, "-m", "pytest", *words, *files], tested, 240, partial=True)


def _policy(args: argparse.Namespace) -> list[Part]:
    """One policy from data to success."""
    policy, device = args.folder / "policy", ("--device", args.device)
    reduced = ("--steps", 9, *SMALL["light"]) if args.small else ()
    line = ("--preset", "light", "--derivative", "dde", *reduced, "--out", policy, "--json", *device)
    tried = ("--episodes", 2 if args.small else 50, "--out", args.folder / "eval", "--json", *device)
    return [
        Part("policy", omp("pretrain", args.folder / "data", *line), _trained, 240),
        Part("success", omp("eval", policy, *tried), _success, 240),
    ]


def _several(args: argparse.Namespace, count: int) -> Part:
    """As many processes that train ``light`` at once, until they have been watched for long enough."""
    name, every = f"several, {count} at once", 3 if args.small else 50
    words = [args.folder / "data", "--preset", "light", "--derivative", "dde", "--steps", 10**6]
    words += ["--set", f"train.log_every={every}", *(SMALL["light"] if args.small else ()), "--device", args.device]

    def rows(out: str) -> list[Row]:
        rates = _result(out)["steps_per_second"]
        return [
            Row(
                name,
                "light dde, in all",
                sum(rates),
                "steps/s",
                f"each {min(rates):.4g} to {max(rates):.4g}, by steps logged every {every}",
            )
        ]

    line = script("gpu_several.py", count, 3 if args.small else 10, args.folder / f"several-{count}", *words)
    return Part(name, line, rows, 90)


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


def _episodes_of(name: str) -> Callable[[str], list[Row]]:
    return lambda out: [Row(name, "demonstrations", _result(out)["demos"], "")]


def _speed_of(name: str, run: Path, every: int, checkpoint: bool) -> Callable[[str], list[Row]]:
    """Steady time of a step: from the first logged step to the last, so without start-up and checkpoint."""

    def rows(out: str) -> list[Row]:
        result = _result(out)
        logged = [row for row in read_jsonl(run / "metrics.jsonl") if row["step"] % every == 0]
        (first, rate_1), (last, rate_2) = ((row["step"], row["samples_per_second"]) for row in (logged[0], logged[-1]))
        # A rate counts from the start of the run, so step / rate is a time of the run in steps' units.
        batch = json.loads((run / "manifest.json").read_text())["config"]["train.batch_size"]["value"]
        seconds = batch * (last / rate_2 - first / rate_1)
        note = f"batch {batch}; {result['graph']}; {result['precision']}; loss {result['loss']:.4g}"
        found = [Row(name, "step", 1e3 * seconds / (last - first), "ms", note)]
        if checkpoint:  # the only one of the run, at its end, which waits until it is written
            size = sum(file.stat().st_size for file in (run / "checkpoints").rglob("*") if file.is_file())
            taken = result["seconds_by_part"]["checkpoints"]
            found.append(Row(name, "a checkpoint, to the end of its writing", taken, "s", f"{size / 1e9:.3g} GB"))
        return found

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


def memory(out: str) -> list[Row]:
    """What comes and goes within a step, as each way of counting has it."""
    rows = []
    for row in _result(out)["rows"]:
        what = f"{row['name']} {row['derivative']}, {row['how']}"
        value = None if row.get("peak_allocated") is None else row["peak_allocated"] / 2**20
        rows.append(Row("memory", what, value, "MiB at the peak"))
    return rows


def tested(out: str) -> Iterable[Row]:
    """How many tests passed, and one row for each that did not, also of a run that was ended.

    Raises:
        PartFailed: no test has begun.
    """
    lines = out.splitlines()
    verdicts = {found[1]: found[2] for line in lines if (found := VERDICT.match(line))}
    reasons = dict(re.findall(r"^(?:FAILED|ERROR) (\S+::.+?)(?: - (.*))?$", out, re.MULTILINE))
    # pytest writes a test's name when it begins and the verdict behind it when it has ended
    running = lines[-1].strip() if lines and "::" in lines[-1] and not VERDICT.match(lines[-1]) else ""
    running = "" if running.startswith(("FAILED ", "ERROR ")) else running
    if not verdicts and not running:
        raise PartFailed("no test has begun")
    counts = Counter(verdicts.values())
    others = ", ".join(f"{count} {verdict.lower()}" for verdict, count in counts.items() if verdict != "PASSED")
    yield Row(TESTS, "passed", counts["PASSED"], "tests", others)
    for name, verdict in verdicts.items():
        if verdict in ("FAILED", "ERROR"):
            yield Row(TESTS, name, None, note=f"failed: {reasons.get(name) or 'logs/ has more'}")
    if running:
        yield Row(TESTS, running, None, note="failed: it was running at the end")


def _trained(out: str) -> list[Row]:
    result = _result(out)
    return [Row("policy", f"{result['steps']} steps", result["train_seconds"], "s", result["graph"])]


def _success(out: str) -> list[Row]:
    rate = _result(out)["success_any"]
    return [Row("success", f"{rate['successes']} of {rate['episodes']} episodes", 100 * rate["rate"], "%")]
