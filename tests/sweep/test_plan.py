"""From a sweep to its jobs."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from omp_cli.core.base.config import RECOMMENDED
from omp_cli.core.base.errors import OmpError, UsageError
from omp_cli.core.base.plugins import load_plugin
from omp_cli.core.base.run import Run
from omp_cli.core.sweep.config import SweepConfig
from omp_cli.core.sweep.job import Job
from omp_cli.core.sweep.plan import ONE_WORKER, made_with_other_code, of_no_job, plan_jobs, same_settings
from tests.sweep.small import resolve, small_jobs

SWEEP: dict[str, Any] = {
    "seeds": [1, 0],
    "tasks": ["reach", "detour"],
    "prepare": "toy --demos 3",
    "pretrain": "--steps 5",
    "eval": "--episodes 2",
    "variants": {"omp dde": {"pretrain": "--derivative dde"}, "mp1": {"pretrain": "--method mp1"}},
}


def jobs_of(**changes: Any) -> list[Job]:
    return plan_jobs(SweepConfig.model_validate({**SWEEP, **changes}), Path("out"), resolve)


def test_data_first_then_seed_by_seed_and_task_by_task() -> None:
    names = [job.name for job in jobs_of()]
    cells = [f"{task}/{variant}/seed{seed}" for seed in (1, 0) for task in ("reach", "detour") for variant in VARIANTS]
    assert [name.rpartition("-")[0] for name in names[:2]] == ["data/reach", "data/detour"]
    assert names[2:] == [name for cell in cells for name in (cell, f"{cell}/eval")]


VARIANTS = ("omp-dde", "mp1")


def test_a_job_is_an_ordinary_line() -> None:
    data, _, train, test = jobs_of()[:4]
    assert shlex.join(data.line) == f"prepare --workers 1 toy --demos 3 --task reach --out out/{data.name}"
    folder = "out/reach/omp-dde/seed1"
    line = f"pretrain out/{data.name} --steps 5 --derivative dde --seed 1 --out {folder}"
    assert (shlex.join(train.line), train.needs) == (line, data.name)
    line = f"eval {folder} --workers 1 --episodes 2 --label 'omp dde' --out {folder}/eval"
    assert (shlex.join(test.line), test.needs) == (line, train.name)
    options = ("--device", "cpu", "--plugin", "p.py")
    jobs = plan_jobs(SweepConfig.model_validate(SWEEP), Path("out"), resolve, options)
    assert {job.line[:4] for job in jobs} == {options}


def test_a_fine_tuned_policy_is_evaluated_before_and_after() -> None:
    both = {**SWEEP["variants"], "tuned": {"finetune": "--iterations 3"}, "by default": {"finetune": ""}}
    jobs = {job.name: job for job in jobs_of(variants=both, tasks=["reach"], seeds=[4])}
    assert [job.command for job in jobs.values() if "mp1" in job.name] == ["pretrain", "eval"]
    name = "reach/tuned/seed4"
    assert [job for job in jobs if "/tuned/" in job] == [
        f"{name}{n}" for n in ("", "/eval", "/finetune", "/finetune/eval")
    ]
    tuned, after = jobs[f"{name}/finetune"], jobs[f"{name}/finetune/eval"]
    line = f"finetune out/{name} --workers 1 --iterations 3 --seed 4 --out out/{name}/finetune"
    assert (shlex.join(tuned.line), tuned.needs) == (line, name)
    assert tuned.settings["start"]["value"] == ["toy", "omp"], "its suite and pre-training method"
    line = (
        f"eval out/{name}/finetune --workers 1 --episodes 2 --label 'tuned, fine-tuned' --out out/{name}/finetune/eval"
    )
    assert (shlex.join(after.line), after.needs) == (line, tuned.name)
    assert "--iterations" not in jobs["reach/by-default/seed4/finetune"].line
    of_all = jobs_of(finetune="--nfe 1", variants={"v": {"finetune": "--envs 2"}})
    assert {job.line[4:8] for job in of_all if job.command == "finetune"} == {("--nfe", "1", "--envs", "2")}
    with pytest.raises(UsageError, match=r"variant 'v': omp finetune RUN --nfe wrong"):
        jobs_of(variants={"v": {"finetune": "--nfe wrong"}})


def test_a_policy_is_evaluated_with_each_number_of_evaluations() -> None:
    fewer = {"pretrain": "--method mp1", "nfe": [2], "finetune": ""}
    jobs = {job.name: job for job in jobs_of(nfe=[1, 5, 1], variants={"v": {}, "w": fewer}, tasks=["reach"], seeds=[3])}
    names = ("v/seed3", "v/seed3/eval-nfe1", "v/seed3/eval-nfe5", "w/seed3", "w/seed3/eval-nfe2")
    assert list(jobs)[1:] == [f"reach/{name}" for name in (*names, "w/seed3/finetune", "w/seed3/finetune/eval-nfe2")], (
        "a variant's list replaces that of all, and a number counts once"
    )
    job = jobs["reach/v/seed3/eval-nfe5"]
    line = f"eval out/reach/v/seed3 --workers 1 --episodes 2 --nfe 5 --label v --out out/{job.name}"
    assert (shlex.join(job.line), job.settings["nfe"]["value"]) == (line, "5")
    with pytest.raises(UsageError, match=r"variant 'mp1', task reach: eval has --nfe, and nfe = \[1\]"):
        jobs_of(nfe=[1], variants={"mp1": {"eval": "--nfe 5"}})


def test_what_runs_is_what_is_checked() -> None:
    seen: list[tuple[str, ...]] = []

    def resolved(command: str, words: tuple[str, ...], start: Any) -> Any:
        seen.append((command, *words))
        return resolve(command, ("RUN",) if command == "eval" else words, start)

    document = {**SWEEP, "variants": {"v": {}, "offline": {"eval": "--offline", "finetune": ""}}, "tasks": ["reach"]}
    jobs = plan_jobs(SweepConfig.model_validate(document), Path("out"), resolved)
    chosen = {"--out", "--seed", "--label"}
    for job in jobs:
        options = {word for word in job.line if word.startswith("--")} - chosen
        assert any(options == {w for w in words if w.startswith("--")} for of, *words in seen if of == job.command)
    offline = {"--workers" in job.line for job in jobs if "--offline" in job.line}
    assert offline == {False}, "there is no environment, and omp eval refuses workers"
    assert {"--workers" in job.line for job in jobs if job.command == "eval" and "/v/" in job.name} == {True}


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("", ("--workers", "1")),
        ("--workers 4 --iterations 3", ("--workers", "4")),
        ("--workers=4 --workers 2 --device cuda", ("--workers", "2", "--device", "cuda")),
    ],
)
def test_a_fine_tuning_goes_on_with_its_workers_and_its_device(
    tmp_path: Path, words: str, kept: tuple[str, ...]
) -> None:
    job = Job("t", "finetune", tmp_path, ("--plugin", "p.py", "finetune", "x", *ONE_WORKER, *shlex.split(words)), {})
    assert job.next_line() == job.line
    (job.folder / "checkpoints").mkdir(parents=True)
    assert job.next_line() == ("--plugin", "p.py", "finetune", "--resume", str(job.folder), *kept)


def test_variants_that_differ_in_fine_tuning_start_from_one_policy() -> None:
    same = {"a": {"finetune": "--bc 0"}, "b": {"finetune": "--bc 1"}, "c": {"pretrain": "--lr 1", "finetune": ""}}
    jobs = {job.name: job for job in jobs_of(variants=same | {"d": {}}, tasks=["reach"], seeds=[0])}
    trained = [name for name, job in jobs.items() if job.command == "pretrain"]
    assert trained == ["reach/a/seed0", "reach/c/seed0", "reach/d/seed0"], "a row of its own needs a policy of its own"
    tuned = jobs["reach/b/seed0/finetune"]
    assert (tuned.line[1], tuned.needs) == ("out/reach/a/seed0", "reach/a/seed0")
    assert [name for name in jobs if "/b/" in name] == [tuned.name, f"{tuned.name}/eval"], "the start is evaluated once"
    between = jobs_of(variants={"a": same["a"], "d": {}, "b": same["b"]}, tasks=["reach"], seeds=[0])
    assert [job.needs for job in between if job.name.endswith("/b/seed0/finetune")] == ["reach/a/seed0"], "the first's"


def test_words_of_a_task_stand_between_those_of_all_and_a_variants() -> None:
    words = {"prepare": "--demos 9", "pretrain": "--lr 2", "eval": "--max-steps 7", "nfe": [4]}
    jobs = jobs_of(task={"detour": words}, variants={"v": {"pretrain": "--seed2 1"}, "w": {"nfe": [8]}}, seeds=[0])
    lines = {job.name.partition("-")[0]: shlex.join(job.line) for job in jobs}
    assert "toy --demos 3 --demos 9 --task detour" in lines["data/detour"]
    assert "toy --demos 3 --task reach" in lines["data/reach"]
    assert "--steps 5 --lr 2 --seed2 1" in lines["detour/v/seed0"]
    assert "--episodes 2 --max-steps 7 --nfe 4" in lines["detour/v/seed0/eval"]
    assert {job.name for job in jobs if "/w/" in job.name and job.command == "eval"} == {
        "reach/w/seed0/eval-nfe8",
        "detour/w/seed0/eval-nfe8",
    }
    with pytest.raises(UsageError, match=r"task\.detuor: no variant has this task"):
        jobs_of(task={"detuor": words})
    with pytest.raises(UsageError, match="benchmark"):
        jobs_of(prepare="", task={"detour": words}, variants={"v": {"prepare": "toy"}})


def test_variants_share_data_of_the_same_words_and_may_have_fewer_cells() -> None:
    raw = {"prepare": "--raw-actions yes", "tasks": ["detour"], "seeds": [0]}
    jobs = jobs_of(variants={**SWEEP["variants"], "raw": raw})
    assert sum(job.command == "prepare" for job in jobs) == 3
    own = [job for job in jobs if "/raw/" in job.name]
    assert [job.name for job in own] == ["detour/raw/seed0", "detour/raw/seed0/eval"]
    assert own[0].needs not in {job.needs for job in jobs if job not in own}


def test_groups_are_the_suites() -> None:
    jobs = jobs_of(tasks=[], groups=["toy"])
    assert {job.name.split("/")[0] for job in jobs} == {"data", "detour", "fork", "reach"}
    with pytest.raises(UsageError, match="groups of the sweep: unknown group"):
        jobs_of(groups=["hard"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pretrain": "--steps wrong"}, "variant 'omp dde': omp pretrain DATA --steps wrong.*: a wrong word"),
        ({"tasks": ["reach", "wrong"]}, "omp prepare toy --demos 3 --task wrong"),
        ({"variants": {"v": {"eval": "--nfe wrong"}}}, "variant 'v': omp eval RUN .*--nfe wrong"),
        ({"prepare": "--demos 3"}, "benchmark"),
        ({"seeds": []}, "no seeds"),
        ({"tasks": []}, "no tasks"),
    ],
)
def test_a_wrong_line_is_told_at_once(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(OmpError, match=words):
        jobs_of(**changes)


def test_a_sweep_goes_on_with_the_data_that_an_earlier_omp_began(tmp_path: Path) -> None:
    def clouds(recommended: str) -> dict[str, Any]:
        robot = {"value": recommended, "source": RECOMMENDED}
        return {"suite.cloud.points": {"value": 9, "source": "flag"}, "suite.cloud.robot": robot}

    def resolved(command: str, words: tuple[str, ...], start: Any) -> Any:
        return clouds("gripper") if command == "prepare" else resolve(command, words, start)

    config = SweepConfig.model_validate({**SWEEP, "prepare": "metaworld --points 9", "tasks": ["reach", "push"]})
    jobs = plan_jobs(config, tmp_path, resolved)
    assert not any("--set" in job.line for job in jobs)
    with Run(jobs[0].folder, "prepare", {"suite.cloud.points": {"value": 9, "source": "flag"}}, {}):
        pass  # before there was the setting
    before = plan_jobs(config, tmp_path, resolved)[:2]
    assert {job.line[-2:] for job in before} == {("--set", "suite.cloud.robot=shown")}
    assert before[1].settings["suite.cloud.robot"]["value"] == "shown"
    assert [job.folder for job in before] == [job.folder for job in jobs[:2]]
    other = config.model_copy(update={"prepare": ("metaworld", "--points", "8")})
    assert not any("--set" in job.line for job in plan_jobs(other, tmp_path, resolved)), "data of other words are new"
    with Run(jobs[0].folder, "prepare", clouds("gripper"), {}):
        pass
    assert not any("--set" in job.line for job in plan_jobs(config, tmp_path, resolved))


def finished(job: Job, **settings: Any) -> None:
    sources = {**job.settings, **{k: {"value": v, "source": "flag"} for k, v in settings.items()}}
    with Run(job.folder, job.command, sources, {}):
        pass


@pytest.mark.parametrize("index", [2, 3])
def test_a_finished_job_of_other_settings_is_refused(
    index: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = jobs_of()[index]
    finished(job)
    same_settings(jobs_of())
    finished(job, steps="6", episodes="6")
    with pytest.raises(UsageError, match=rf"{job.folder}: made with \w+ '6', planned with ('5'|'2'|not set)"):
        same_settings(jobs_of())


def test_every_folder_of_other_settings_is_named_at_once_but_for_what_lies_in_another(tmp_path: Path) -> None:
    for job in small_jobs(tmp_path, one="--a 1", two="--a 1"):
        with Run(job.folder, job.command, job.settings, {}):
            pass
    with pytest.raises(UsageError, match="one/seed0: made with a '1', planned with '2'") as refused:
        same_settings(small_jobs(tmp_path, one="--a 2", two="--a 2"))
    two = tmp_path / "reach" / "two" / "seed0"
    assert refused.value.message.endswith(f"; made with other settings, too: {two}"), "its evaluation lies in it"
    assert "delete these folders" in refused.value.hint


def test_what_a_sweep_has_left_under_an_earlier_name_is_told(tmp_path: Path) -> None:
    jobs = small_jobs(tmp_path, one="--a 1")
    with Run(tmp_path, "sweep", {}, {}):
        for job in jobs:
            with Run(job.folder, job.command, job.settings, {}):
                pass
    with Run(tmp_path / "table", "report", {}, {}):
        pass
    assert of_no_job(tmp_path, jobs) == ""
    said = of_no_job(tmp_path, small_jobs(tmp_path, renamed="--a 1"))
    assert "no job of this sweep: reach/one/seed0; omp report counts" in said


def test_what_a_checkpoint_says_of_itself_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = jobs_of()[3]
    for found, planned, same in (
        ("checkpoint", "default", True),
        ("checkpoint", "flag", False),
        ("flag", "default", False),
    ):
        job.settings["nfe"] = {"value": 5, "source": found}  # type: ignore[index]
        finished(job)
        job.settings["nfe"] = {"value": 1, "source": planned}  # type: ignore[index]
        assert (job.change() is None) == same


def test_what_another_version_adds_as_a_default_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = jobs_of()[2]
    finished(job)
    for source in ("default", "flag"):
        job.settings["new"] = {"value": 1, "source": source}  # type: ignore[index]
        assert (job.change() is None) == (source == "default")
    with pytest.raises(UsageError, match="dataset"):
        same_settings(jobs_of(prepare="toy --demos 4"))


def test_a_line_is_resolved_once_for_all_tasks_and_seeds() -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def counting(command: str, words: tuple[str, ...], start: Any) -> Any:
        asked.append((command, words))
        return resolve(command, words, start)

    config = SweepConfig.model_validate({**SWEEP, "seeds": list(range(50))})
    jobs = plan_jobs(config, Path("out"), counting)
    assert len(jobs) == 2 + 2 * 2 * 50 * 2
    assert len(asked) == len(set(asked)) == 2 + 2 + 1  # data of each task, training of each variant, one evaluation
    trained = {job.name: job for job in jobs if job.command == "pretrain"}
    assert trained["reach/mp1/seed7"].settings["seed"] == {"value": 7, "source": "flag"}
    tested = next(job for job in jobs if job.name == "reach/mp1/seed7/eval")
    assert tested.settings["label"] == {"value": "mp1", "source": "flag"}


def test_finished_jobs_of_other_code_of_a_plugin_are_told(tmp_path: Path) -> None:
    (file := tmp_path / "mine.py").write_text("SPEED = 3\n")
    load_plugin(file)
    jobs = small_jobs(tmp_path / "sweep", a="--steps 5")
    for job in jobs:
        with Run(job.folder, job.command, job.settings, {}):
            pass
    assert made_with_other_code(jobs) == ""
    file.write_text("SPEED = 4\n")
    said = made_with_other_code(jobs)
    assert said.startswith(f"{file}: changed since {jobs[0].folder} was made with it; {len(jobs)} finished jobs")
