"""The figures of a report against what can be computed by hand."""

from pathlib import Path
from typing import Any

import pytest

from omp_cli.core.base import papers
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.presets import preset_names
from omp_cli.core.base.statistics import newcombe_paired
from omp_cli.core.measure.memory.paper import TASKS
from omp_cli.core.report import published
from omp_cli.core.report.collect import read_evaluations
from omp_cli.core.report.rename import renamed
from omp_cli.core.report.summary import summarise
from omp_cli.core.report.tables import all_tables, header_rows, main_table, percent
from omp_cli.core.report.training import training_table
from omp_cli.core.suites.metaworld.tables import GROUPS, MW34
from tests.report.manifests import write_eval, write_latency, write_offline


def section_of(folder: Path, baseline: str | None = None) -> dict[str, Any]:
    (section,) = summarise(read_evaluations([folder]), baseline)["sections"]
    return section


def test_means_are_over_seeds_then_tasks_and_the_total_is_unweighted(tmp_path: Path) -> None:
    for name, task, n, seed in (
        ("a", "hammer", 40, 0),
        ("b", "hammer", 30, 1),
        ("c", "soccer", 10, 0),
        ("d", "reach", 50, 0),
    ):
        write_eval(tmp_path / name, task, n, seed=seed)
    (row,) = section_of(tmp_path)["rows"]
    medium, total = row["classes"]["medium"], row["classes"]["total"]
    assert medium["value"] == pytest.approx((0.7 + 0.2) / 2)
    assert medium["tasks"] == ["metaworld/hammer", "metaworld/soccer"]
    assert (medium["of"], medium["seeds"], medium["episodes"]) == (4, [1, 2], 150)
    assert total["value"] == pytest.approx((0.7 + 0.2 + 1.0) / 3, abs=5e-5)
    assert (len(total["tasks"]), total["of"]) == (3, 37)
    assert (medium["low"], medium["high"]) == (None, None), "two tasks say nothing about others"
    assert total["low"] < total["value"] < total["high"]
    assert (row["classes"]["easy"]["low"], row["classes"]["easy"]["high"]) == (None, None)


def test_a_task_pools_its_seeds_and_keeps_their_spread(tmp_path: Path) -> None:
    for seed, n in enumerate((40, 45)):
        write_eval(tmp_path / f"a{seed}", "hammer", n, seed=seed)
        write_eval(tmp_path / f"b{seed}", "hammer", 20, seed=seed, label="mp1", started="2026-11-22T11:00:00+00:00")
    (task,) = section_of(tmp_path)["tasks"]
    ours, other = task["rows"]["omp dde"], task["rows"]["mp1"]
    assert (ours["successes"], ours["episodes"], ours["seeds"]) == (85, 100, {"0": [40, 50], "1": [45, 50]})
    assert (ours["low"], ours["high"]) == (pytest.approx(0.7672, abs=1e-4), pytest.approx(0.9069, abs=1e-4))
    assert ours["std"] == pytest.approx(0.1 / 2**0.5, abs=1e-4)
    assert other["difference"]["value"] == pytest.approx(0.4 - 0.85)
    assert ours["difference"] is None
    assert task["published"]["DP3"] == [76, 4]


def test_what_began_in_the_same_starts_is_compared_start_by_start(tmp_path: Path) -> None:
    def row(name: str, label: str, outcomes: str, seed: int, starts: str | None) -> None:
        by_episode = {"success": [letter == "s" for letter in outcomes]}
        n, of = outcomes.count("s"), len(outcomes)
        write_eval(
            tmp_path / name, "hammer", n, episodes=of, seed=seed, label=label, by_episode=by_episode, starts=starts
        )

    for seed, ours, theirs in ((0, "ssssff", "sssfsf"), (1, "sssfff", "ssffff")):
        row(f"a{seed}", "omp dde", ours, seed, "same")
        row(f"b{seed}", "mp1", theirs, seed, "same")
        row(f"c{seed}", "dp3", theirs, seed, "same" if seed else "other")
    (task,) = section_of(tmp_path, "omp dde")["tasks"]
    paired, unlike = (task["rows"][name]["difference"] for name in ("mp1", "dp3"))
    assert (paired["paired"], unlike["paired"]) == (True, False), "all of a row's evaluations, or none"
    assert paired["value"] == unlike["value"] == pytest.approx(-1 / 12, abs=1e-4)
    by_hand = newcombe_paired(5, 1, 2, 4)
    assert (paired["low"], paired["high"]) == (
        pytest.approx(by_hand.low, abs=1e-4),
        pytest.approx(by_hand.high, abs=1e-4),
    )
    assert paired["high"] - paired["low"] < unlike["high"] - unlike["low"]
    row("d", "alone", "ssssff", 0, "same")
    (task,) = section_of(tmp_path, "omp dde")["tasks"]
    assert not task["rows"]["alone"]["difference"]["paired"], "of two seeds it has one"


