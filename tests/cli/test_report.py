"""``omp eval`` says what it evaluated; ``omp report`` makes tables of it."""

import json
from pathlib import Path

import pytest

from tests.conftest import Omp
from tests.report.manifests import write_eval


def test_eval_says_what_was_evaluated(
    omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workshop)  # the run names its data set relative to it
    line = ("eval", "run", "--episodes", 1, "--max-steps", 3, "--workers", 1)
    assert omp(*line, "--label", "omp dde", "--out", tmp_path / "e").code == 0
    manifest = json.loads((tmp_path / "e" / "manifest.json").read_text())
    assert manifest["config"]["label"] == {"value": "omp dde", "source": "flag"}
    policy = manifest["metrics"]["policy"]
    assert {key: policy[key] for key in ("method", "seed", "steps", "finetuned_by")} == {
        "method": "omp",
        "seed": 0,
        "steps": 30,
        "finetuned_by": None,
    }
    settings = policy["settings"]
    assert (settings["method.derivative"], settings["net.hidden"], settings["train.steps"]) == ("dde", 32, 30)
    trained_on = json.loads((workshop / "toy" / "manifest.json").read_text())["metrics"]["content_sha256"]
    assert (policy["data"]["content_sha256"], policy["data"]["demos"]) == (trained_on, 8)
    assert policy["data"]["settings"]["cloud.points"] == 48
    assert policy["data"]["settings"]["collect.raw_actions"] is False


def test_report_of_a_real_run_beside_others(
    omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ("eval", workshop / "run", "--episodes", 2, "--max-steps", 3, "--workers", 1, "--curve", 1)
    assert omp(*line, "--out", "evals/ours").code == 0
    write_eval(tmp_path / "evals" / "other", "reach", 1, episodes=2, suite="toy", label="other", seed=7)
    write_eval(tmp_path / "evals" / "gym", "Hopper-v5", suite="gym", returns=[3.0, 5.0])
    done = omp("report", "evals", "--json", "--baseline", "omp dde")
    assert done.code == 0, done.err
    assert done.json["schema_version"] == 1
    result = done.json["result"]
    (section,) = result["sections"]
    assert [row["title"] for row in section["rows"]] == ["other", "omp dde"]
    assert section["baseline"] == "omp dde"
    assert section["rows"][1]["classes"]["toy"]["episodes"] == 2
    assert result["returns"][0]["rows"][0]["mean"] == 4.0
    folder = Path(done.json["run_dir"])
    assert folder.parent == Path("runs/report")
    assert json.loads((folder / "report.json").read_text()) == result
    assert omp("manifest", folder, "--files").code == 0
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {Path(i["path"]).parent.name for i in manifest["inputs"]} == {"ours", "other", "gym"}
    again = omp("report", "evals", "runs", "--verbose", "--out", "r")
    assert "Success on toy" in again.out
    assert "Success by task on toy" in again.out
    assert "warning: different limits of steps" in again.out
    assert "html: r/report.html" in again.out
    assert not list(Path("r").glob("*.pdf"))
    for_paper = omp("report", "evals", "--paper", "--out", "paper")
    assert for_paper.code == 0, for_paper.err
    assert omp("manifest", "paper", "--files").code == 0
    text = Path("paper/report.tex").read_text()
    for plot in Path("paper").glob("*.png"):
        assert plot.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        assert f"{{{plot.stem}.pdf}}" in text
    assert r"\caption{Success on toy, \%}" in text


def test_report_ends_with_the_documented_codes(omp: Omp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    empty = omp("report", "empty", "--json")
    assert (empty.code, empty.json["error"]["code"]) == (3, 3)
    assert "no evaluation to report on below empty" in empty.err
    assert omp("report", "nowhere").code == 3
    assert omp("report").code == 2
    write_eval(tmp_path / "a", "hammer", 5)
    renamed = omp("report", "a", "--rename", "omp dde=light-1", "--baseline", "light-1", "--out", "renamed", "--json")
    assert renamed.code == 0, renamed.err
    assert renamed.json["result"]["header"]["policies"] == ["light-1"]
    manifest = json.loads((tmp_path / "renamed" / "manifest.json").read_text())
    assert manifest["config"]["rename"] == {"value": ["omp dde=light-1"], "source": "flag"}
    assert "light-1 (evaluated as omp dde)" in (tmp_path / "renamed" / "report.md").read_text()
    nobody = omp("report", "a", "--rename", "omp dda=x")
    assert (nobody.code, "did you mean omp dde?" in nobody.err) == (2, True)
    unknown = omp("report", "a", "--baseline", "omp dda")
    assert unknown.code == 2
    assert "omp dde" in unknown.err
    write_eval(tmp_path / "b", "hammer", 6)
    twice = omp("report", "a", "b", "--json")  # two evaluations of one policy: the newest counts
    assert twice.code == 0, twice.err
    assert any("a/manifest.json" in line or "b/manifest.json" in line for line in twice.json["result"]["warnings"])
    shown = omp("report", "a", "--dry-run", "--json", "--out", "r")
    assert shown.json["config"]["folders"]["value"] == ["a"]
    assert not (tmp_path / "r").exists()
    before = list((tmp_path / "runs" / "report").iterdir())
    assert omp("report", "a", "--baseline", "omp dda").code == 2
    assert list((tmp_path / "runs" / "report").iterdir()) == before, "a wrong name makes no failed run"
