"""A policy server in the protocol of ``openpi-client``: a websocket, msgpack, the metadata as the first message.

Every further message of the client is a map of arrays by name and is answered in order by ``{"actions": (E, A)}``, or
by one line of text where something is wrong with it; the connection goes on then. An array is one frame (...), or the
newest T frames (T, ...). ``{"reset": true}``, alone or beside the arrays, begins another episode, as a new connection
does; ``false`` does not.

There is one client at a time, for a policy has one history: a second one waits a second for the first to go,
and is then refused with HTTP 503. Web pages (an Origin header) are refused as well. ``GET /healthz`` is answered "OK".
"""

from __future__ import annotations

import errno
import http
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from omp_cli.core.base.errors import MissingDependency, OmpError, RunFailed, UsageError, one_line
from omp_cli.core.base.run import Run
from omp_cli.core.base.signals import stop_requests
from omp_cli.core.deploy.config import ServeConfig
from omp_cli.core.deploy.packing import packed, unpacked
from omp_cli.core.deploy.player import Player
from omp_cli.core.deploy.program import missing_packages

if TYPE_CHECKING:
    from websockets.sync.server import ServerConnection

INSTALL = "pip install 'omp-cli[serve]'"
GRACE = 1.0
"""Seconds that a client waits for one that is about to go, its own earlier connection for instance."""
NAP = 0.1
"""Seconds between two looks at whether somebody asked to stop."""


def check_server() -> None:
    """MissingDependency when a package of the server is not installed."""
    if absent := missing_packages(("websockets", "msgpack")):
        raise MissingDependency(f"omp serve needs {', '.join(absent)}", f"install: {INSTALL}")


class Session:
    """What the one client at a time is answered, and the counts of all of them.

    Args:
        player: the policy.
        config: what a message is answered with.
        note: called with one line where a client shows the policy another history than it was trained on.
    """

    def __init__(self, player: Player, config: ServeConfig, note: Callable[[str], None] = lambda _: None) -> None:
        self._player, self._config, self._note = player, config, note
        self._single_frames, self._gaps_said = 0, False
        self._free = threading.Lock()
        self.connection: ServerConnection | None = None
        self.clients = self.refused = self.errors = 0
        self.seconds: list[float] = []

    @property
    def metadata(self) -> dict[str, Any]:
        """The first message that a client gets: what the policy reads, and what it answers."""
        signature = self._player.signature
        told = {name: {"made_of": list(parts)} for name, parts in signature.made_of.items()}
        if signature.cameras:
            told["img"] = {**told.get("img", {}), "cameras": list(signature.cameras)}
        return {
            "policy": "omp",
            "suite": signature.suite,
            "task": signature.task,
            "observation": {
                name: {"shape": list(array.shape), "dtype": array.dtype, **told.get(name, {})}
                for name, array in signature.arrays.items()
            },
            "n_obs": signature.n_obs,
            "action_dim": signature.action_dim,
            "action_names": list(signature.action_names),
            "action_unit": signature.action_unit,
            "action_horizon": signature.execute if self._config.reply == "chunk" else 1,
            "control_hz": signature.control_hz,
            "nfe": signature.nfe,
            "reply": self._config.reply,
        }

    def take(self, connection: ServerConnection, request: Any) -> Any:
        """Refuse the second of two clients, before the handshake."""
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if self._free.acquire(timeout=GRACE):
            self._free.release()
        else:
            self.refused += 1
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "busy: another client is connected\n")
        return None

    def converse(self, connection: ServerConnection) -> None:
        """Answer a client until it goes."""
        from websockets.exceptions import ConnectionClosed

        if not self._free.acquire(timeout=GRACE):  # two came at the same time
            self.refused += 1
            connection.close(1013, "busy: another client is connected")
            return
        try:
            self.connection = connection
            self._reset(None if self.clients else self._config.seed)
            self.clients += 1
            connection.send(packed(self.metadata))
            for message in connection:
                connection.send(self._answer(message))
        except ConnectionClosed:  # by an error of the protocol, a message too large among them
            self.errors += 1
        finally:
            self.connection = None
            self._free.release()

    def _answer(self, message: str | bytes) -> str | bytes:
        """The answer to a message: packed actions, or one line of text where something is wrong with the message."""
        start = time.perf_counter()
        try:
            if isinstance(message, str):
                raise UsageError("message: text, expected msgpack in a binary message")
            obs = unpacked(message)
            if "reset" in obs:
                reset = obs.pop("reset")
                if not isinstance(reset, bool) and getattr(reset, "dtype", None) != np.bool_:
                    raise UsageError("message: reset is not true or false")
                if np.any(reset):
                    self._reset()
                if not obs:
                    return packed({"reset": bool(np.any(reset))})
            actions = self._actions(obs)
        except OmpError as error:
            self.errors += 1
            return f"{error.message}; {error.hint}" if error.hint else error.message
        except Exception as error:  # whatever a message does, the server goes on
            self.errors += 1
            return f"the policy failed: {one_line(error, typed=True)}"
        self.seconds.append(time.perf_counter() - start)
        return packed({"actions": actions, "server_timing": {"infer_ms": 1e3 * self.seconds[-1]}})

    def _reset(self, seed: int | None = None) -> None:
        self._player.reset(seed)
        self._single_frames = 0

    def _actions(self, obs: Mapping[str, Any]) -> Any:
        """The actions that answer an observation: a chunk (E, A), or those of this step (1, A)."""
        arrays, obs = self._player.signature.arrays, self._player.as_read(obs)
        shown = {name: np.ndim(x) - len(arrays[name].shape) for name, x in obs.items() if name in arrays}
        history = set(shown.values()) == {1}
        if self._config.reply == "chunk":
            actions = self._player.act_chunk(obs, history)
            self._single_frames += not history
            if self._single_frames > 1:
                self._say_gaps(len(actions))
            return actions
        if history:
            raise UsageError("message: T frames, expected the one of this step", "send one frame, or --reply chunk")
        return self._player.act(obs)[None]

    def _say_gaps(self, steps: int) -> None:
        """Say once that a policy which sees successive frames gets some with ``steps`` between them."""
        seen = self._player.signature.n_obs
        if seen == 1 or self._gaps_said:
            return
        self._gaps_said = True
        self._note(
            f"a client shows one frame for {steps} actions, and the policy was trained on {seen} successive frames: "
            f"let the client send the newest {seen}, arrays ({seen}, ...), or serve with --reply step"
        )

    def figures(self) -> dict[str, Any]:
        """Counts and milliseconds; JSON types."""
        found: dict[str, Any] = {
            **self._player.decider.figures(),
            "clients": self.clients,
            "refused": self.refused,
            "answers": len(self.seconds),
            "errors": self.errors,
        }
        if self.seconds:
            ms = 1e3 * np.array(self.seconds)
            found |= {f"answer_p{p}_ms": round(float(np.percentile(ms, p)), 4) for p in (50, 95, 99)}
        return found