def test_incomplete_classes_say_so_and_differences_use_shared_tasks(tmp_path: Path) -> None:
    for task, n in (("hammer", 40), ("soccer", 10), ("coffee-pull", 25)):
        write_eval(tmp_path / f"a{task}", task, n)
    for task, n in (("hammer", 30), ("peg-insert-side", 50)):
        write_eval(tmp_path / f"b{task}", task, n, label="mp1", started="2026-11-22T11:00:00+00:00")
    document = summarise(read_evaluations([tmp_path]))
    (section,) = document["sections"]
    (difference,) = section["differences"]
    assert section["baseline"] == "omp dde"
    assert (difference["classes"]["medium"]["value"], difference["classes"]["medium"]["tasks"]) == (-0.2, 1)
    assert any("different tasks of medium" in line for line in document["warnings"])
    table = main_table(section)
    assert table.columns[2] == "medium\n3 of 4 tasks"
    assert "2 of 4 tasks" in table.rows[1][2]
    assert "of 4" not in table.rows[0][2]
    assert "Mean over tasks of the mean over training seeds" in table.note
    assert not table.grey_columns


def test_rows_are_compared_by_their_settings(tmp_path: Path) -> None:
    ablations = {
        "without DA": {"method.alignment.weight": 0.0},
        "world": {"encoder.origin": "world", "train.log_every": 7},
        "mp1": {"method.name": "mp1", "method.alignment.weight": 0.0},
        "same": {},
    }
    write_eval(tmp_path / "a", "hammer", 40)
    for name, settings in ablations.items():
        write_eval(tmp_path / name, "hammer", 40, label=name, settings=settings, nfe=10 if name == "same" else 1)
    tuned = {"method.name": "reflow", "finetune.algorithm.name": "reinflow-r", "finetune.envs": 4}
    write_eval(tmp_path / "tuned", "hammer", 40, label="tuned", settings=tuned, finetuned_by="reinflow-r")
    more = {**tuned, "finetune.algorithm.name": "dppo", "finetune.envs": 8}
    write_eval(tmp_path / "otherwise", "hammer", 40, label="otherwise", settings=more, finetuned_by="dppo")
    found = {row["title"]: row["settings"] for row in section_of(tmp_path, "tuned")["differences"]}
    assert found["otherwise"] == {
        "finetune.algorithm.name": ["reinflow-r", "dppo"],
        "finetune.envs": ["4", "8"],
        "finetuned_by": ["reinflow-r", "dppo"],
    }
    found = {row["title"]: row["settings"] for row in section_of(tmp_path, "omp dde")["differences"]}
    del found["otherwise"]
    assert found == {
        "tuned": {"method.name": ["omp", "reflow"], "finetuned_by": ["none", "reinflow-r"]},
        "without DA": {"method.alignment.weight": ["0.5", "0.0"]},
        "world": {"encoder.origin": ["gripper", "world"]},
        "mp1": {"method.name": ["omp", "mp1"]},
        "same": {"nfe": ["1", "10"]},
    }


def test_settings_that_an_earlier_omp_did_not_have_count_as_their_defaults(tmp_path: Path) -> None:
    new = {"encoder.output_scale": 1.0, "train.hold_out": None, "train.graph": "auto", "data.cloud.robot": "shown"}
    new |= {"chunk.relative": [], "chunk.relative_state": []}
    write_eval(tmp_path / "a", "hammer", 40)
    write_eval(tmp_path / "default", "hammer", 40, label="default", settings=new)
    write_eval(tmp_path / "set", "hammer", 40, label="set", settings={**new, "encoder.output_scale": 48.0})
    found = {row["title"]: row["settings"] for row in section_of(tmp_path, "omp dde")["differences"]}
    assert found == {
        "default": {"data.cloud.robot": ["absent", "shown"]},  # of data no default is known here
        "set": {"data.cloud.robot": ["absent", "shown"], "encoder.output_scale": ["absent", "48.0"]},
    }


