"""``omp view``: one page that needs no network and holds what the data hold; a recording for Rerun."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from omp_cli.core.data.store import STORE, read_store, write_store
from tests.conftest import Omp


def page_of(omp: Omp, *words: object) -> tuple[str, dict[str, Any]]:
    done = omp("view", *words, "--json")
    assert done.code == 0, done.err
    text = (Path(done.json["run_dir"]) / "episodes.html").read_text()
    return text, json.loads(re.findall(r'<script id="data"[^>]*>(.*?)</script>', text, re.DOTALL)[0])


def test_the_page_shows_what_the_data_hold_and_loads_nothing(omp: Omp, pictures: Path, tmp_path: Path) -> None:
    text, data = page_of(omp, pictures, "--frames", 5, "--points", 16, "--out", tmp_path / "v")
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|@import|fetch\(|XMLHttpRequest""", text)
    store = read_store(pictures)
    assert len(data["episodes"]) == len(store.episode_ends) == 2
    begin = int(store.episode_ends[0])
    second = data["episodes"][1]
    actions = np.array(second["series"]["action"]).T
    np.testing.assert_allclose(actions, store.arrays["action"][begin:], atol=1e-5)
    assert (len(second["shown"]), second["shown"][0], second["shown"][-1]) == (5, 0, len(actions) - 1)
    cloud = second["cloud"]
    numbers = np.frombuffer(base64.b64decode(cloud["data"]), "<u2").reshape(5, 16, 3) / 65535
    decoded = numbers * np.array(cloud["span"]) + np.array(cloud["low"])
    full = store.arrays["point_cloud"][begin:][second["shown"][2]]
    distance = np.linalg.norm(decoded[2][:, None] - full[None], axis=-1).min(1)
    assert distance.max() < 1e-4
    assert data["series"]["action"] == {"names": ["action[0]", "action[1]"], "unit": ""}
    assert data["cloud_unit"] == " m"
    assert len(second["pictures"]) == 5
    assert base64.b64decode(second["pictures"][0].partition(",")[2])[:2] == b"\xff\xd8"


STAND_IN = """
const calls = {}, texts = [];
const context = new Proxy({}, {get: (_, name) => (...a) => {
  calls[name] = (calls[name] || 0) + 1; if (name === "fillText") texts.push(a[0]);
}, set: () => true});
const element = () => ({style: {}, clientWidth: 420, clientHeight: 160, append() {}, add() {}, replaceChildren() {},
                        getContext: () => context, setPointerCapture() {}});
const elements = {}, canvases = [];
const document = {getElementById: id => elements[id] ||= element(),
                  createElement: tag => { const e = element(); if (tag === "canvas") canvases.push(e); return e; }};
const getComputedStyle = () => ({color: "grey"}), addEventListener = () => {}, devicePixelRatio = 2;
const matchMedia = () => ({matches: true, addEventListener() {}});
globalThis.Option = class {};
elements.data = {textContent: process.argv[2] ? require("fs").readFileSync(process.argv[2], "utf8") : ""};
"""


def run_script(text: str, after: str, folder: Path) -> str:
    """What the page's script and what is appended to it print, with a stand-in for the browser's document."""
    if (node := shutil.which("node")) is None:
        pytest.skip("no node")
    (document,) = re.findall(r'<script id="data"[^>]*>(.*?)</script>', text, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    (folder / "data.json").write_text(document)
    (folder / "page.js").write_text(STAND_IN + script.replace('"use strict";', "") + after)
    line = [node, folder / "page.js", folder / "data.json"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_its_script_runs(omp: Omp, pictures: Path, tmp_path: Path) -> None:
    """Every episode is chosen and drawn, and the cloud is turned."""
    text, _ = page_of(omp, pictures, "--frames", 3, "--out", tmp_path / "v")
    after = """
const points = calls.fillRect;
if (!points || !calls.lineTo) throw new Error("nothing was drawn");
elements.cloud.onpointermove({buttons: 1, movementX: 30, movementY: 5});
if (calls.fillRect <= points) throw new Error("the cloud was not turned");
canvases[0].onpointerdown({offsetX: 52 + (420 - 64) / 2});
const half = Math.round((elements.frame.max) / 2);
if (elements.frame.value !== half) throw new Error("a click on a curve does not go to its frame");
elements.episode.value = 1; elements.episode.onchange();
elements.frame.value = 2; elements.frame.oninput();
if (!elements.picture.src.startsWith("data:image/jpeg")) throw new Error("no picture");
console.log("drawn");
"""
    assert run_script(text, after, tmp_path) == "drawn"


def test_long_episodes_and_numbers_far_from_zero_are_drawn(omp: Omp, tmp_path: Path) -> None:
    """Eight curves of 20,000 frames, of places in metres that are large against what they move by."""
    frames = 20_000
    moved = np.sin(np.linspace(0, 60, frames))[:, None] * np.arange(1, 9)
    spec = {"suite": "own", "task": "t", "action_dim": 8, "state_dim": 8, "max_steps": frames, "control_hz": 1000.0}
    episode = {"state": (5_432_100 + moved).astype(np.float64), "action": moved.astype(np.float32)}
    write_store(tmp_path / "d" / STORE, [episode], {"spec": spec, "recipe": {"suite": {"name": "own"}}})
    text, data = page_of(omp, tmp_path / "d", "--out", tmp_path / "v")
    np.testing.assert_allclose(np.array(data["episodes"][0]["series"]["state"]).T, episode["state"], rtol=0, atol=16e-5)
    told = run_script(text, "console.log(texts.join('|'), panels[1].values[0].textContent)", tmp_path)
    assert {"5432095 +", "5", "10", "-5"} <= set(told.split("|"))
    assert told.endswith("5432100")


def test_episodes_are_chosen_and_bad_ones_refused(omp: Omp, toy: Path, tmp_path: Path) -> None:
    _, data = page_of(omp, toy, "--first", 6, "--episodes", 9, "--out", tmp_path / "v")
    assert [episode["number"] for episode in data["episodes"]] == [6, 7]
    assert "pictures" not in data["episodes"][0]
    assert omp("view", toy, "--first", 8, "--out", tmp_path / "w").code == 2
    assert omp("view", tmp_path / "nowhere").code == 3


def test_a_recording_for_rerun(omp: Omp, pictures: Path, tmp_path: Path) -> None:
    rerun = pytest.importorskip("rerun")
    done = omp("view", pictures, "--rerun", "--frames", 3, "--out", tmp_path / "v", "--json")
    assert done.code == 0, done.err
    recording = rerun.dataframe.load_recording(str(tmp_path / "v" / "episodes.rrd"))
    columns = {str(column) for column in recording.schema().component_columns()}
    for name in ("episode_0/action", "episode_1/state", "episode_1/point_cloud", "episode_0/img"):
        assert any(name in column for column in columns), (name, columns)


def test_without_rerun_the_line_that_installs_it_is_told(
    omp: Omp, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rerun", None)
    done = omp("view", toy, "--rerun", "--out", tmp_path / "v")
    assert (done.code, "pip install 'omp-cli[rerun]'" in done.err) == (4, True)
