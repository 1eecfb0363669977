"""Run an exported policy at a fixed rate, without omp: NumPy and ONNX Runtime, or NumPy and torch.

    omp export --out policy
    python deploy_loop.py policy                     # policy.onnx at the task's own rate, for 5 seconds
    python deploy_loop.py policy --hz 50 --json      # one JSON line on stdout
    python deploy_loop.py policy/policy.pt2          # torch.export's file

Replace ``observe`` and ``act`` by your sensors and your robot. A tick that is still busy when the next one is due has
missed its deadline; the ticks that passed meanwhile are dropped, never made up for.

Loading ``policy.onnx`` parses a graph of known operators and runs no code from the file. ``torch.export.load`` can fall
back to unpickling, which runs any code: so a folder means its .onnx, and a .pt2 has to be named. Name only your own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Decide = Callable[[Arrays], NDArray[Any]]
WARM_UP = 20
POINTER = b"version https://git-lfs.github.com/spec/v1"
DTYPES = ("float32", "float64", "uint8", "int64")
LARGEST = 1 << 28
"""No input of a policy has as many numbers, and no rate is as high."""


def observe(inputs: list[dict[str, Any]], rng: np.random.Generator) -> Arrays:
    """REPLACE: the newest observation, shaped and typed as ``policy.json`` says; here random numbers."""
    arrays: Arrays = {}
    for x in inputs:
        if x["dtype"] == "uint8":
            arrays[x["name"]] = rng.integers(0, 256, x["shape"], np.uint8)
        else:
            arrays[x["name"]] = rng.uniform(-0.5, 0.5, x["shape"]).astype(x["dtype"])
    return arrays


def act(actions: NDArray[Any]) -> None:
    """REPLACE: hand the chunk (batch, steps, action) to the controller, which plays its steps at ``control_hz``."""


def load(file: Path, names: list[str], threads: int) -> Decide:
    """The policy in a file, as a function from arrays by name to actions."""
    with file.open("rb") as stream:
        if stream.read(len(POINTER)) == POINTER:
            sys.exit(f"{file}: a Git LFS pointer, not the file itself; git lfs pull, in the clone it is in")
    if file.suffix == ".onnx":
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        try:
            session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base of their own
            sys.exit(f"{file}: damaged, or no ONNX graph ({one_line(error)})")
        known = sorted(x.name for x in session.get_inputs())
        if known != sorted(names):
            sys.exit(f"{file}: takes {', '.join(known)}, policy.json beside it says {', '.join(sorted(names))}")
        return lambda arrays: session.run(None, arrays)[0]
    import torch

    torch.set_num_threads(threads)
    try:
        module = torch.export.load(str(file)).module()
    except Exception as error:  # zipfile's, pickle's, json's and torch's own
        sys.exit(f"{file}: damaged, or not torch.export's file ({one_line(error)})")

    def decide(arrays: Arrays) -> NDArray[Any]:
        with torch.no_grad():
            return module(*(torch.from_numpy(arrays[name]) for name in names)).numpy()

    return decide


def control(decide: Decide, inputs: list[dict[str, Any]], period: float, ticks: int, seed: int) -> dict[str, Any]:
    """Observe, decide and act once per period for a number of ticks, after a few decisions that do not count.

    Returns:
        Times in milliseconds: the decision (call of the network alone), how late the ticks began, deadlines missed.
    """
    rng = np.random.default_rng(seed)
    noise, seen = inputs[0], inputs[1:]

    def now() -> Arrays:
        return observe(seen, rng) | {"noise": rng.standard_normal(noise["shape"], np.float32)}

    try:
        for _ in range(WARM_UP):
            decide(now())
    except Exception as error:  # of onnxruntime or torch: the first call finds shapes and types that do not fit
        sys.exit(f"the policy does not take what policy.json says ({one_line(error)})")
    decisions, lateness, missed, dropped = [], [], 0, 0
    tick, due = 0, time.monotonic() + period
    while tick < ticks:
        time.sleep(max(0.0, due - time.monotonic()))
        lateness.append(time.monotonic() - due)
        arrays = now()
        begin = time.monotonic()
        actions = decide(arrays)
        decisions.append(time.monotonic() - begin)
        if not np.isfinite(actions).all():
            sys.exit("the policy's action is not finite: nothing may be moved by it; look after the observation")
        act(actions)
        late = time.monotonic() - (due + period)
        skip = 0
        if late > 0:
            missed += 1
            skip = int(late / period) + 1
        dropped += min(skip, ticks - tick - 1)
        tick, due = tick + 1 + skip, due + (1 + skip) * period
    return {
        "period_ms": 1e3 * period,
        "decisions": len(decisions),
        **{f"decision_p{p}_ms": 1e3 * float(np.percentile(decisions, p)) for p in (50, 95, 99)},
        "decision_max_ms": 1e3 * max(decisions),
        "late_start_p50_ms": 1e3 * float(np.percentile(lateness, 50)),
        "late_start_p99_ms": 1e3 * float(np.percentile(lateness, 99)),
        "jitter_ms": 1e3 * float(np.std(lateness)),
        "missed_deadlines": missed,
        "dropped_ticks": dropped,
    }


def one_line(error: BaseException) -> str:
    """An error's words in one line; its type where it has none."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def checked(signature: Any) -> dict[str, Any]:
    """What ``policy.json`` says, with a batch of one; ValueError where it is not as omp export writes it."""
    if not isinstance(signature, dict) or not isinstance(signature.get("inputs"), list):
        raise ValueError("no inputs in it")
    for x in signature["inputs"]:
        shape = x.get("shape") if isinstance(x, dict) else None
        if not isinstance(shape, list) or not isinstance(x.get("name"), str) or x.get("dtype") not in DTYPES:
            raise ValueError(f"an input without name, shape or dtype ({', '.join(DTYPES)})")
        x["shape"] = [1 if size == "batch" else size for size in shape]
        if not all(type(size) is int and 0 < size < LARGEST for size in x["shape"]) or math.prod(x["shape"]) > LARGEST:
            raise ValueError(f"input {x['name']!r} has the shape {str(shape)[:60]}")
    if not signature["inputs"] or signature["inputs"][0]["name"] != "noise":
        raise ValueError("its first input is not the noise")
    for name, kinds in (("control_hz", (int, float)), ("execute", int), ("task", str), ("nfe", int)):
        value = signature.get(name)
        if not isinstance(value, kinds) or isinstance(value, bool) or (kinds is not str and not 0 < value < LARGEST):
            raise ValueError(f"{name} is {str(value)[:60]!r}")
    return signature