def test_top5_needs_more_than_five_evaluations(tmp_path: Path) -> None:
    write_eval(tmp_path / "a", "hammer", 40, curve=(2, 20, 10, 18, 16))
    write_eval(tmp_path / "b", "soccer", 10, curve=(1, 2, 3))
    section = section_of(tmp_path)
    cell = section["selection"][0]["classes"]["medium"]
    assert cell["top5"] == pytest.approx((1.0 + 0.9 + 0.8 + 0.8 + 0.5) / 5)
    assert (cell["last"], cell["runs"], cell["of"], cell["evaluations"]) == (0.8, 1, 2, [4, 6])
    curve = section["curves"][0]["classes"]["medium"]
    assert curve["steps"][-1] == 2500
    assert curve["means"][-1] == pytest.approx((0.8 + 0.2) / 2)
    write_eval(tmp_path / "a", "hammer", 40, curve=(2, 3))
    section = section_of(tmp_path)
    assert section["selection"][0]["classes"]["medium"]["top5"] is None
    assert not any("Selection" in table.title for table in all_tables({"sections": [section], "returns": []}))


def test_top5_of_five_evaluations_would_be_their_mean(tmp_path: Path) -> None:
    """So it is not defined, also where other runs of the same class have more."""
    write_eval(tmp_path / "a", "hammer", 40, curve=(2, 20, 10, 18))
    section = section_of(tmp_path)
    cell = section["selection"][0]["classes"]["medium"]
    assert (cell["top5"], cell["last"], cell["runs"], cell["of"]) == (None, None, 0, 1)
    (table,) = (t for t in all_tables({"sections": [section], "returns": []}) if "Selection" in t.title)
    assert table.rows == [["omp dde", "0 of 1", "5", "not defined"]]
    write_eval(tmp_path / "b", "soccer", 10, label="six", curve=(1, 2, 3, 4, 5))
    write_eval(tmp_path / "c", "soccer", 10, label="none")
    section = section_of(tmp_path)
    (table,) = (t for t in all_tables({"sections": [section], "returns": []}) if "Selection" in t.title)
    assert [row[-1] for row in table.rows] == ["not defined", "20.0 / 18.0", "-"]


def test_rows_can_be_shown_under_other_names(tmp_path: Path) -> None:
    for label in ("omp dde", "omp dde, t = 1", "mp1"):
        write_eval(tmp_path / label, "hammer", 40, label=label)
    found = read_evaluations([tmp_path])
    found.evaluations = renamed(found.evaluations, ["omp dde=light-1", "omp dde, t = 1 = light-1, t = 1"])
    document = summarise(found, "light-1")
    (section,) = document["sections"]
    assert [row["title"] for row in section["rows"]] == ["mp1", "light-1", "light-1, t = 1"]
    assert section["baseline"] == "light-1"
    assert document["header"]["renamed"] == {"light-1": "omp dde", "light-1, t = 1": "omp dde, t = 1"}
    policies = dict(header_rows(document["header"]))["policies"]
    assert policies == "mp1; light-1 (evaluated as omp dde); light-1, t = 1 (evaluated as omp dde, t = 1)"
    assert {e.label for e in read_evaluations([tmp_path]).evaluations} == {"omp dde", "omp dde, t = 1", "mp1"}
    swapped = renamed(read_evaluations([tmp_path]).evaluations, ["mp1=omp dde", "omp dde=mp1"])
    assert [e.label for e in swapped] == ["omp dde", "mp1", "omp dde, t = 1"], "in the order of their paths"
    write_eval(tmp_path / "elsewhere", "door", 30, label="light-1")
    found = read_evaluations([tmp_path])
    found.evaluations = renamed(found.evaluations, ["omp dde=light-1"])
    document = summarise(found, "light-1")
    assert document["header"]["renamed"] == {"light-1": "light-1 and omp dde"}, "they have no task in common: one row"


