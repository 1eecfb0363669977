"""``omp serve``: real clients on the loopback, well-behaved and others."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import omp_cli as api
from omp_cli.core.base.errors import DataError
from omp_cli.core.base.manifest import read_manifest
from omp_cli.core.deploy import server
from omp_cli.core.deploy.config import ServeConfig
from omp_cli.core.deploy.packing import packed, unpacked
from tests.cli.test_bad_input import refused
from tests.conftest import Omp, omp_process

pytest.importorskip("websockets", reason="needs the extra serve")
pytest.importorskip("msgpack", reason="needs the extra serve")
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect


def started(workshop: Path, *more: object) -> tuple[subprocess.Popen[str], int]:
    process = omp_process("serve", workshop / "run", "--port", 0, "--max-mib", 1, *more)
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"ws://127\.0\.0\.1:(\d+)", line):
            return process, int(found[1])
    raise AssertionError("it never listened")


@pytest.fixture(scope="module")
def port(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server in a process of its own, which has to end as asked at the end."""
    out = tmp_path_factory.mktemp("serve") / "s"
    process, number = started(workshop, "--out", out)
    yield number
    assert process.poll() is None, "it survived everything"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 143, err
    assert "stopped: after" in err
    assert "error:" not in err, "it is how a server is meant to end"
    assert "Traceback" not in err
    manifest = read_manifest(out)
    assert manifest.status == "interrupted"
    assert manifest.metrics["answers"] > 0
    assert manifest.metrics["errors"] > 0


@pytest.fixture
def shown(workshop: Path) -> dict[str, Any]:
    data = api.read_dataset(workshop / "toy")
    return {name: data.arrays[name][0] for name in ("state", "point_cloud")}


def ask(connection: Any, message: Any) -> Any:
    connection.send(message if isinstance(message, str | bytes) else packed(message))
    answer = connection.recv(timeout=20)
    return answer if isinstance(answer, str) else unpacked(answer)


def test_the_client_of_openpi_works_unchanged(port: int, workshop: Path, shown: dict[str, Any]) -> None:
    client_module = pytest.importorskip(
        "openpi_client.websocket_client_policy", reason="pip install --no-deps openpi-client"
    )
    client = client_module.WebsocketClientPolicy("127.0.0.1", port)
    metadata = client.get_server_metadata()
    assert metadata["observation"]["state"] == {"shape": [5], "dtype": "float32"}
    assert (metadata["action_names"], metadata["action_unit"]) == ([], "")
    assert (metadata["n_obs"], metadata["action_horizon"], metadata["control_hz"]) == (2, 3, 20.0)
    client.infer({"reset": True})
    answer = client.infer({**shown, "prompt": "reach"})
    assert answer["actions"].shape == (3, 2)
    assert answer["server_timing"]["infer_ms"] > 0
    with pytest.raises(RuntimeError, match="'point_cloud' is missing"):
        client.infer({"state": shown["state"]})
    history = {name: np.stack([x, x]) for name, x in shown.items()}
    assert client.infer(history)["actions"].shape == (3, 2), "and goes on"
    client._ws.close()


def test_the_actions_are_those_of_the_policy(workshop: Path, shown: dict[str, Any], port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}", compression=None) as client:
        client.recv()
        one = ask(client, {"reset": True, **shown})["actions"]
        two = ask(client, shown)["actions"]
    assert one.dtype == np.float32
    assert not np.array_equal(one, two), "each decision has noise of its own"


def test_reset_may_say_no(port: int, shown: dict[str, Any]) -> None:
    """So that a client can send whether a frame is its episode's first, also as NumPy's bool."""
    with connect(f"ws://127.0.0.1:{port}", compression=None) as client:
        client.recv()
        for reset in (True, False, np.bool_(True), np.bool_(False)):
            assert ask(client, {"reset": reset, **shown})["actions"].shape == (3, 2)
        assert ask(client, {"reset": False}) == {"reset": False}


def test_frames_that_are_missing_between_two_decisions_are_said_once(workshop: Path, shown: dict[str, Any]) -> None:
    said: list[str] = []
    session = server.Session(api.load(workshop / "run", device="cpu"), ServeConfig(), said.append)
    history = {name: np.stack([x, x]) for name, x in shown.items()}
    for message in (history, history, {"reset": True, **shown}, {"reset": True, **shown}, history):
        assert isinstance(session._answer(packed(message)), bytes)
    assert not said, "the first frame of an episode has none before it"
    for _ in range(3):
        session._answer(packed(shown))
    (line,) = said
    assert "one frame for 3 actions, and the policy was trained on 2 successive frames" in line
    assert "--reply step" in line
    step = server.Session(api.load(workshop / "run", device="cpu"), ServeConfig(reply="step"), said.append)
    for _ in range(3):
        step._answer(packed(shown))
    assert len(said) == 1