def open_policy(path: Path) -> tuple[Path, dict[str, Any]]:
    """The file to run and its signature; ends the program with one line when there is none, or one was changed."""
    if not path.exists():
        sys.exit(f"{path}: no such file or folder")
    folder = path if path.is_dir() else path.parent
    file = folder / "policy.onnx" if path.is_dir() else path
    if file.suffix not in (".onnx", ".pt2"):
        sys.exit(f"{file}: neither .onnx nor .pt2")
    if not file.is_file():
        name_it = f"; name {folder / 'policy.pt2'} if you made it yourself" if (folder / "policy.pt2").is_file() else ""
        sys.exit(f"{file}: no such file{name_it}")
    try:
        signature = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
        content = file.read_bytes()
        changed = "content does not match its hash, so it was changed or is damaged; export the policy again"
        if not isinstance(signature, dict) or ("seal" in signature and signature["seal"] != seal(signature)):
            sys.exit(f"{folder / 'policy.json'}: {changed}")
        if hashlib.sha256(content).hexdigest() != signature.get("files", {}).get(file.name):
            sys.exit(f"{file}: {changed}")
        return file, checked(signature)
    except RecursionError:
        sys.exit(f"{folder / 'policy.json'}: nested too deeply")
    except (OSError, ValueError) as error:
        sys.exit(f"{folder / 'policy.json'}: {one_line(error)}")


def seal(signature: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON of all fields but the seal, as omp writes it."""
    rest = {key: value for key, value in signature.items() if key != "seal"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def positive(text: str) -> float:
    """A number above zero, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def main() -> None:
    """Parse the line, warm up, run, report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("policy", type=Path, help="folder written by omp export, or a file in it")
    parser.add_argument("--hz", type=positive, help="decisions per second (default: control rate / executed steps)")
    parser.add_argument("--seconds", type=positive, default=5.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one line of JSON on stdout instead of text")
    options = parser.parse_args()

    file, signature = open_policy(options.policy)
    inputs = signature["inputs"]
    hz = options.hz or signature["control_hz"] / signature["execute"]
    decide = load(file, [x["name"] for x in inputs], options.threads)
    result = control(decide, inputs, 1 / hz, max(1, round(options.seconds * hz)), options.seed)
    result = {"file": file.name, "task": signature["task"], "nfe": signature["nfe"], "hz": hz, **result}
    if options.json:
        sys.stdout.write(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}) + "\n")
        return
    sys.stdout.write(
        "{file} of {task}, NFE {nfe}, {decisions} decisions at {hz:g} Hz (period {period_ms:.2f} ms)\n"
        "decision      p50 {decision_p50_ms:.3f}  p95 {decision_p95_ms:.3f}  p99 {decision_p99_ms:.3f}"
        "  max {decision_max_ms:.3f} ms\n"
        "tick begins   p50 {late_start_p50_ms:.3f}  p99 {late_start_p99_ms:.3f} ms late, jitter {jitter_ms:.3f} ms\n"
        "deadlines     {missed_deadlines} missed, {dropped_ticks} ticks dropped\n".format(**result)
    )


if __name__ == "__main__":
    main()
