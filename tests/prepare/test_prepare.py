"""Making data sets: deterministic content, resume by episode, failures counted, recipes never mixed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from omp_cli.core.base.config import LARGEST
from omp_cli.core.base.errors import RunFailed, UsageError
from omp_cli.core.base.files import write_json
from omp_cli.core.base.layers import Layer
from omp_cli.core.base.progress import Silent
from omp_cli.core.base.run import Run
from omp_cli.core.base.seeds import HELD_OUT, demo_seed
from omp_cli.core.data.store import read_store, start_hash
from omp_cli.core.prepare import build as building
from omp_cli.core.prepare.attempt import CollectConfig, counted_since
from omp_cli.core.prepare.build import RECIPE, SCRATCH, build
from omp_cli.core.prepare.collect import collect, points_on, start_order
from omp_cli.core.prepare.record import RecordConfig, Recorded
from omp_cli.core.prepare.source import Origin, short_hash
from omp_cli.core.suites.base import SUITES
from omp_cli.core.suites.toy import ToyEnv

SUITE = {"name": "toy", "cloud": {"points": 32}}


def config(**collecting_: object) -> RecordConfig:
    return RecordConfig.model_validate({"suite": SUITE, "collect": {"demos": 4, **collecting_}})


def of(settings: RecordConfig, task: str) -> Recorded:
    return Recorded(settings, Origin(settings.suite.model_dump()["name"], task, Layer("argument", {})))


def make(
    folder: Path, settings: RecordConfig | None = None, task: str = "reach", workers: int = 1
) -> dict[str, object]:
    with Run(folder, "prepare", {}, {"seed": 0}) as run:
        return build(run, of(settings or config(), task), workers, Silent())


def test_same_seed_same_bytes_whatever_the_number_of_workers(tmp_path: Path) -> None:
    one, two = make(tmp_path / "a"), make(tmp_path / "b", workers=2)
    assert one["content_sha256"] == two["content_sha256"]
    other = make(tmp_path / "c", RecordConfig.model_validate({**config().model_dump(), "seed": 1}))
    assert other["content_sha256"] != one["content_sha256"]


def test_content_of_a_data_set(tmp_path: Path) -> None:
    make(tmp_path / "a")
    data = read_store(tmp_path / "a")
    assert len(data.episode_ends) == 4
    assert np.abs(data.arrays["action"]).max() <= 1
    ends = data.episode_ends
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        success = data.arrays["success"][start:end]
        assert success.any()
        assert end - start - 1 - np.argmax(success) == 10, "ten steps are kept after the first success"
    seeds = data.provenance["episode_seeds"]
    assert len(set(seeds)) == 4
    assert max(seeds) < HELD_OUT
    assert len(set(data.provenance["start_states"])) == 4
    assert data.provenance["recipe"]["suite"]["cloud"]["points"] == 32
    assert not (tmp_path / "a" / ".episodes").exists()
    assert (tmp_path / "a" / "contact_sheet.png").stat().st_size > 10_000


def test_raw_actions_keep_what_the_expert_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ToyEnv.expert
    monkeypatch.setattr(ToyEnv, "expert", lambda self: 3 * honest(self))
    make(tmp_path / "raw", config(raw_actions=True))
    make(tmp_path / "clipped", config())
    raw, clipped = read_store(tmp_path / "raw").arrays, read_store(tmp_path / "clipped").arrays
    assert np.abs(raw["action"]).max() > 1.5
    np.testing.assert_array_equal(np.clip(raw["action"], -1, 1), clipped["action"])
    np.testing.assert_array_equal(raw["state"], clipped["state"], err_msg="the environment executes the same")
    beyond = int((np.abs(raw["action"]) > 1).sum())
    for name, words in (("raw", "stored unclipped; simulators clip them"), ("clipped", "clipped")):
        said = json.loads((tmp_path / name / "manifest.json").read_text())["metrics"]["said"]
        assert f"{beyond} values of the expert's actions lie outside [-1, 1]: {words}" in said


def test_an_interrupted_run_continues_with_the_episodes_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = []
    honest = ToyEnv.reset

    def counting(self: ToyEnv, seed: int) -> None:
        recorded.append(seed)
        honest(self, seed)

    monkeypatch.setattr(ToyEnv, "reset", counting)
    full = make(tmp_path / "full")
    whole = len(recorded)
    recorded.clear()

    def stop_at_third(self: object, units: int = 1, **_: object) -> None:
        self.count = getattr(self, "count", 0) + 1  # type: ignore[attr-defined]
        if self.count == 3:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Silent, "advance", stop_at_third)
        make(tmp_path / "cut")
    assert not (tmp_path / "cut" / "demos.zarr").exists()
    assert json.loads((tmp_path / "cut" / "manifest.json").read_text())["status"] == "interrupted"
    first = len(recorded)
    assert make(tmp_path / "cut")["content_sha256"] == full["content_sha256"]
    assert len(recorded) - first < whole, "finished episodes are not recorded again"


def test_a_run_that_dies_at_the_contact_sheet_is_not_taken_for_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no space for the picture")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="picture"):
        patch.setattr(building, "contact_sheet", broken)
        make(tmp_path / "a")
    assert make(tmp_path / "a")["reused"] is False
    assert (tmp_path / "a" / "contact_sheet.png").exists()
    (tmp_path / "a" / ".episodes").mkdir()
    assert make(tmp_path / "a")["reused"] is True
    assert not (tmp_path / "a" / ".episodes").exists()


def test_a_finished_data_set_is_kept_and_another_recipe_refused(tmp_path: Path) -> None:
    first = make(tmp_path / "a")
    again = make(tmp_path / "a")
    assert again["reused"] is True
    assert again["content_sha256"] == first["content_sha256"]
    with pytest.raises(UsageError, match=r"collect.demos 4, asked for 5"):
        make(tmp_path / "a", config(demos=5))
    assert read_store(tmp_path / "a").sha256 == first["content_sha256"]


def test_failed_experts_are_counted_and_too_many_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ToyEnv.expert
    monkeypatch.setattr(ToyEnv, "expert", lambda self: honest(self) * (self.start_state()[-1] > 0))
    kept, failed = collect(SUITE, "reach", CollectConfig(demos=3), 0, tmp_path / "e", 1, Silent())
    assert len(kept) == 3
    assert failed > 0
    monkeypatch.setattr(ToyEnv, "expert", lambda self: 0 * honest(self))
    shutil.rmtree(tmp_path / "e")
    with pytest.raises(RunFailed, match="only 0 of 2 demonstrations after 6 attempts"):
        collect(SUITE, "reach", CollectConfig(demos=2, max_attempts=3), 0, tmp_path / "e", 1, Silent())


def start(seed: int) -> np.ndarray:
    """Where the episode of a seed begins."""
    env = SUITES.build(SUITES.parse(SUITE)).make("reach")
    env.reset(seed)
    return env.start_state()


def test_start_order_by_hand() -> None:
    """The farther end, then the middle of the larger gap; what coincides comes last and is not left out."""
    line = np.array([0.0, 1.0, 0.0, 10.0, 4.0, 10.0])[:, None]
    assert start_order(line) == [0, 3, 4, 1, 2, 5]
    assert start_order(np.array([[0.0, 0], [3, 4], [0, 6], [6, 0]])) == [0, 2, 3, 1]
    assert start_order(np.zeros((3, 2))) == [0, 1, 2]


def test_spread_demonstrations_lie_farther_apart_and_say_so(tmp_path: Path) -> None:
    one, again, two = (make(tmp_path / n, config(spread=8), workers=w) for n, w in (("a", 1), ("c", 1), ("b", 2)))
    assert one["content_sha256"] == two["content_sha256"] == again["content_sha256"]
    make(tmp_path / "drawn")
    spread, drawn = (read_store(tmp_path / name).provenance for name in ("a", "drawn"))
    candidates = [demo_seed(0, "reach", i) for i in range(32)]
    assert set(spread["episode_seeds"]) <= set(candidates)
    assert drawn["episode_seeds"] == candidates[:4], "as ever"
    apart = []
    for provenance in (spread, drawn):
        places = np.stack([start(seed) for seed in provenance["episode_seeds"]])
        assert [start_hash(place) for place in places] == provenance["start_states"]
        distances = np.linalg.norm(places[:, None] - places[None], axis=-1)
        apart.append(distances[np.triu_indices(4, 1)].min())
    assert apart[0] > 1.5 * apart[1]
    assert spread["start_states_chosen"] == {"by": "farthest point sampling of start states", "of": 32}
    assert spread["recipe"]["collect"]["spread"] == 8
    assert "start_states_chosen" not in drawn
    assert "spread" not in drawn["recipe"]["collect"], "data made before are the same recipe"
    with pytest.raises(UsageError, match=r"collect.spread not set, asked for 8"):
        make(tmp_path / "drawn", config(spread=8))


def test_where_a_spread_candidate_fails_the_next_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than the candidates that were looked at, if need be, and no more than may be tried."""
    honest = ToyEnv.expert
    good = [demo_seed(0, "reach", i) for i in (1, 5)]
    placed = [tuple(start(seed)) for seed in good]
    monkeypatch.setattr(ToyEnv, "expert", lambda self: honest(self) * (tuple(self.start_state()) in placed))
    kept, failed = collect(SUITE, "reach", CollectConfig(demos=2, spread=2), 0, tmp_path / "e", 1, Silent())
    assert [candidate.seed for candidate in kept] == good
    assert failed == 4
    for attempts in (2, 1):
        with pytest.raises(RunFailed, match=rf"only . of 2 demonstrations after {2 * attempts} attempts"):
            few = CollectConfig(demos=2, spread=2, max_attempts=attempts)
            collect(SUITE, "reach", few, 0, tmp_path / f"f{attempts}", 1, Silent())


