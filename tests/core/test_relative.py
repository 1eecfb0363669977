"""Actions and states relative to where the robot is: against SciPy's rotations, by hand, and through a whole policy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation as Reference
from torch import Tensor

from omp_cli.core.base.errors import UsageError
from omp_cli.core.data.windows import make_windows
from omp_cli.core.encoders import ENCODERS, Encoder
from omp_cli.core.encoders.base import EncoderConfig
from omp_cli.core.policy import Policy
from omp_cli.core.policy_config import PolicyConfig
from omp_cli.core.relative import RelativeTo, with_relative
from omp_cli.core.rotations import Continuous, nearest
from omp_cli.core.spec import Channels, Relative, Rotation, RotationKind, Spec
from omp_cli.core.train.build import never_seen
from tests.core.test_rotations import WRITTEN

POSE = ("x", "y", "z", "rx", "ry", "rz")
EXECUTE = 3


def channels(*names: str) -> Channels:
    return Channels(names=names, low=(-1.0,) * len(names), high=(1.0,) * len(names))


def spec(**changed: Any) -> Spec:
    """A hand with a gripper, whose action is a pose: the state has a number before it, and writes a quaternion."""
    basis = Spec(
        suite="own",
        task="cup",
        action_dim=7,
        state_dim=9,
        max_steps=10,
        control_hz=10.0,
        action_channels=channels(*POSE, "gripper"),
        state_channels=channels("force", *POSE[:3], "qx", "qy", "qz", "qw", "gripper"),
        state_rotations=(Rotation(first=4, kind="quaternion"),),
        action_rotations=(Rotation(first=3, kind="axis-angle"),),
    )
    return basis.model_copy(update=changed)


def poses(count: int, seed: int) -> tuple[np.ndarray, Reference]:
    return np.random.default_rng(seed).normal(size=(count, 3)), Reference.random(count, random_state=seed)


def states(position: np.ndarray, rotation: Reference) -> Tensor:
    ends = np.linspace(0.0, 1.0, len(position))[:, None]
    return torch.from_numpy(np.concatenate([ends, position, rotation.as_quat(), 2 * ends], 1))


def actions(position: np.ndarray, rotation: Reference) -> Tensor:
    return torch.from_numpy(np.concatenate([position, rotation.as_rotvec(), np.ones((len(position), 1))], 1))


@pytest.mark.parametrize("kind", ["quaternion", "quaternion-wxyz"])
def test_a_pose_counts_from_the_hands_in_its_frame(kind: RotationKind) -> None:
    (p, r), (s, hand) = poses(50, 0), poses(50, 1)
    ours = spec(state_rotations=(Rotation(first=4, kind=kind),))
    state = states(s, hand)
    state[:, 4:8] = torch.from_numpy(WRITTEN[kind](hand))
    (part,) = with_relative(ours, ["0:pose"], []).relative_actions
    assert part == Relative(first=0, base=1, count=6, rotation=ours.state_rotations[0])
    continuous, relative = Continuous(ours.action_rotations, 7), RelativeTo([part], ours.action_rotations, 7)
    found = relative(continuous(actions(p, r)), state)
    np.testing.assert_allclose(found[:, :3], hand.inv().apply(p - s), atol=1e-12)
    np.testing.assert_allclose(found[:, 3:9].reshape(-1, 2, 3), (hand.inv() * r).as_matrix()[:, :2], atol=1e-12)
    np.testing.assert_array_equal(found[:, 9], np.ones(50))
    back = continuous.inverse(relative.inverse(found, state))
    np.testing.assert_allclose(back, actions(p, r), atol=1e-9)


def test_by_hand() -> None:
    """A hand that looks along y sees what lies one along y before it; a quarter of a turn on is a quarter."""
    up, quarter = [0.0, 0.0, 0.5], [0.0, 0.0, np.pi / 2]
    ours = spec(
        state_dim=6,
        state_rotations=(Rotation(first=3, kind="axis-angle"),),
        state_channels=channels(*POSE),
    )
    limits = RelativeTo(with_relative(ours, ["0:pose", "gripper=z"], []).relative_actions, ours.action_rotations, 7)
    state = torch.tensor([*up, *quarter], dtype=torch.float64)
    action = torch.tensor([0.0, 1.0, 0.5, 0.0, 0.0, np.pi, 0.75], dtype=torch.float64)
    found = limits(Continuous(ours.action_rotations, 7)(action), state)
    np.testing.assert_allclose(found, [1, 0, 0, 0, -1, 0, 1, 0, 0, 0.25], atol=1e-12)


def test_an_angle_counts_round_the_turn() -> None:
    ours = spec(
        action_dim=3,
        state_dim=3,
        action_channels=None,
        state_channels=None,
        state_rotations=(Rotation(first=2, kind="angle", degrees=True),),
        action_rotations=(Rotation(first=1, kind="angle"),),
    )
    parts = with_relative(ours, ["1=2", "0=0", "2=1"], []).relative_actions
    relative = RelativeTo(parts, ours.action_rotations, 3)
    action = torch.tensor([0.5, np.deg2rad(-179.0), 0.25], dtype=torch.float64)
    state = torch.tensor([0.125, 0.5, 179.0], dtype=torch.float64)
    found = relative(Continuous(ours.action_rotations, 3)(action), state)
    np.testing.assert_allclose(found, [0.375, np.cos(np.deg2rad(2)), np.sin(np.deg2rad(2)), -0.25], atol=1e-12)
    back = Continuous(ours.action_rotations, 3).inverse(relative.inverse(found, state))
    np.testing.assert_allclose(back, action, atol=1e-12)


def test_a_chunk_counts_from_one_state_and_no_autocast_rounds_it() -> None:
    (p, r), (s, hand) = poses(12, 2), poses(3, 3)
    ours = with_relative(spec(), ["0:pose"], [])
    continuous = Continuous(ours.action_rotations, 7)
    relative = RelativeTo(ours.relative_actions, ours.action_rotations, 7)
    chunks, newest = continuous(actions(p, r)).view(3, 4, 10).float(), states(s, hand)[:, None].float()
    with torch.autocast("cpu", torch.bfloat16):
        found = relative(chunks, newest)
    alone = torch.stack([relative(chunks[:, k], newest[:, 0]) for k in range(4)], 1)
    torch.testing.assert_close(found, alone, rtol=1e-6, atol=1e-6)


def data(turn: Reference | None = None, away: tuple[float, ...] = (0.0, 0.0, 0.0)) -> dict[str, Tensor]:
    """Two episodes of a hand that goes somewhere, seen in another frame."""
    rng = np.random.default_rng(0)
    position = np.cumsum(rng.normal(scale=0.05, size=(40, 3)), 0)
    rotation = Reference.from_rotvec(np.cumsum(rng.normal(scale=0.1, size=(40, 3)), 0))
    if turn is not None:
        position, rotation = turn.apply(position) + away, turn * rotation
    state = states(position, rotation)
    action = actions(np.roll(position, -1, 0), Reference.concatenate([rotation[1:], rotation[:1]]))
    return {"state": state.float(), "action": action.float()}


def policy(arrays: dict[str, Tensor], ours: Spec, **chunk: Any) -> Policy:
    parts = {"method": {"name": "meanflow"}, "net": {"name": "film-mlp", "hidden": 16, "depth": 1}}
    chunk = {"n_obs": 2, "horizon": 5, "execute": EXECUTE, **chunk}
    torch.manual_seed(0)
    made = Policy(PolicyConfig.model_validate({**parts, "encoder": {"name": "state"}, "chunk": chunk}), ours)
    made.fit(arrays, make_windows(np.array([20, 40]), made.chunk))
    return made.eval()


def windows(arrays: dict[str, Tensor], made: Policy) -> tuple[dict[str, Tensor], Tensor]:
    found = make_windows(np.array([20, 40]), made.chunk)
    return {"state": arrays["state"][found.obs]}, arrays["action"][found.action]


def test_a_policy_that_counts_from_the_hand_does_the_same_in_any_frame() -> None:
    """What it learns of data that were recorded in another frame is the same, and what it gives out lies in theirs."""
    turn, away = Reference.from_rotvec([0.3, -2.0, 0.7]), (0.5, -1.0, 2.0)
    here, there = data(), data(turn, away)
    relative = {"relative": ["0:pose"], "relative_state": ["1:pose"]}
    ours, theirs = policy(here, spec(), **relative), policy(there, spec(), **relative)
    (obs, chunks), (obs_there, chunks_there) = windows(here, ours), windows(there, theirs)
    learned = ours.normalised(chunks, obs)
    torch.testing.assert_close(learned, theirs.normalised(chunks_there, obs_there), rtol=1e-4, atol=2e-4)
    assert learned.abs().max() <= 1 + 1e-5
    assert (learned[..., :9].amax((0, 1)) > 0.99).all(), "the limits are those of the data"
    noise = torch.randn(len(chunks), 5, 10)
    done, done_there = ours.act(obs, noise).numpy(), theirs.act(obs_there, noise).numpy()
    assert done.shape == (40, EXECUTE, 7)
    np.testing.assert_allclose(
        turn.apply(done[..., :3].reshape(-1, 3)) + away, done_there[..., :3].reshape(-1, 3), atol=1e-3
    )
    turned = (turn * Reference.from_rotvec(done[..., 3:6].reshape(-1, 3))).as_rotvec()
    rotation = [Rotation(first=0, kind="axis-angle")]
    np.testing.assert_allclose(
        nearest(turned, done_there[..., 3:6].reshape(-1, 3), rotation), done_there[..., 3:6].reshape(-1, 3), atol=2e-3
    )
    plain = policy(here, spec())
    assert not torch.allclose(plain.embed(obs), plain.embed(obs_there), atol=0.1), "which absolute numbers do not"


def test_what_is_learned_comes_back_as_it_was() -> None:
    here = data()
    made = policy(here, spec(), relative=["0:pose", "gripper"])
    obs, chunks = windows(here, made)
    executed = made.executed(made.normalised(chunks, obs), obs)
    torch.testing.assert_close(executed, chunks[:, made.window], rtol=1e-4, atol=1e-4)


def test_the_range_of_an_action_is_the_datas() -> None:
    """Also where nobody has said what the numbers are."""
    here = data()
    made = policy(here, spec(action_channels=None, state_channels=None), relative=["0:pose=1"])
    low, high = made.action_range()
    np.testing.assert_allclose(low[:3] + low[6:], here["action"].amin(0)[[0, 1, 2, 6]])
    np.testing.assert_allclose(high[:3] + high[6:], here["action"].amax(0)[[0, 1, 2, 6]])
    assert high[3:6] == (np.pi,) * 3
    torch.testing.assert_close(
        policy(here, made.spec, relative=["0:pose=1"]).state_dict()["action_limits.reach"][0], here["action"].amin(0)
    )


def test_rotations_and_numbers_by_place_name_and_range() -> None:
    ours = spec()
    cases: dict[str, tuple[Relative, ...]] = {
        "x": (Relative(first=0, base=1),),
        "0-2": (Relative(first=0, base=1, count=3),),
        "0-2=6": (Relative(first=0, base=6, count=3),),
        "6": (Relative(first=6, base=8),),
        "rx=qx": (Relative(first=3, base=4, count=3, rotation=ours.state_rotations[0]),),
        "rx=1:euler:degrees": (
            Relative(first=3, base=1, count=3, rotation=Rotation(first=1, kind="euler", degrees=True)),
        ),
        "0-6=1": (
            Relative(first=0, base=1, count=3),
            Relative(first=3, base=4, count=3, rotation=ours.state_rotations[0]),
            Relative(first=6, base=8),
        ),
        "0:pose=1:quaternion": (Relative(first=0, base=1, count=6, rotation=ours.state_rotations[0]),),
    }
    for text, expected in cases.items():
        assert with_relative(ours, [text], []).relative_actions == expected, text
    seen = with_relative(ours, [], ["gripper", "x:pose"]).relative_state
    assert seen == (Relative(first=1, base=1, count=7, rotation=ours.state_rotations[0]), Relative(first=8, base=8))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7", "chunk.relative: 7: the action has 7 numbers, counted from 0"),
        ("5-3", "chunk.relative: 5-3: the action has 7 numbers"),
        ("wrist", "chunk.relative: wrist: the action has 7 numbers, counted from 0, and none is called so"),
        ("rx", "chunk.relative: rx: the state has no rx"),
        ("rx=1", "nothing says which rotation begins at 1 of the state"),
        ("ry=1", "ry is a part of the rotation 3:axis-angle"),
        ("rx=1:euler", None),
        ("rx=7:euler", "the data have 4:quaternion in the state there, not 7:euler"),
        ("rx=8:euler", "the state has 9 numbers, counted from 0"),
        ("rx=1:angle", "3:axis-angle of the action cannot count from 1:angle of the state"),
        ("1:pose", "a pose is x, y, z and a rotation, and at 4 begins none"),
        ("6:pose", "a pose is x, y, z and a rotation, and at 9 begins none"),
        ("0-1=8", "the state has 9 numbers, counted from 0"),
        ("x=wrist", "chunk.relative: wrist: the state has 9 numbers"),
        ("0:pose=force:axis-angle", "the data have 4:quaternion in the state there, not 3:axis-angle"),
        ("0:pose=1:axis-angle", "the data have 4:quaternion in the state there, not 4:axis-angle"),
        ("0=3:euler", "0 has no rotation, so euler means nothing here"),
        ("rx=0:quaternion:degrees", "a quaternion is not in degrees"),
        ("0-2=1-3", "1-3 are 3 numbers"),
        ("\u0663", "the action has 7 numbers"),
    ],
)
def test_what_cannot_be_relative_is_said(text: str, message: str | None) -> None:
    if message is None:
        assert with_relative(spec(), [text], []).relative_actions
        return
    with pytest.raises(UsageError, match=message):
        with_relative(spec(), [text], [])


def test_a_second_hand_counts_from_the_second_hand() -> None:
    """Two hands whose actions have six numbers each and whose states have seven."""
    ours = spec(
        action_dim=12,
        state_dim=14,
        action_channels=None,
        state_channels=None,
        state_rotations=(),
        action_rotations=tuple(Rotation(first=first, kind="axis-angle") for first in (3, 9)),
    )
    found = with_relative(ours, ["0-11:pose=0:quaternion"], []).relative_actions
    assert found == tuple(
        Relative(first=6 * hand, base=7 * hand, count=6, rotation=Rotation(first=7 * hand + 3, kind="quaternion"))
        for hand in (0, 1)
    )


def test_no_file_says_what_is_relative() -> None:
    """A policy's settings say it, and data sets can be read by an omp that knows nothing of it."""
    told = with_relative(spec(), ["0:pose"], ["gripper"])
    assert told.relative_actions
    assert told.relative_state
    assert told.model_dump(mode="json") == spec().model_dump(mode="json")
    assert not [key for key in told.model_dump(mode="json") if key.startswith("relative")]


