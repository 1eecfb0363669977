"""Every number of every configuration class has bounds at its field; true, NaN and infinity are no numbers."""

import importlib
import math
import pkgutil
import typing
from typing import Any

import pytest
from pydantic import ValidationError

import omp_cli
from omp_cli.core.base.config import Settings, validated
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.seeds import MAX_SEED
from omp_cli.core.prepare.record import RecordConfig
from omp_cli.core.rl.config import FinetuneConfig
from omp_cli.core.train.config import PretrainConfig

UNBOUNDED = {
    ("Reference", "state"): "what a simulator's state holds is the simulator's affair",
    ("Channels", "low"): "what data hold is the data's affair",
    ("Channels", "high"): "what data hold is the data's affair",
}
"""Fields whose numbers may be any finite ones, and why."""


def _loaded() -> list[type[Settings]]:
    for module in pkgutil.walk_packages(omp_cli.__path__, "omp_cli."):
        if not module.name.endswith("__main__") and not module.name.startswith("omp_cli.core.deploy.lerobot."):
            importlib.import_module(module.name)
    found: dict[type[Settings], None] = {}
    waiting: list[type[Settings]] = [Settings]
    while waiting:
        for cls in waiting.pop().__subclasses__():
            if cls.__module__.startswith("omp_cli.") and cls not in found:
                found[cls] = None
                waiting.append(cls)
    return list(found)


def _filled(annotation: Any, value: Any, length: int) -> Any:
    """``value`` in the shape of an annotation; None where there is no number in it."""
    parts = typing.get_args(annotation)
    if annotation in (int, float):
        return value
    if typing.get_origin(annotation) is typing.Annotated:
        return _filled(parts[0], value, length)
    if typing.get_origin(annotation) is tuple:
        inner = [_filled(part, value, length) for part in parts if part is not Ellipsis]
        if None in inner:
            return None
        return inner * length if Ellipsis in parts else inner
    return next((shape for part in parts if (shape := _filled(part, value, length)) is not None), None)


def _numbers() -> list[tuple[type[Settings], str, Any]]:
    cases = []
    for model in _loaded():
        for name, info in model.model_fields.items():
            least = next((m.min_length for m in info.metadata if hasattr(m, "min_length")), None) or 1
            if _filled(info.annotation, 1, least) is not None:
                cases.append((model, name, lambda v, i=info, n=least: _filled(i.annotation, v, n)))
    return cases


NUMBERS = _numbers()


def _refused(model: type[Settings], name: str, value: Any) -> bool:
    try:
        model.model_validate({name: value})
    except ValidationError as error:
        return any(e["loc"][0] == name for e in error.errors())
    return False


def test_the_walk_finds_what_there_is() -> None:
    found = {(model.__name__, name) for model, name, _ in NUMBERS}
    assert {("TrainConfig", "betas"), ("PointCloudConfig", "channels"), ("EvalConfig", "seed")} <= found
    assert {("MeanFlowConfig", "epsilon"), ("Spec", "positions"), ("KitchenConfig", "goal")} <= found
    assert len(found) > 150
    assert found >= set(UNBOUNDED)


@pytest.mark.parametrize(("model", "name", "shaped"), NUMBERS, ids=lambda x: getattr(x, "__name__", x))
def test_every_number_has_bounds_on_both_sides(model: type[Settings], name: str, shaped: Any) -> None:
    """Beyond all that could be meant, in both directions; an own bound may be anywhere this side of it."""
    for value in (True, False, math.nan, math.inf, -math.inf, "nan", "inf"):
        assert _refused(model, name, shaped(value)), value
    if (model.__name__, name) not in UNBOUNDED:
        for value in (2**70, -(2**70), 1e300, -1e300):
            assert _refused(model, name, shaped(value)), f"{model.__name__}.{name} has no bound against {value}"


@pytest.mark.parametrize(
    "said",
    [
        {"grad_clip": 0},
        {"grad_clip": -1},
        {"ema_power": -1},
        {"ema_max": 2},
        {"ema_max": -0.1},
        {"betas": [2, 3]},
        {"betas": [0.9, 1]},
        {"betas": [True, 0.9]},
        {"eps": 0},
        {"eps": -1},
        {"steps": True},
        {"steps": 10**30},
        {"lr": "nan"},
        {"warmup_share": 1},
    ],
    ids=str,
)
def test_impossible_numbers_of_the_optimiser_are_refused_in_one_line(said: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as error:
        validated(PretrainConfig, _policy(train=said))
    (key,) = said
    assert error.value.message.startswith(f"train.{key}")
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("encoder", {"channels": [0]}),
        ("encoder", {"channels": [-8, 16]}),
        ("net", {"hidden": 10**9}),
        ("chunk", {"n_obs": 0}),
        ("chunk", {"execute": -1}),
        ("method", {"gain": 0}),
        ("method", {"epsilon": 2}),
        ("method", {"epsilon": True}),
        ("method", {"times": {"mu_t": 1e9}}),
    ],
    ids=str,
)
def test_impossible_numbers_of_the_policy_are_refused(section: str, said: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(said))):
        validated(PretrainConfig, _policy(**{section: said}))


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 10**30, 0.5, True])
@pytest.mark.parametrize(
    ("model", "rest"),
    [
        (PretrainConfig, None),
        (FinetuneConfig, {"algorithm": {"name": "dmpo"}}),
        (RecordConfig, {"suite": {"name": "toy"}}),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_seed_has_one_range_however_it_is_given(model: type[Settings], rest: Any, seed: Any) -> None:
    rest = _policy() if rest is None else rest
    assert validated(model, {**rest, "seed": MAX_SEED}).seed == MAX_SEED  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="seed"):
        validated(model, {**rest, "seed": seed})


def _policy(**sections: dict[str, Any]) -> dict[str, Any]:
    names = {"method": "meanflow", "net": "film-mlp", "encoder": "pointcloud"}
    return {key: {"name": name, **sections.pop(key, {})} for key, name in names.items()} | sections
