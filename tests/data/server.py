"""A file server on this machine that misbehaves on request."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Behaviour:
    """What the server does; tests change it between requests.

    Attributes:
        files: path to content.
        cut: close the connection after so many body bytes, for the first ``cuts`` responses.
        stated: the Content-Length it claims, if not the true one.
        ranges: whether it honours Range.
        statuses: error statuses to answer first, one per request, with their headers.
        etag: whether it sends an ETag and heeds If-Range.
        kind: Content-Type.
        lengths: whether it says how long a body is.
        heeds: whether If-Range makes a difference to it.
        drip: seconds between the single bytes of a body; None sends it at once.
        slow_head: the same for the bytes of a head.
        heads: heads to send besides, or instead of its own.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cut: int | None = None
    cuts: int = 10**9
    stated: int | None = None
    ranges: bool = True
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    etag: bool = True
    kind: str = "application/octet-stream"
    lengths: bool = True
    heeds: bool = True
    drip: float | None = None
    slow_head: float | None = None
    heads: dict[str, bytes] = field(default_factory=dict)
    asked: list[str | None] = field(default_factory=list)
    """The Range header of every request."""
    proxied: list[str] = field(default_factory=list)
    """The whole addresses that it was asked for as a proxy, and who asked."""
    proxy_users: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    """Serves ``server.behaviour``."""

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        """One file, or a part of it."""
        how: Behaviour = self.server.behaviour  # type: ignore[attr-defined]
        how.asked.append(self.headers.get("Range"))
        path = urlsplit(self.path).path
        if path != self.path:
            how.proxied.append(self.path)
            user = self.headers.get("Proxy-Authorization", "").removeprefix("Basic ")
            how.proxy_users.append(base64.b64decode(user).decode())
        if how.statuses:
            status, headers = how.statuses.pop(0)
            return self._head(status, {**headers, "Content-Length": "0"})
        if path.startswith("/moved/"):
            return self._head(302, {"Location": path.removeprefix("/moved"), "Content-Length": "0"})
        if path not in how.files:
            return self._head(404, {"Content-Length": "0"})
        content = how.files[path]
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        headers = {"Content-Type": how.kind} | ({"ETag": etag} if how.etag else {})
        wanted, start = self.headers.get("Range"), 0
        same = self.headers.get("If-Range") in (None, etag) or not how.heeds
        if wanted and how.ranges and same:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self._head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        if how.lengths:
            headers["Content-Length"] = str(len(body) if how.stated is None else how.stated)
        self._head(206 if "Content-Range" in headers else 200, headers)
        if how.cut is not None and how.cuts > 0:
            how.cuts -= 1
            body = body[: how.cut]
        self._send(body, how.drip)
        self.close_connection = True
        return None

    def _send(self, content: bytes, pause: float | None) -> None:
        """All at once, or byte by byte until nobody listens."""
        with suppress(OSError):  # nobody listens any more
            if pause is None:
                self.wfile.write(content)
                return
            for number in content:
                self.wfile.write(bytes([number]))
                time.sleep(pause)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        how: Behaviour = self.server.behaviour  # type: ignore[attr-defined]
        told = {name: value.encode("latin-1") for name, value in headers.items()} | how.heads
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode(),
            *(name.encode() + b": " + value for name, value in told.items()),
        ]
        self._send(b"\r\n".join([*lines, b"", b""]), how.slow_head)


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[str]:
    """The server's base address while it runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.behaviour = behaviour  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
