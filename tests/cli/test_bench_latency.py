"""``omp bench-latency`` from the command line."""

import json
import sys
from pathlib import Path

import pytest
import torch

from omp_cli.core.base import papers
from omp_cli.core.base.manifest import check_artifacts, read_manifest
from omp_cli.core.base.presets import preset_names
from omp_cli.core.base.run import CHECKPOINTS
from omp_cli.core.deploy.backends import BACKENDS
from omp_cli.core.measure.latency import subjects
from tests.cli.test_bad_input import refused
from tests.conftest import Omp
from tests.measure.latency_policies import document
from tests.measure.test_latency_rows import Fake

QUICK = ["--calls", 3, "--blocks", 2, "--set", "warmup=1", "--set", "warmup_seconds=0", "--set", "ticks=3"]
EAGER = ["--backend", "eager"]


def test_the_default_needs_no_checkpoint_and_no_simulator(
    omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "metaworld", None)
    monkeypatch.setitem(sys.modules, "metaworld.env_dict", None)  # an earlier test may have loaded it
    ran = omp("bench-latency", "--nfe", 1, *QUICK, *EAGER, "--out", tmp_path / "b", "--json")
    assert ran.code == 0, ran.err
    result = ran.json["result"]
    (row,) = result["rows"]
    assert (row["policy"], row["nfe"], row["backend"], row["status"]) == ("light", 1, "eager", "measured")
    assert row["ms"]["n"] == 6
    assert row["ms"]["hz"] == pytest.approx(1000 / row["ms"]["p50"], rel=1e-3)
    assert row["parameters"] > 1e6
    assert result["parts"][0]["reason"].startswith("missing: Meta-World")
    assert {"before", "after", "others_cores", "clock_overhead_ms"} <= result["machine"].keys()
    manifest = read_manifest(tmp_path / "b")
    check_artifacts(tmp_path / "b", manifest)
    assert manifest.metrics["rows"] == result["rows"]
    assert manifest.config["nfe"].source == "flag"
    assert manifest.config["presets"].value == "light"


def test_a_checkpoint_for_people(omp: Omp, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "absent", Fake(absent="needs a moon rocket"))
    monkeypatch.setitem(BACKENDS, "wrong", Fake(scale=2.0))
    line = ["--checkpoint", run, "--nfe", 1, "--nfe", 3, "--backend", "absent", "--backend", "wrong"]
    ran = omp("bench-latency", *line, *QUICK, "--out", tmp_path / "b")
    assert ran.code == 0, ran.err
    text = " ".join(ran.out.replace("│", " ").split())
    for words in ("Decision of omp reach", "each step", "missing:", "moon", "refused:", "Control tick", "encode"):
        assert words in text
    assert (tmp_path / "b" / "latency_vs_nfe.png").stat().st_size > 5000
    manifest = read_manifest(tmp_path / "b")
    assert manifest.inputs[0].kind == "checkpoint"
    assert manifest.metrics["ticks"][0]["step_ms"] == 50
    samples = json.loads((tmp_path / "b" / "samples.json").read_text())
    assert [(s["nfe"], s["encoder"], len(s["host_ms"])) for s in samples] == [
        (1, "once", 2),
        (3, "each step", 2),
        (3, "once", 2),
    ]


def test_a_table_of_all_presets_with_the_papers_figures_beside(
    omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = [{"source": "Table 9", "device": "RTX 4090", "nfe": 4, "ms": 123.0}]
    made_up = {
        "old": document(label="Oldest", nfe=[4], reference_nfe=4),
        "odd": {**document(), "encoder": {"name": "crystal-ball"}},
        "new": document(),
    }
    monkeypatch.setattr(subjects, "preset_names", lambda command: tuple(sorted(made_up)))
    monkeypatch.setattr(subjects, "preset_document", lambda command, name: made_up[name])
    monkeypatch.setattr(papers, "latency", lambda preset: paper if preset == "old" else [])
    ran = omp("bench-latency", "--table", *QUICK, "--out", tmp_path / "t")
    assert ran.code == 0, ran.err
    text = " ".join(ran.out.replace("│", " ").split())
    for words in (
        "x: speed-up over Oldest, NFE 4, encoder once",
        "a 123 ms 8.1 Hz 1x",
        "a Table 9, RTX 4090",
        "crystal-ball",
        "new",
    ):
        assert words in text
    rows = read_manifest(tmp_path / "t").metrics["rows"]
    assert [(r["policy"], r["encoder"], r["status"]) for r in rows] == [
        ("old", "each step", "measured"),
        ("old", "once", "measured"),
        ("new", "once", "measured"),
        ("odd", "once", "missing"),
    ]
    assert rows[1]["speed_up"] == 1
    assert rows[2]["speed_up"] > 1


def test_dry_run_touches_nothing(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = omp("bench-latency", "--table", "--threads", 1, "--dry-run", "--json")
    assert ran.code == 0
    assert ran.json["config"]["threads"] == {"value": 1, "source": "flag"}
    assert ran.json["config"]["calls"]["source"] == "default"
    for name in preset_names("pretrain"):
        assert name in ran.json["config"]["presets"]["value"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (("--preset", "ligth"), 2, ("unknown preset 'ligth'", "light")),
        (("--backend", "egaer"), 2, ("unknown backend 'egaer'", "eager")),
        (("--dtype", "bfloat61"), 2, ("unknown dtype 'bfloat61'", "bfloat16")),
        (("--nfe", "0"), 2, ("--nfe",)),
        (("--budget", "0"), 2, ("budget",)),
        (("--set", "cals=3"), 2, ("unknown setting cals", "calls")),
        (("--weights", "best"), 2, ("weights",)),
        (("--checkpoint", "nowhere", "--preset", "light"), 2, ("--checkpoint", "one or the other")),
        (("--checkpoint", "nowhere", "--table"), 2, ("--checkpoint",)),
        (("--table", "--parts"), 2, ("--parts", "one policy")),
        (("--checkpoint", "nowhere"), 3, ("no such file or folder",)),
        (("nowhere",), 3, ("no such file or folder",)),
        (("nowhere", "--checkpoint", "elsewhere"), 2, ("--checkpoint", "twice")),
        (("--device", "tpu"), 2, ("unknown device",)),
    ],
)
def test_bad_input(
    omp: Omp, line: tuple[str, ...], code: int, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(omp("bench-latency", *line), code, *words)
    assert not list(tmp_path.iterdir())


def test_a_device_that_is_not_there(omp: Omp) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    refused(omp("bench-latency", "--device", "cuda"), 4, "not available")


def test_a_damaged_checkpoint(omp: Omp, run: Path, tmp_path: Path) -> None:
    weights = run / CHECKPOINTS / "step-00000030" / "ema.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    refused(omp("bench-latency", "--checkpoint", run, *QUICK, *EAGER, "--out", tmp_path / "b"), 3, "damaged")
    assert read_manifest(tmp_path / "b").status == "failed"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_reports_both_clocks(omp: Omp, tmp_path: Path) -> None:
    line = ["--device", "cuda", "--nfe", 1, "--backend", "cudagraph", "--no-parts", "--out", tmp_path / "b", "--json"]
    ran = omp("bench-latency", *line)
    assert ran.code == 0, ran.err
    eager, graph = ran.json["result"]["rows"]
    for row in (eager, graph):
        assert (row["status"], row["clock"]) == ("measured", "device events")
        assert row["ms"]["p50"] <= row["cross_check"]["ms"]["p50"]
    assert graph["over_eager"] > 1
