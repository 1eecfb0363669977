"""Every preset trains and its policy acts, on the toy and with a small net; a new preset is picked up by its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from omp_cli.core.config import preset_document, preset_names
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