def test_rows_that_begin_alike_are_renamed_together(tmp_path: Path) -> None:
    for label in ("omp dde", "omp dde, t = 1", "omp forward", "mp1"):
        write_eval(tmp_path / label, "hammer", 40, label=label)
    found = renamed(read_evaluations([tmp_path]).evaluations, ["omp dde*=light-1*", "omp forward=light-1, forward"])
    assert [e.label for e in found] == ["mp1", "light-1", "light-1, t = 1", "light-1, forward"]
    with pytest.raises(UsageError, match="two new names, 'x' and 'y'"):
        renamed(read_evaluations([tmp_path]).evaluations, ["omp dde=x", "omp dde*=y*"])
    with pytest.raises(UsageError, match="no row is called 'dde\\*'"):
        renamed(read_evaluations([tmp_path]).evaluations, ["dde*=y*"])


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["omp dda=x"], "'omp dda=x': no row is called 'omp dda'"),
        (["omp dde"], "takes OLD=NEW"),
        (["omp dde="], "takes OLD=NEW|no row is called"),
        (["=x"], "takes OLD=NEW"),
        (["omp dde=mp1"], "'mp1' and 'omp dde' would both be called 'mp1'"),
        (["omp dde=x", "mp1=x"], "would both be called 'x'"),
        (["omp dde=x", "omp dde=y"], "two new names, 'x' and 'y'"),
        (["a=b=c"], "could mean 'a' or 'a=b'"),
    ],
)
def test_a_name_that_cannot_be_given(tmp_path: Path, names: list[str], says: str) -> None:
    for label in ("omp dde", "mp1", "a", "a=b"):
        write_eval(tmp_path / label, "hammer", 40, label=label)
    with pytest.raises(UsageError, match=says):
        renamed(read_evaluations([tmp_path]).evaluations, names)


def test_what_is_not_comparable_is_said(tmp_path: Path) -> None:
    write_eval(tmp_path / "a", "hammer", 40, data="d" * 64, max_steps=100)
    write_eval(tmp_path / "b", "hammer", 10, episodes=20, label="mp1")
    write_eval(tmp_path / "c", "soccer", 10, label="mp1", settings={"train.steps": 9000})
    warnings = "\n".join(summarise(read_evaluations([tmp_path]))["warnings"])
    assert "different numbers of episodes on the same task: hammer (20, 50)" in warnings
    assert "different training data on the same task: hammer" in warnings
    assert "max_steps) on the same task: hammer (100, the task's own)" in warnings
    assert "mp1 mixes settings: train.steps 2500 | 9000" in warnings
    assert "mp1: evaluated before the end of training: soccer, seed 0, step 2500" in warnings
    assert "omp dde mixes" not in warnings


@pytest.mark.parametrize("key", ["data.expert.name", "data.files.demo.hdf5", "data.source"])
def test_files_and_their_experts_are_mixed_within_a_task_alone(tmp_path: Path, key: str) -> None:
    def warnings() -> str:
        return "\n".join(summarise(read_evaluations([tmp_path]))["warnings"])

    for task in ("hammer", "soccer"):
        write_eval(tmp_path / task, task, 40, settings={key: task})
    assert "mixes settings" not in warnings()
    write_eval(tmp_path / "again", "soccer", 40, seed=1, settings={key: "another"})
    assert f"mixes settings: {key} another | soccer" in warnings()


def test_latencies_come_from_the_checkpoint_or_a_preset_that_decides_alike(tmp_path: Path) -> None:
    write_eval(tmp_path / "a", "hammer", 40)
    write_latency(tmp_path / "l1", 1, 2.5, checkpoint="omp dde-hammer-0")
    write_latency(tmp_path / "l5", 5, 9.0, checkpoint="omp dde-hammer-0")
    write_latency(tmp_path / "z", 1, 7.5, checkpoint="omp dde-hammer-0", hour=9)  # older, last by name
    (row,) = section_of(tmp_path)["rows"]
    assert (row["latency"]["ms"], row["latency"]["machine"]) == (2.5, "a processor")
    light = {"encoder.channels": [32, 64, 128], "encoder.points": 192, "chunk.n_obs": 2, "chunk.horizon": 4}
    write_eval(tmp_path / "b", "hammer", 40, label="light", settings={**light, "chunk.execute": 3})
    write_eval(tmp_path / "c", "hammer", 40, label="other", settings={**light, "chunk.execute": 2})
    write_latency(tmp_path / "l", 1, 1.5)
    found = {row["title"]: row["latency"] and row["latency"]["ms"] for row in section_of(tmp_path)["rows"]}
    assert found == {"omp dde": 2.5, "light": 1.5, "other": None}


