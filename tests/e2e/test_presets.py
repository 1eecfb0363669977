"""Every preset trains and its policy acts, on the toy and with a small net; a new preset is picked up by its file.

So does every method with the networks of another one's preset.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omp_cli.core.base.presets import preset_document, preset_names
from tests.conftest import Omp

SMALL = {"unet1d": "net.dims=[16, 16, 32]", "film-mlp": "net.hidden=32", "residual-mlp": "net.hidden=32"}


@pytest.mark.parametrize("preset", preset_names("pretrain"))
def test_preset(omp: Omp, pictures: Path, tmp_path: Path, preset: str) -> None:
    run, document = tmp_path / "run", preset_document("pretrain", preset)
    nfe = document.get("bench", {}).get("nfe", [1])[-1]
    line = ("pretrain", pictures, "--preset", preset, "--set", SMALL[document["net"]["name"]])
    trained = omp(*line, "--steps", 2, "--batch-size", 4, "--out", run, "--json")
    assert trained.code == 0, trained.err
    assert trained.json["result"]["loss"] > 0
    line = ("eval", run, "--episodes", 1, "--workers", 1, "--max-steps", 9, "--nfe", nfe, "--out", tmp_path / "e")
    done = omp(*line, "--json")
    assert done.code == 0, done.err
    assert done.json["result"]["nfe"] == nfe


@pytest.mark.parametrize("method", ["meanflow", "imf", "reflow", "shortcut", "omp", "dmpo"])
def test_a_method_with_the_networks_of_a_preset(omp: Omp, pictures: Path, tmp_path: Path, method: str) -> None:
    """Dispersion is on where it is asked for, and what it does is in the table."""
    run, line = tmp_path / "run", ("pretrain", pictures, "--preset", "dmpo-hopper", "--method", method)
    line = (*line, "--lambda-disp", 0.3, "--set", "method.dispersion.form=hinge", "--set", "net.hidden=32")
    planned = omp(*line, "--dry-run", "--json").json["config"]
    assert planned["encoder.out"] == {"value": 16, "source": "preset dmpo-hopper"}
    assert planned["method.dispersion.weight"] == {"value": 0.3, "source": "flag"}
    from_preset = {key for key, entry in planned.items() if key.startswith("method.") and "preset" in entry["source"]}
    assert from_preset == ({"method.derivative"} if method == "dmpo" else set())
    trained = omp(*line, "--steps", 2, "--batch-size", 4, "--out", run)
    assert trained.code == 0, trained.err
    assert "share of gradient: dispersion" in trained.out
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["share_dispersion"] > 0
    assert {"dispersion", "mean_distance", "effective_rank"} <= last.keys()


@pytest.mark.parametrize("method", ["reflow", "shortcut", "flowpolicy"])
def test_a_baseline_on_point_clouds(omp: Omp, pictures: Path, tmp_path: Path, method: str) -> None:
    run, small = tmp_path / "run", ("--set", "net.hidden=32", "--set", "encoder.points=32")
    trained = omp("pretrain", pictures, "--method", method, *small, "--steps", 2, "--batch-size", 4, "--out", run)
    assert trained.code == 0, trained.err
    planned = json.loads((run / "manifest.json").read_text())["config"]
    assert (planned["encoder.name"]["value"], planned["method.name"]["value"]) == ("pointcloud", method)
    line = ("eval", run, "--episodes", 1, "--workers", 1, "--max-steps", 9, "--nfe", 2, "--out", tmp_path / "e")
    assert omp(*line).code == 0


def test_a_setting_that_the_chosen_method_does_not_have_is_refused(omp: Omp, pictures: Path) -> None:
    line = ("pretrain", pictures, "--preset", "dmpo-hopper", "--method", "reflow", "--dry-run")
    assert omp(*line).code == 0
    refused = omp(*line, "--derivative", "dde")
    assert refused.code == 2
    assert "unknown setting method.derivative" in refused.err