def test_many_attempts_may_be_allowed(tmp_path: Path) -> None:
    """Candidates are thought of one by one: as many as may be tried would not fit into memory."""
    kept, _ = collect(SUITE, "reach", CollectConfig(demos=2, max_attempts=LARGEST), 0, tmp_path, 1, Silent())
    assert [candidate.seed for candidate in kept] == [demo_seed(0, "reach", i) for i in (0, 1)]


def test_data_sets_keep_their_names() -> None:
    """A folder's name is a hash of the recipe, and a setting that is not used is not part of it."""
    assert of(config(raw_actions=True), "reach").folder_name == "reach-p32-d4-s0-f7e2a3"
    assert of(config(raw_actions=True, spread=1), "reach").folder_name == "reach-p32-d4-s0-f7e2a3"
    assert of(config(raw_actions=True, spread=2), "reach").folder_name != "reach-p32-d4-s0-f7e2a3"
    assert of(config(spread=2), "reach").folder_name != "reach-p32-d4-s0"


def test_folder_names_tell_usual_from_unusual() -> None:
    usual = of(config(), "reach").folder_name
    assert usual == "reach-p32-d4-s0"
    unusual = of(config(after_success=3), "reach").folder_name
    assert unusual.startswith("reach-p32-d4-s0-")
    assert of(config(after_success=4), "reach").folder_name not in (usual, unusual)