def test_precision_is_told_and_latencies_are_those_of_a_rows_own(tmp_path: Path) -> None:
    write_eval(tmp_path / "a", "hammer", 40, checkpoint="one")
    write_eval(tmp_path / "b", "hammer", 39, label="half", precision="bf16", checkpoint="one")
    write_eval(tmp_path / "c", "hammer", 39, label="both", precision="bf16", checkpoint="one")
    write_eval(tmp_path / "d", "hammer", 39, label="both", precision="fp32", checkpoint="one", seed=1)
    write_latency(tmp_path / "l32", 1, 0.7, checkpoint="one")
    write_latency(tmp_path / "l16", 1, 1.1, checkpoint="one", dtype="bfloat16", hour=11)  # the newest
    document = summarise(read_evaluations([tmp_path]), "omp dde")
    (section,) = document["sections"]
    found = {row["title"]: row["latency"] and row["latency"]["ms"] for row in section["rows"]}
    assert found == {"omp dde": 0.7, "half": 1.1, "both": None}
    settings = {row["title"]: row["settings"] for row in section["differences"]}
    assert settings["half"] == {"precision": ["fp32", "bf16"]}
    assert "different precision on the same task: hammer (bf16, fp32)" in document["warnings"]
    assert "both mixes settings: precision bf16 | fp32" in document["warnings"]


def test_an_evaluation_that_executes_fewer_actions_of_each_chunk_differs_in_that(tmp_path: Path) -> None:
    trained = {"chunk.execute": 3}
    write_eval(tmp_path / "a", "hammer", 40, checkpoint="one", settings=trained)
    write_eval(tmp_path / "b", "hammer", 41, checkpoint="one", settings=trained, label="sooner", execute=1)
    (section,) = summarise(read_evaluations([tmp_path]), "omp dde")["sections"]
    assert [row["settings"] for row in section["differences"]] == [{"chunk.execute": ["3", "1"]}]


def test_what_is_not_comparable_without_an_environment_is_said(tmp_path: Path) -> None:
    write_offline(tmp_path / "a", "a")
    write_offline(tmp_path / "b", "b", episodes=(3, 7))
    write_offline(tmp_path / "c", "draws nothing", draws=False)
    assert summarise(read_evaluations([tmp_path]))["warnings"] == []
    write_offline(tmp_path / "d", "d", samples=4)
    write_offline(tmp_path / "e", "e", stride=5)
    write_offline(tmp_path / "f", "f", episodes=range(6))
    document = summarise(read_evaluations([tmp_path]))
    assert document["warnings"] == [
        "different episodes on the same recorded data: toy/reach (held-out: 0 1 2 3 and 2 more, held-out: 3 7)",
        "different strides on the same recorded data: toy/reach (1, 5)",
        "different numbers of samples on the same recorded data: toy/reach (16, 4)",
    ]
    (table,) = all_tables(document)
    shown = {row[1]: row[6] for row in table.rows}
    assert (shown["a"], shown["d"], shown["draws nothing"]) == ("0.5, m = 16", "0.5, m = 4", "-")


def test_returns_have_means_over_seeds(tmp_path: Path) -> None:
    for seed, returns in enumerate(([1000.0, 3000.0], [1000.0])):
        write_eval(tmp_path / str(seed), "Hopper-v5", suite="gym", seed=seed, returns=returns)
    document = summarise(read_evaluations([tmp_path]))
    assert document["sections"] == []
    (row,) = document["returns"][0]["rows"]
    assert (row["mean"], row["std"], row["episodes"]) == (1500.0, pytest.approx(707.107), 3)
    assert "1500" in all_tables(document)[0].rows[0][3]


def tuned(*returns: float) -> dict[str, Any]:
    rows = [{"step": i, "return": value, "episodes": 16} for i, value in enumerate(returns)]
    later = [row | {"env_steps": 1000 * i, "train_seconds": 60.0 * i} for i, row in enumerate(rows) if i]
    return {"train_seconds": 120.0, "env_steps": 4000, "evaluations": [rows[0], *later]}


def test_trainings_are_told_once_for_each_policy(tmp_path: Path) -> None:
    def evaluated(name: str, label: str, **more: Any) -> None:
        write_eval(tmp_path / name, "Hopper-v5", suite="gym", returns=[5.0], label=label, demonstrations=900.0, **more)

    for nfe in (1, 5):
        rank = {"train_seconds": 60.0, "effective_rank": 4.0}
        evaluated(f"a{nfe}", "dmpo", nfe=nfe, training=rank)
        evaluated(f"b{nfe}", "dmpo", nfe=nfe, seed=1, training=rank | {"effective_rank": 6.0, "loss": 3.0})
    evaluated("c", "dmpo, fine-tuned", training=tuned(100.0, 300.0), finetuned_by="dmpo")
    evaluated("d", "dmpo, fine-tuned", seed=1, training=tuned(200.0, 250.0, 500.0), finetuned_by="dmpo")
    evaluated("e", "of an earlier omp")
    document = summarise(read_evaluations([tmp_path]))
    (section,) = document["returns"]
    before, after = section["training"]
    assert (before["title"], before["seeds"], before["held_out"]) == ("dmpo", [0, 1], [])
    assert before["figures"]["effective_rank"] == {"mean": 5.0, "std": pytest.approx(2**0.5)}
    assert after["held_out"] == [
        [[0, 0.0, 100.0, 16], [1000, 60.0, 300.0, 16]],
        [[0, 0.0, 200.0, 16], [1000, 60.0, 250.0, 16], [2000, 120.0, 500.0, 16]],
    ]
    assert after["demonstrations"] == 900.0
    table = all_tables(document)[-1]
    assert table.rows == [
        ("Hopper-v5", "dmpo", "2", "1.00", "-", "5.00", "-", "-"),
        ("", "dmpo, fine-tuned", "2", "2.00", "4.00", "-", "150 ± 71", "400 ± 141"),
    ]
    assert table.columns[-2:] == ("before", "after")
    assert "Before, after: held-out return" in table.note


