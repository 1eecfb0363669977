"""Rotations of a robot's own data: named on the line, learned without a jump, given out as they were recorded."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation as Reference

from omp_cli.core.data.store import read_store
from omp_cli.core.deploy.deciders import open_decider
from omp_cli.core.measure.offline.episodes import ReferenceEpisodes
from omp_cli.core.measure.offline.predict import chunks_of
from omp_cli.core.rotations import Continuous
from omp_cli.core.spec import Rotation
from tests.cli.test_bad_input import refused
from tests.conftest import Omp
from tests.data.arrays import write_npz

TURNED = ("--set", "state_rotations=3:axis-angle", "--set", "action_rotations=3:axis-angle")
LENGTHS = (20,) * 6
SMALL = ("--preset", "dmpo-state", "--set", "train.warmup_steps=0", "--set", "train.checkpoint_every=none")


def hand(episodes: int = len(LENGTHS), frames: int = LENGTHS[0], order: str = "rotvec") -> dict[str, np.ndarray]:
    """A hand that points down and sways about it: its axis times angle jumps. What it does is the pose that follows."""
    random, found = np.random.default_rng(0), []
    for _ in range(episodes):
        t = np.linspace(0, 1, frames + 1)[:, None]
        sway = np.concatenate([0.3 * np.sin(9 * t + random.uniform(0, 6)), t * random.normal(0, 0.1, 2)], axis=1)
        rotation = Reference.from_euler("xyz", [np.pi, 0, 0]) * Reference.from_euler("xyz", sway)
        written = {
            "rotvec": rotation.as_rotvec,
            "quat": rotation.as_quat,
            "euler": lambda r=rotation: r.as_euler("xyz"),
        }
        found.append(np.concatenate([t * random.uniform(0.1, 0.3, 3), written[order]()], axis=1))
    state, action = (np.concatenate([pose[part] for pose in found]) for part in (slice(-1), slice(1, None)))
    return {"state": state.astype(np.float32), "action": action.astype(np.float32)}


@pytest.fixture
def prepared(omp: Omp, tmp_path: Path) -> Path:
    write_npz(tmp_path / "hand.npz", hand(), LENGTHS)
    done = omp("prepare", "own", tmp_path / "hand.npz", "--task", "turn", "--hz", 20, *TURNED, "--out", tmp_path / "d")
    assert done.code == 0, done.err
    said = " ".join(done.out.split())
    assert "state: state[3] to state[5] are seen in six numbers (axis-angle)" in said
    assert "action: action[3] to action[5] are learned in six numbers (axis-angle) and given out as recorded" in said
    assert "half a turn" not in said, "of what is learned without a jump"
    return tmp_path / "d"


def test_from_a_file_to_a_robot(omp: Omp, prepared: Path, tmp_path: Path) -> None:
    data = read_store(prepared)
    np.testing.assert_array_equal(data.arrays["action"], hand()["action"], err_msg="as recorded")
    assert np.abs(np.diff(data.arrays["action"][:, 3])).max() > 6, "which jumps"
    assert (data.spec.learned_action_dim, data.spec.seen_state_dim) == (9, 9)
    trained = omp("pretrain", prepared, *SMALL, "--lambda-disp", 0, "--steps", 400, "--out", tmp_path / "run")
    assert trained.code == 0, trained.err
    measured = omp("eval", tmp_path / "run", "--offline", "--on", "train", "--json", "--out", tmp_path / "e")
    assert measured.code == 0, measured.err
    offline = measured.json["result"]["offline"]
    assert max(offline["spread"][3:]) < 0.5, "without the jumps, which would make it 3"
    for name in ("sample", "last_action"):
        errors = [error["value"] for error in offline["errors"][name]["by_dimension"]]
        assert max(errors) < 0.3, f"{name}: two ways to write one rotation are no error"
    exported = omp("export", tmp_path / "run", "--format", "pt2", "--out", tmp_path / "files")
    assert exported.code == 0, exported.err
    assert json.loads((tmp_path / "files" / "policy.json").read_text())["output"]["rotations"] == [
        {"first": 3, "kind": "axis-angle", "degrees": False, "near": []}
    ]
    deciders = [open_decider(path, "cpu") for path in (tmp_path / "run", tmp_path / "files" / "policy.pt2")]
    assert [(d.signature.action_dim, d.signature.noise_shape) for d in deciders] == [(6, (4, 9))] * 2
    history, noise = {"state": data.arrays["state"][:1][None]}, torch.randn(1, 4, 9)
    one, other = (decider.decide(history, noise) for decider in deciders)
    np.testing.assert_allclose(one, other, atol=1e-5)
    low, high = deciders[0].signature.action_range or ((), ())
    assert (max(high[3:]), min(low[3:])) == pytest.approx((np.pi, -np.pi), abs=0.1)
    for more in ((), ("--ensemble", 0.01)):
        line = ("deploy", tmp_path / "run", "--replay", prepared, "--hz", 500, "--json", *more)
        replayed = omp(*line, "--out", tmp_path / f"replay{len(more)}")
        assert replayed.code == 0, replayed.err
        assert max(replayed.json["result"]["replay"]["error"]) < 0.3


def test_predictions_are_written_as_near_to_the_truth_as_they_can_be(omp: Omp, prepared: Path, tmp_path: Path) -> None:
    assert omp("pretrain", prepared, *SMALL, "--steps", 2, "--out", tmp_path / "run").code == 0
    policy, data = open_decider(tmp_path / "run", "cpu").policy, read_store(prepared)  # type: ignore[attr-defined]
    reference = ReferenceEpisodes(data, (0,), data.arrays["action"], "train")
    mean = data.arrays["action"].mean(0).astype(np.float64)
    (chunks,) = chunks_of(policy, data, reference.episodes[0], np.arange(20), 8, 1, 0, mean)
    rotation = (Rotation(first=0, kind="axis-angle"),)
    continuous = Continuous(rotation, 3)
    for found in (chunks.samples, chunks.before[:, None], chunks.mean[:, None]):
        turns = found[..., 3:]
        other = turns * (1 - 2 * np.pi / np.linalg.norm(turns, axis=-1, keepdims=True))
        both = [continuous(torch.from_numpy(x)).numpy() for x in (turns, other)]
        np.testing.assert_allclose(both[0], both[1], atol=1e-6)
        truth = chunks.truth[:, None, :, 3:]
        assert (((turns - truth) ** 2).sum(-1) <= ((other - truth) ** 2).sum(-1) + 1e-9).all()


@pytest.mark.parametrize("order", ["quat", "euler"])
def test_other_ways_to_write_them(omp: Omp, order: str, tmp_path: Path) -> None:
    arrays = hand(order=order)
    kind, names = ("quaternion", "x y z qx qy qz qw") if order == "quat" else ("euler", "x y z roll pitch yaw")
    if order == "quat":
        arrays["action"][:, 3:] *= np.random.default_rng(0).choice([-1, 1], (len(arrays["action"]), 1))
    else:
        arrays["action"][:, 3:] = np.rad2deg(arrays["action"][:, 3:])
    write_npz(tmp_path / "hand.npz", arrays, LENGTHS)
    first, end = ("qx", ":quaternion") if order == "quat" else ("roll", ":euler:degrees")
    named = json.dumps(names.split())
    line = ("prepare", "own", tmp_path / "hand.npz", "--task", "turn", "--hz", 20, "--set", f"action_names={named}")
    plain = omp(*line, "--out", tmp_path / "plain")
    assert "--set action_rotations=" in " ".join(plain.out.split()), "the way out is told"
    done = omp(*line, "--set", f"action_rotations={first}{end}", "--out", tmp_path / "d")
    assert done.code == 0, done.err
    (rotation,) = read_store(tmp_path / "d").spec.action_rotations
    assert (rotation.first, rotation.kind, rotation.degrees) == (3, kind, order == "euler")
    again = omp("prepare", "own", tmp_path / "d", "--task", "turn", "--out", tmp_path / "again")
    assert again.code == 0, again.err
    assert read_store(tmp_path / "again").spec.action_rotations == (rotation,), "as the data set says it"
    trained = omp("pretrain", tmp_path / "d", *SMALL, "--steps", 2, "--out", tmp_path / "run")
    assert trained.code == 0, trained.err


def test_a_joint_that_turns_on_is_given_out_as_its_file_counts_it(omp: Omp, tmp_path: Path) -> None:
    turning = np.linspace(0, 6 * np.pi, 60, dtype=np.float32)[:-1, None] % (2 * np.pi)
    write_npz(tmp_path / "joint.npz", {"state": turning, "action": turning}, (30, 29))
    line = ("prepare", "own", tmp_path / "joint.npz", "--task", "turn", "--hz", 20, "--set", "action_rotations=0:angle")
    assert omp(*line, "--out", tmp_path / "d").code == 0
    (rotation,) = read_store(tmp_path / "d").spec.action_rotations
    assert rotation.near == pytest.approx((np.pi,), abs=0.2)
    continuous = Continuous([rotation], 1)
    np.testing.assert_allclose(continuous.inverse(continuous(torch.from_numpy(turning))), turning, atol=1e-5)


def test_files_have_to_say_the_same_of_them(omp: Omp, prepared: Path, tmp_path: Path) -> None:
    line = ("prepare", "own", "--task", "turn", "--hz", 20)
    write_npz(tmp_path / "more.npz", hand(3), LENGTHS[:3])
    assert omp(*line, tmp_path / "more.npz", "--out", tmp_path / "plain").code == 0
    both = (prepared, tmp_path / "plain")
    refused(omp(*line, *both, "--out", tmp_path / "no"), 3, "list of rotations of state", "--set state_rotations=")
    assert omp(*line, *both, *TURNED, "--out", tmp_path / "both").code == 0
    assert read_store(tmp_path / "both").spec.action_rotations == (Rotation(first=3, kind="axis-angle"),)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("action_rotations=3:rotvec", "'3:rotvec' is not the first number's place or name"),
        ("action_rotations=axis-angle", "'axis-angle' is not the first number's place"),
        ("action_rotations=3:quaternion:degrees", "is not the first number's place"),
        ("action_rotations=99999999999999:angle", "99999999999999:angle: the action has 6 numbers"),
        ("action_rotations=4:axis-angle", "the action has 6 numbers, counted from 0, and axis-angle takes 3"),
        ("action_rotations=rx:axis-angle", "action_rotations: rx:axis-angle: the action has 6 numbers"),
        ("state_rotations=3:axis-angle,5:angle", "3:axis-angle takes state[5], where another one begins"),
        (
            "action_rotations=2:quaternion",
            "no quaternion: its length is not 1 in 20 of 20 frames, the first in episode 0",
        ),
        ("action_rotations=3:euler", "the second angle comes to"),
    ],
)
def test_what_they_are_not_is_one_line(omp: Omp, setting: str, words: str, tmp_path: Path) -> None:
    arrays = hand()
    arrays["action"][7, 4] = 2.5
    write_npz(tmp_path / "hand.npz", arrays, LENGTHS)
    line = ("prepare", "own", tmp_path / "hand.npz", "--task", "turn", "--hz", 20, "--set", setting)
    refused(omp(*line, "--out", tmp_path / "d"), 2, words)


def test_degrees_are_not_taken_for_radians(omp: Omp, tmp_path: Path) -> None:
    arrays = hand()
    arrays["action"][:, 3:] = np.rad2deg(arrays["action"][:, 3:])
    write_npz(tmp_path / "hand.npz", arrays, LENGTHS)
    line = ("prepare", "own", tmp_path / "hand.npz", "--task", "turn", "--hz", 20, "--out", tmp_path / "d")
    for kind in ("axis-angle", "angle"):
        refused(omp(*line, "--set", f"action_rotations=3:{kind}"), 2, "of angles in degrees: 3:" + kind + ":degrees")
    steep = omp(*line, "--set", "action_rotations=2:euler:degrees")
    refused(steep, 2, "the second angle comes to", "2:angle:degrees,3:angle:degrees,4:angle:degrees")
    assert omp(*line, "--set", "action_rotations=3:axis-angle:degrees").code == 0


def test_radians_that_are_called_degrees_still_jump(omp: Omp, tmp_path: Path) -> None:
    write_npz(tmp_path / "hand.npz", hand(), LENGTHS)
    line = ("prepare", "own", tmp_path / "hand.npz", "--task", "turn", "--hz", 20)
    done = omp(*line, "--set", "action_rotations=3:axis-angle:degrees", "--out", tmp_path / "d")
    assert done.code == 0, done.err
    assert "action: action[3] (" in " ".join(done.out.split()), "the jumps of 2 pi are told"


def test_an_angle_that_counts_its_turns_is_left_out(omp: Omp, tmp_path: Path) -> None:
    turning = np.linspace(-4, 4, 60, dtype=np.float32)[:, None]
    write_npz(tmp_path / "joint.npz", {"state": turning, "action": turning}, (30, 30))
    line = ("prepare", "own", tmp_path / "joint.npz", "--task", "turn", "--hz", 20, "--set", "action_rotations=0:angle")
    refused(omp(*line), 2, "-4 to 4 is more than a whole turn, 6.283", "leave them out of this setting")


def test_what_goes_on_beyond_half_a_turn_is_given_out_so(omp: Omp, tmp_path: Path) -> None:
    """A yaw that just passes pi, and an axis times its angle that was kept together where the angle passes it."""
    yaw = np.linspace(2.2, 3.18, 60, dtype=np.float32)
    axis = np.stack([np.linspace(2.9, 3.4, 60), np.full(60, 0.1), np.zeros(60)], 1).astype(np.float32)
    action = np.concatenate([yaw[:, None], axis], 1)
    write_npz(tmp_path / "d.npz", {"state": yaw[:, None], "action": action}, (30, 30))
    line = ("prepare", "own", tmp_path / "d.npz", "--task", "turn", "--hz", 20, "--out", tmp_path / "d")
    assert omp(*line, "--set", "action_rotations=1:axis-angle,0:angle").code == 0
    rotations = read_store(tmp_path / "d").spec.action_rotations
    assert [str(rotation) for rotation in rotations] == ["0:angle", "1:axis-angle"]
    continuous = Continuous(rotations, 4)
    np.testing.assert_allclose(continuous.inverse(continuous(torch.from_numpy(action))), action, atol=1e-5)


def test_what_a_data_set_says_can_be_taken_back(omp: Omp, prepared: Path, tmp_path: Path) -> None:
    line = ("prepare", "own", prepared, "--task", "turn")
    assert omp(*line, "--set", "action_rotations=[]", "--out", tmp_path / "e").code == 0
    spec = read_store(tmp_path / "e").spec
    assert (spec.action_rotations, len(spec.state_rotations)) == ((), 1)


def test_part_of_a_quaternion_that_is_an_angle_is_no_quaternion(omp: Omp, tmp_path: Path) -> None:
    arrays = hand(order="quat")
    arrays["state"][::2, 3:] *= -1
    write_npz(tmp_path / "hand.npz", arrays, LENGTHS)
    names = json.dumps(["x", "y", "z", "qx", "qy", "qz", "qw"])
    line = ("prepare", "own", tmp_path / "hand.npz", "--task", "turn", "--hz", 20, "--set", f"state_names={names}")
    assert omp(*line, "--set", "state_rotations=5:angle", "--out", tmp_path / "d").code == 0
    assert read_store(tmp_path / "d").spec.quaternions == ()


@pytest.mark.parametrize("kind", ["axis-angle", "euler", "quaternion"])
def test_an_episode_without_a_finite_number_is_told(omp: Omp, kind: str, tmp_path: Path) -> None:
    arrays = hand(order={"axis-angle": "rotvec", "euler": "euler", "quaternion": "quat"}[kind])
    arrays["action"][:20] = np.nan
    write_npz(tmp_path / "hand.npz", arrays, LENGTHS)
    line = (
        "prepare",
        "own",
        tmp_path / "hand.npz",
        "--task",
        "turn",
        "--hz",
        20,
        "--set",
        f"action_rotations=3:{kind}",
    )
    refused(omp(*line, "--out", tmp_path / "d"), 3, "leave_out=0")
    assert omp(*line, "--set", "leave_out=0", "--out", tmp_path / "e").code == 0


def test_data_that_write_rotations_otherwise_are_not_compared(omp: Omp, prepared: Path, tmp_path: Path) -> None:
    assert omp("pretrain", prepared, *SMALL, "--steps", 2, "--out", tmp_path / "run").code == 0
    write_npz(tmp_path / "euler.npz", hand(order="euler"), LENGTHS)
    line = ("prepare", "own", tmp_path / "euler.npz", "--task", "turn", "--hz", 20)
    assert omp(*line, "--set", "action_rotations=3:euler", "--out", tmp_path / "other").code == 0
    words = "the rotations of its actions are 3:euler, the policy's 3:axis-angle"
    refused(omp("deploy", tmp_path / "run", "--replay", tmp_path / "other"), 2, words)
    refused(omp("eval", tmp_path / "run", "--offline", "--dataset", tmp_path / "other"), 2, words)


def test_a_run_goes_on_with_the_rotations_that_it_began_with(omp: Omp, prepared: Path, tmp_path: Path) -> None:
    """The arrays are the same, and the policy would have other widths."""
    assert omp("pretrain", prepared, *SMALL, "--steps", 2, "--out", tmp_path / "run").code == 0
    line = ("prepare", "own", tmp_path / "hand.npz", "--task", "turn", "--hz", 20, "--out", tmp_path / "plain")
    assert omp(*line).code == 0
    resumed = omp("pretrain", tmp_path / "plain", "--resume", tmp_path / "run", "--steps", 4)
    refused(resumed, 3, "says of other numbers of the state that they are rotations")
