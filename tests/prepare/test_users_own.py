"""A suite of the user's own, from a plugin: its recordings come from files, and policies act in its environment."""

from pathlib import Path

import numpy as np

from omp_cli.core.data.store import read_store
from tests.cli.test_bad_input import refused
from tests.conftest import Omp
from tests.data.arrays import write_npz
from tests.data.lerobot import write_lerobot

PLUGIN = ("--plugin", Path(__file__).parents[2] / "examples" / "hidden_goal.py")
LENGTHS = (6, 5)


def walked(width: int = 2) -> dict[str, np.ndarray]:
    """The point's way (T, width) and its steps (T, 2), as a recording of the suite "hidden" has them."""
    random = np.random.default_rng(0)
    return {
        "state": random.uniform(-0.4, 0.4, (sum(LENGTHS), width)).astype(np.float32),
        "action": random.uniform(-1, 1, (sum(LENGTHS), 2)).astype(np.float32),
    }


def next_words(out: str) -> list[str]:
    """The words of the printed line that goes on, without the plugin."""
    words = " ".join(out.split()).split("next: omp ")[1].split()
    return words[2:] if words[0] == "--plugin" else words


def test_from_a_recording_to_a_policy_that_acts_in_the_plugins_environment(omp: Omp, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "d.npz", walked(), LENGTHS)
    made = omp(*PLUGIN, "prepare", "hidden", path, "--out", tmp_path / "d")
    assert made.code == 0, made.err
    assert "task goal: the usual one of hidden" in made.err
    assert "these data can be rolled out in suite hidden" in " ".join(made.out.split())
    data = read_store(tmp_path / "d")
    assert (data.spec.suite, data.spec.task, data.spec.max_steps, data.spec.control_hz) == ("hidden", "goal", 40, 20.0)
    assert data.suite == {"name": "hidden", "expert_knows": False}
    words = next_words(made.out)
    assert words == ["pretrain", str(tmp_path / "d"), "--preset", "dmpo-state"]
    few = ("--set", "net.hidden=16", "--set", "train.warmup_steps=0", "--steps", 2, "--batch-size", 4)
    trained = omp(*PLUGIN, *words, *few, "--out", tmp_path / "run")
    assert trained.code == 0, trained.err
    judged = omp(*PLUGIN, "eval", tmp_path / "run", "--episodes", 1, "--workers", 1, "--out", tmp_path / "e", "--json")
    assert judged.code == 0, judged.err
    assert judged.json["result"]["success_any"]["episodes"] == 1
    few = ("--iterations", 1, "--workers", 1, "--set", "envs=2", "--set", "algorithm.decisions=2")
    few += ("--set", "evaluation.every=0")
    tuned = omp(*PLUGIN, "finetune", tmp_path / "run", *few, "--out", tmp_path / "tuned")
    assert tuned.code == 0, tuned.err


def test_actions_beyond_one_are_the_environments_business(omp: Omp, tmp_path: Path) -> None:
    recorded = {**walked(), "action": 4.0 * walked()["action"]}
    made = omp(*PLUGIN, "prepare", "hidden", write_npz(tmp_path / "d.npz", recorded, LENGTHS), "--out", tmp_path / "d")
    assert made.code == 0, made.err
    said = " ".join(made.out.split())
    assert "so will a policy, and the environment of hidden gets them as they are" in said
    assert "simulators clip" not in said


def test_what_has_another_layout_is_data_without_an_environment_and_says_why(omp: Omp, tmp_path: Path) -> None:
    path = write_npz(tmp_path / "d.npz", {**walked(width=3), "action": 4.0 * walked()["action"]}, LENGTHS)
    line = (*PLUGIN, "prepare", "hidden", "--file", path)
    made = omp(*line, "--out", tmp_path / "d")
    assert made.code == 0, made.err
    said = " ".join(made.out.split())
    assert "cannot be rolled out in suite hidden: hidden goal: the environment's state_dim is 2" in said
    assert "--preset dmpo-state --hold-out 0.1" in said
    assert "so will a policy" in said
    assert "the environment of hidden gets them" not in said
    assert read_store(tmp_path / "d").suite == {"name": "own"}
    refused(omp(*line, "--task", "gaol", "--out", tmp_path / "e"), 2, "unknown task 'gaol'", "goal")


def test_several_files_are_one_data_set_of_the_suite(omp: Omp, tmp_path: Path) -> None:
    paths = [
        write_npz(tmp_path / f"{day}.npz", {**walked(), "day": np.full(sum(LENGTHS), day)}, LENGTHS) for day in range(2)
    ]
    made = omp(*PLUGIN, "prepare", "hidden", *paths, "--out", tmp_path / "d")
    assert made.code == 0, made.err
    data = read_store(tmp_path / "d")
    assert len(data.episode_ends) == 2 * len(LENGTHS)
    assert data.suite == {"name": "hidden", "expert_knows": False}
    other = write_npz(tmp_path / "other.npz", walked(width=3), LENGTHS)
    refused(
        omp(*PLUGIN, "prepare", "hidden", paths[0], other, "--out", tmp_path / "e"), 3, f"{other}: not as {paths[0]}"
    )


def test_a_lerobot_folder_is_told_of_its_rate_and_its_pictures(omp: Omp, tmp_path: Path) -> None:
    plugin = tmp_path / "arm_suite.py"
    text = PLUGIN[1].read_text().replace('"hidden', '"arm')
    plugin.write_text(text.replace("action_dim=2, state_dim=2", "action_dim=7, state_dim=6"))
    write_lerobot(tmp_path / "so100", kind="image")
    line = ("--plugin", plugin, "prepare", "arm", tmp_path / "so100", "--set", "format.size=16")
    made = omp(*line, "--out", tmp_path / "d")
    assert made.code == 0, made.err
    said = " ".join(made.out.split())
    assert "can be rolled out in suite arm" in said
    assert "the file says 10 Hz, and a step of arm is one at 20 Hz" in said
    assert "suite arm shows no pictures" in said
    assert read_store(tmp_path / "d").spec.image == (16, 16, 6)


def test_the_next_line_fits_what_a_suites_own_source_made(omp: Omp, tmp_path: Path) -> None:
    made = omp(*PLUGIN, "prepare", "hidden", "--source", "shaken", "--demos", 1, "--out", tmp_path / "d")
    assert made.code == 0, made.err
    words = next_words(made.out)
    assert words == ["pretrain", str(tmp_path / "d"), "--preset", "dmpo-state"]
    assert omp(*PLUGIN, *words, "--dry-run").code == 0