def test_held_out_success_of_a_fine_tuning_is_a_rate(tmp_path: Path) -> None:
    rows = [{"step": step, "return": 1.0, "successes": n, "episodes": 20} for step, n in ((0, 5), (20, 15))]
    write_eval(tmp_path / "a", "hammer", 40, training={"evaluations": rows}, finetuned_by="dmpo")
    section = section_of(tmp_path)
    assert section["training"][0]["held_out"] == [[[0, 0.0, 0.25, 20], [0, 0.0, 0.75, 20]]]
    assert training_table(section).rows == [("hammer", "omp dde", "1", "25.0", "75.0")]
    write_eval(tmp_path / "b", "hammer", 40, label="other")
    assert len(section_of(tmp_path)["training"]) == 1


def test_published_figures_agree_with_one_another() -> None:
    """Means over DP3's and DP's single tasks, as recomputed by hand; every figure has a source."""
    adroit = [("adroit", task) for task in ("hammer", "door", "pen")]
    everything = [*adroit, *(("metaworld", task) for task in MW34)]
    means = {"DP3": (68.3, 88.7, 62.5, 44.0, 49.0, 74.0), "DP": (31.7, 83.1, 24.2, 13.5, 26.6, 57.4)}
    for method, expected in means.items():
        groups = [adroit, *([("metaworld", t) for t in GROUPS[n]] for n in ("easy", "medium", "hard", "very-hard"))]
        found = [published.of_class(method, "a class", tasks)["percent"] for tasks in groups]  # type: ignore[index]
        total = published.of_all(method, {"a class": everything})["percent"]  # type: ignore[index]
        assert [*found, total] == pytest.approx(expected, abs=0.051)
    whole = {"percent": 82.3, "std": 1.6, "how": "the paper's mean"}
    assert published.of_all("OMP JVP", {"all": everything}) == whole
    assert published.of_all("OMP JVP", {"some": everything[:5]}) == {**whole, "of": 37}, "no figure of these alone"
    assert published.of_all("MP1 without dispersion", {"some": everything[:5]}) is None
    classes = {n: [("metaworld", t) for t in GROUPS[n]] for n in ("easy", "medium", "hard", "very-hard")}
    of_34 = (21 * 88.2 + 4 * 68.0 + 4 * 58.1 + 5 * 67.2) / 34
    assert published.of_all("MP1", classes)["percent"] == pytest.approx(of_34, abs=0.051)  # type: ignore[index]
    document = papers.document()
    named = {method for tasks in document["tasks"].values() for figures in tasks.values() for method in figures}
    assert named <= set(published.methods())
    assert all(published.source(method).startswith("arXiv") for method in published.methods())
    assert sum(published.CLASSES.values()) == 37


def test_numbers_have_no_minus_before_zero() -> None:
    assert percent(-0.0001, True) == "0.0"
    assert percent(-0.05, True) == "\N{MINUS SIGN}5.0"
    assert percent(0.05, True, 0) == "+5"


def test_one_file_has_what_papers_report() -> None:
    assert papers.latency("dp-paper")[0] == {"source": "DMPO Table 2", "device": "RTX 4090", "nfe": 100, "ms": 391.1}
    assert papers.latency("light") == []
    assert papers.document()["latency"].keys() <= set(preset_names("pretrain"))
    assert papers.memory_gb("Place Bottle", 16, "dde") == 19.19
    assert papers.memory_gb("Place Bottle", 16, "forward") is None
    assert papers.document()["memory"].keys() == {task.name for task in TASKS}