def serve_run(run: Run, player: Player, config: ServeConfig, note: Callable[[str], None]) -> None:
    """Serve until somebody asks to stop.

    Args:
        run: the run whose manifest receives the figures.
        player: the policy.
        config: address, largest message, kind of answer.
        note: called with one line that says the address, once the server listens, and see ``Session``.

    Raises:
        Interrupted, Terminated: always at last; the client was told and the figures were written first.
        RunFailed: the port is taken.
        UsageError: not an address of this machine, or a port that this user may not have.
        MissingDependency: see ``check_server``.
    """
    check_server()
    from websockets.sync.server import serve

    session = Session(player, config, note)
    silent = logging.getLogger("omp_cli.serve")
    silent.addHandler(logging.NullHandler())
    silent.propagate = False  # a client that is no websocket is no news
    try:
        server = serve(
            session.converse,
            config.host,
            config.port,
            origins=[None],
            process_request=session.take,
            compression=None,
            max_size=config.max_mib * 2**20,
            logger=silent,
        )
    except (OSError, UnicodeError) as error:
        where = f"{config.host}:{config.port}"
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise RunFailed(f"{where}: address already in use", "choose another with --port") from None
        raise UsageError(f"{where}: {one_line(error)}", "choose another with --host and --port") from None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    with stop_requests() as stop:
        thread.start()
        host, port = server.socket.getsockname()[:2]
        note(f"serving {player.signature} at ws://{host}:{port}; Ctrl-C ends it")
        while not stop.error:
            time.sleep(NAP)
        if (connection := session.connection) is not None:
            connection.close(1001, "the server is stopped")
        server.shutdown()
        thread.join()
    run.metrics(**session.figures())
    raise stop.error(f"stopped after {len(session.seconds)} answers", f"the figures are in {run.folder}")
