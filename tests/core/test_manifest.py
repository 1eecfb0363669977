"""Manifests: valid against the exported schema, sealed, and truthful about how a run ended."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from omp_cli.core.base import manifest as m
from omp_cli.core.base.errors import DataError, Interrupted
from omp_cli.core.base.files import size_of
from omp_cli.core.base.manifest import latest_run, run_folders
from omp_cli.core.base.run import Run

SCHEMA = Path(m.__file__).with_name("manifest.schema.json")


def test_the_schema_that_ships_is_the_models() -> None:
    assert json.loads(SCHEMA.read_text()) == m.json_schema(), "run: omp manifest --schema > " + SCHEMA.name


def test_real_manifests_validate(workshop: Path) -> None:
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    for folder in ("toy", "run"):
        document = json.loads((workshop / folder / "manifest.json").read_text())
        validator.validate(document)
        assert document["status"] == "succeeded"
        assert document["wall_seconds"] > 0
        m.check_artifacts(workshop / folder, m.read_manifest(workshop / folder))


def test_a_field_of_another_type_does_not_validate(workshop: Path) -> None:
    document = json.loads((workshop / "run" / "manifest.json").read_text())
    document["status"] = "great"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, m.json_schema())


def test_status_follows_how_the_run_ended(tmp_path: Path) -> None:
    with Run(tmp_path / "ok", "pretrain", {}, {}) as run:
        assert m.read_manifest(tmp_path / "ok").status == "running"
        run.metrics(loss=1.0)
    assert m.read_manifest(tmp_path / "ok").status == "succeeded"

    with pytest.raises(ValueError, match="boom"), Run(tmp_path / "bad", "pretrain", {}, {}):
        raise ValueError("boom")
    failed = m.read_manifest(tmp_path / "bad")
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error.message == "boom"
    assert "ValueError: boom" in (tmp_path / "bad" / "traceback.txt").read_text()

    with pytest.raises(Interrupted), Run(tmp_path / "stop", "pretrain", {}, {}):
        raise Interrupted("stopped")
    assert m.read_manifest(tmp_path / "stop").status == "interrupted"


def test_an_edit_breaks_the_seal(workshop: Path, tmp_path: Path) -> None:
    document = json.loads((workshop / "run" / "manifest.json").read_text())
    document["metrics"]["loss"] = 0.0
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="edited or damaged"):
        m.read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "not a JSON file"), ("[]", "schema version"), ('{"schema_version": 99}', "schema version 99")],
)
def test_damaged_manifests_are_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=words) as error:
        m.read_manifest(tmp_path)
    assert "\n" not in error.value.message


def test_latest_run_is_the_newest_success_of_the_command(tmp_path: Path) -> None:
    for name, command in (("a", "prepare"), ("b", "prepare"), ("c", "pretrain")):
        with Run(tmp_path / name, command, {}, {}):
            pass
    with pytest.raises(RuntimeError), Run(tmp_path / "d", "prepare", {}, {}):
        raise RuntimeError
    assert m.latest_run(tmp_path, "prepare") == tmp_path / "b"
    assert m.latest_run(tmp_path, "prepare", "pretrain") == tmp_path / "c"
    assert m.latest_run(tmp_path / "nowhere", "prepare") is None


def test_settings_of_an_earlier_omp_have_their_names_of_today(workshop: Path, tmp_path: Path) -> None:
    def read(command: str, *keys: str, settings: dict[str, Any] | None = None) -> m.Manifest:
        config = {key: m.Value(value=1, source="flag") for key in keys}
        metrics = {} if settings is None else {"policy": {"settings": settings}}
        changed = {"command": command, "config": config, "metrics": metrics}
        m.write_manifest(tmp_path, m.read_manifest(workshop / "run").model_copy(update=changed))
        return m.read_manifest(tmp_path)

    earlier = ("method.name", "method.lr", "envs")
    assert [*read("finetune", *earlier).config] == ["algorithm.name", "algorithm.lr", "envs"]
    assert [*read("pretrain", *earlier).config] == [*earlier], "a method is what omp pretrain trains"
    evaluated = read("eval", settings={"method.name": "omp", "finetune.method.name": "dmpo", "finetune.envs": 4})
    names_of_today = {"method.name": "omp", "finetune.algorithm.name": "dmpo", "finetune.envs": 4}
    assert evaluated.metrics["policy"]["settings"] == names_of_today


def test_runs_are_found_through_links_and_under_any_name(tmp_path: Path) -> None:
    for folder in ("elsewhere/set", "data/best", "data/run", "data/run/start"):
        with Run(tmp_path / folder, "prepare", {}, {}):
            pass
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "a_link_to_the_latest").symlink_to(tmp_path / "data" / "run")
    found = {str(folder.relative_to(tmp_path / "data")) for folder in run_folders(tmp_path / "data")}
    assert found == {"best", "run", "linked/set"}


def test_what_goes_while_one_looks_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training beside it writes checkpoints under other names and removes old ones."""
    with Run(tmp_path / "run", "pretrain", {}, {}) as run:
        (run.folder / "old").mkdir()
        (run.folder / "old" / "weights").write_text("12345")
        run.artifact(run.folder / "old")
    scandir = os.scandir

    def gone(path: object) -> object:
        if str(path).endswith("old"):
            shutil.rmtree(str(path), ignore_errors=True)
        return scandir(path)  # type: ignore[call-overload]  # whatever the caller gives

    monkeypatch.setattr(os, "scandir", gone)
    assert latest_run(tmp_path, "pretrain") == tmp_path / "run"
    (tmp_path / "run" / "link").symlink_to(tmp_path / "nowhere")
    assert size_of(tmp_path / "run") == (tmp_path / "run" / "manifest.json").stat().st_size