HOSTILE: dict[str, Any] = {
    "text": "hello",
    "nothing": b"",
    "no msgpack": b"\xc1\xff\x00",
    "a pickle": b"\x80\x04\x95K\x00.",
    "cut": packed({"state": np.zeros(5)})[:-7],
    "a list": [1, 2],
    "nested": b"\x81\xa1a" * 5000 + b"\xc0",
    "a huge list": b"\xdd\xff\xff\xff\xff",
    "objects": {"state": {b"__ndarray__": True, b"data": b"\x80\x04N.", b"dtype": "|O", b"shape": [1]}},
    "records": {"state": {b"__ndarray__": True, b"data": b"12345678", b"dtype": "f4,f4", b"shape": [1]}},
    "no type": {"state": {b"__ndarray__": True, b"data": b"", b"dtype": "what", b"shape": [0]}},
    "a huge shape": {"state": {b"__ndarray__": True, b"data": b"1234", b"dtype": "<f4", b"shape": [2**62, 2**62]}},
    "less than nothing": {"state": {b"__ndarray__": True, b"data": b"1234", b"dtype": "<f4", b"shape": [-1]}},
    "a shape of text": {"state": {b"__ndarray__": True, b"data": b"1234", b"dtype": "<f4", b"shape": "x"}},
    "empty": {},
    "another shape": {"state": np.zeros(4), "point_cloud": np.zeros((48, 3))},
    "not finite": {"state": np.full(5, np.nan), "point_cloud": np.zeros((48, 3))},
    "text in the place of an array": {"state": "x", "point_cloud": "y"},
    "reset with what is no yes": {"reset": 3},
}


@pytest.mark.parametrize("how", HOSTILE)
def test_what_is_no_observation_gets_a_line_and_the_connection_goes_on(
    port: int, shown: dict[str, Any], how: str
) -> None:
    with connect(f"ws://127.0.0.1:{port}", compression=None) as client:
        client.recv()
        answer = ask(client, HOSTILE[how])
        assert isinstance(answer, str)
        assert "\n" not in answer
        assert len(answer) < 400
        assert ask(client, shown)["actions"].shape == (3, 2)


def test_a_message_that_is_too_large_ends_its_connection_alone(port: int, shown: dict[str, Any]) -> None:
    with connect(f"ws://127.0.0.1:{port}", compression=None) as client:
        client.recv()
        with pytest.raises(ConnectionClosed, match="1009"):
            ask(client, bytes(2 << 20))
    with connect(f"ws://127.0.0.1:{port}", compression=None) as client:
        client.recv()
        assert ask(client, shown)["actions"].shape == (3, 2)


def test_a_second_client_and_a_web_page_are_refused(port: int, shown: dict[str, Any]) -> None:
    uri = f"ws://127.0.0.1:{port}"
    with connect(uri, compression=None) as first:
        first.recv()
        with pytest.raises(InvalidStatus, match="503"):
            connect(uri)
        assert ask(first, shown)["actions"].shape == (3, 2)
    with pytest.raises(InvalidStatus, match="403"):
        connect(uri, origin="http://example.org")  # type: ignore[arg-type]
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b" 200 " in plain.recv(100)
    with socket.create_connection(("127.0.0.1", port)) as plain:
        plain.sendall(b"\x00\x01 no HTTP at all\r\n\r\n")


def test_steps_are_played_here_and_ctrl_c_ends_a_connection(
    workshop: Path, tmp_path: Path, shown: dict[str, Any]
) -> None:
    process, number = started(workshop, "--reply", "step", "--out", tmp_path / "s")
    player = api.load(workshop / "run", device="cpu")
    with connect(f"ws://127.0.0.1:{number}", compression=None) as client:
        assert unpacked(client.recv())["action_horizon"] == 1
        for _ in range(4):
            np.testing.assert_allclose(ask(client, shown)["actions"], player.act(shown)[None], atol=1e-6)
        process.send_signal(signal.SIGINT)
        with pytest.raises(ConnectionClosed, match="1001"):
            client.recv(timeout=20)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert read_manifest(tmp_path / "s").metrics["answers"] == 4


def test_bad_lines(omp: Omp, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(omp("serve", workshop / "run", "--port", port), 1, str(port), "already in use")
    refused(omp("serve", workshop / "run", "--host", "256.1.1.1"), 2, "256.1.1.1")
    refused(omp("serve", workshop / "run", "--port", 70000), 2, "port")
    refused(omp("serve", workshop / "run", "--ensemble", 0.1), 2, "ensemble", "--reply step")
    refused(omp("serve", "nowhere"), 3, "nowhere")
    monkeypatch.setattr(server, "missing_packages", lambda names: ["websockets"])
    refused(omp("serve", workshop / "run"), 4, "websockets", server.INSTALL)


def test_arrays_come_through_as_they_were() -> None:
    for dtype in ("<f4", ">f8", "|u1", "<i8", "|b1"):
        x = np.arange(6).reshape(2, 3).astype(dtype)
        y = unpacked(packed({"x": x}))["x"]
        assert y.dtype == x.dtype
        assert np.array_equal(x, y)
    assert unpacked(packed({"x": np.float32(2.5)})) == {"x": 2.5}
    with pytest.raises(DataError):
        unpacked(packed({"x": {b"__npgeneric__": True, b"data": "1", b"dtype": "<f4"}}))