def test_names_of_data_sets_made_before_a_setting_existed_stay() -> None:
    def name(**cloud: object) -> str:
        return of(RecordConfig.model_validate({"suite": {"name": "metaworld", "cloud": cloud}}), "reach").folder_name

    assert name() == name(robot="shown", fovea=1) != name(robot="gripper", fovea=4) == "reach-p512-d10-s0"
    assert name(points=4096, robot="gripper", fovea=8) == "reach-p4096-d10-s0"
    assert name(points=256, camera_size=200) == "reach-p256-d10-s0-efe242"
    assert name(frame="dp3") == "reach-p512-d10-s0-c4e339"
    assert len({name(), name(robot="gripper"), name(robot="gripper", fovea=4), name(fovea=4)}) == 4


def test_a_data_set_is_found_under_the_name_that_an_earlier_omp_gave_it(tmp_path: Path) -> None:
    """What is usual has changed: the plain name was that of clouds with the arm, which is no reason to refuse."""

    def source(**cloud: object) -> Recorded:
        config = RecordConfig.model_validate({"suite": {"name": "metaworld", "cloud": cloud}})
        return of(config, "reach")

    usual, arm = source(robot="gripper", fovea=4), source()
    plain, hashed = tmp_path / usual.folder_name, tmp_path / f"{usual.folder_name}-{short_hash(usual.recipe())}"
    assert (usual.folder(tmp_path), arm.folder(tmp_path)) == (plain, tmp_path / arm.folder_name)
    for folder in (plain, hashed):
        (folder / SCRATCH).mkdir(parents=True)
    write_json(plain / SCRATCH / RECIPE, arm.recipe())
    assert (usual.folder(tmp_path), arm.folder(tmp_path)) == (hashed, plain), "with the arm, and begun, before"
    write_json(hashed / SCRATCH / RECIPE, usual.recipe())
    (plain / SCRATCH / RECIPE).unlink()
    assert usual.folder(tmp_path) == hashed, "what was asked for by its options"


def test_what_points_lay_on_is_a_share_of_those_seen() -> None:
    first = counted_since({"arm": 5}, {"arm": 5, "obj": 30, "marker": 10})
    assert first == {"obj": 30, "marker": 10}
    assert points_on([first, {"obj": 60}], 4) == {"points_seen": 25.0, "points_on": {"marker": 0.1, "obj": 0.9}}
    assert points_on([{}, {}], 4) == {}
