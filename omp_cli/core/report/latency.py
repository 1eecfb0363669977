"""Latencies of the evaluated policies among the runs of ``omp bench-latency``."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from omp_cli.core.base.layers import flatten
from omp_cli.core.base.manifest import Manifest
from omp_cli.core.base.presets import preset_document, preset_names
from omp_cli.core.report.collect import Evaluation
from omp_cli.core.report.sections import Row

PARTS = ("net", "encoder", "chunk")
DTYPE = {"fp32": "float32", "tf32": "tf32", "bf16": "bfloat16", "fp16": "float16"}
"""What ``omp bench-latency`` calls a precision of ``omp eval``."""


def latencies(row: Row, benches: Sequence[Manifest]) -> dict[str, Any] | None:
    """Median of one eager decision of a row's policy, ms, with its NFE; the newest measurement, None without one.

    It is the policy's where the bench timed one of the row's checkpoints, or a preset of the same method, net, encoder
    and chunk; and only where it was timed in the precision in which all of the row's evaluations decided. An export has
    none: what decides there is not timed.
    """
    if any(e.export for e in row.evaluations):
        return None
    dtypes = {DTYPE.get(e.precision) for e in row.evaluations}
    for manifest in reversed(benches):
        if dtypes != {manifest.metrics.get("dtype", DTYPE["fp32"])}:
            continue
        timed = {i.sha256 for i in manifest.inputs if i.kind == "checkpoint"}
        ours = any(e.checkpoint in timed for e in row.evaluations)
        for line in manifest.metrics.get("rows", []):
            usual = (line["backend"], line["batch"], line["encoder"]) == ("eager", 1, "once")
            if not usual or line["nfe"] != row.nfe or not line["ms"]:
                continue
            if ours or (not timed and all(_is_preset(e, line["policy"]) for e in row.evaluations)):
                return {"ms": line["ms"]["p50"], "of": line["policy"], "machine": manifest.hardware.place}
    return None


def _is_preset(e: Evaluation, name: str) -> bool:
    """Whether the evaluated policy decides as the preset does."""
    if name not in preset_names("pretrain"):
        return False
    method, wanted = _decides(name)
    settings = e.settings
    same = all(json.dumps(settings.get(key)) == json.dumps(value) for key, value in wanted.items())
    return same and e.policy["method"] == method


@functools.cache
def _decides(preset: str) -> tuple[str, Mapping[str, Any]]:
    """A preset's method, and the settings of what is evaluated in a decision."""
    document = preset_document("pretrain", preset)
    return document["method"]["name"], flatten({part: document[part] for part in PARTS if part in document})