class Bare(Encoder):
    """Reads the state as it is."""

    Config = EncoderConfig
    keys = ("state",)
    out_dim = 9

    def fit(self, arrays: Mapping[str, Tensor]) -> None: ...

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        return obs["state"][:, -1]


def test_an_encoder_that_normalises_the_state_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ENCODERS, "build", lambda config, spec, n_obs: Bare(config, spec, n_obs))
    assert policy(data(), spec(), relative=["0:pose"]).spec.relative_actions
    with pytest.raises(UsageError, match=r"chunk\.relative_state: the state encoder does not see the state through"):
        policy(data(), spec(), relative_state=["gripper"])
    monkeypatch.setattr(Bare, "keys", ("img",))
    with pytest.raises(UsageError, match=r"chunk\.relative: the state encoder does not read the state"):
        policy(data(), spec(), relative=["0:pose"])


def test_of_one_observation_nothing_is_relative_to_another() -> None:
    one = policy(data(), spec(), n_obs=1, relative_state=["1:pose", "gripper"])
    assert never_seen(one) == (
        "numbers 1-7, 8 of the state are not seen: relative to themselves they do not change (chunk.n_obs=1)"
    )
    assert never_seen(policy(data(), spec(), relative_state=["1:pose"])) is None
    assert never_seen(policy(data(), spec(), n_obs=1, relative=["0:pose"])) is None


def test_what_never_changes_stays_absolute() -> None:
    """A command that holds a motor does not follow the motor where it gives way."""
    held = channels(*POSE, "gripper").model_copy(update={"low": (-1.0,) * 6 + (1.0,)})
    ours = with_relative(spec(action_channels=held), ["0:pose", "gripper"], [])
    assert [part.first for part in ours.relative_actions] == [0]
    assert [part.first for part in with_relative(spec(), ["0:pose", "gripper"], []).relative_actions] == [0, 6]


def test_twice_and_displacements_are_refused() -> None:
    with pytest.raises(UsageError, match=r"chunk\.relative: z is named twice"):
        with_relative(spec(), ["0:pose", "2"], [])
    with pytest.raises(UsageError, match="y is a displacement, which is relative already"):
        with_relative(spec(displacements=((1, 2, 6),)), ["0-2"], [])
    with pytest.raises(UsageError, match=r"chunk\.relative_state: 4-6: it ends within a rotation, which goes on to 7"):
        with_relative(spec(), [], ["4-6"])
