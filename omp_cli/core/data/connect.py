"""HTTP connections that end: by a head that takes too long, or by being sent to another kind of address."""

from __future__ import annotations

import http.client
import socket
import threading
import time
import urllib.parse
import urllib.request
from contextlib import suppress
from typing import Any

from omp_cli.core.base.errors import DataError


def connect(request: urllib.request.Request, timeout: float) -> http.client.HTTPResponse:
    """Ask for something by http or https, through the environment's proxies, following redirections.

    Args:
        request: the address and what is asked.
        timeout: seconds in which a whole head has to arrive, and each byte after it.

    Raises:
        urllib.error.URLError, http.client.HTTPException, OSError: no answer.
        urllib.error.HTTPError: an answer of another kind.
        DataError: redirected to what is not http or https.
        ValueError: an address on the way is malformed.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        _HTTP(),
        _HTTPS(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    response: http.client.HTTPResponse = opener.open(request, timeout=timeout)
    return response


class _Timed:
    """Closes a connection whose answer's head is late: the limit of a socket begins anew with every byte."""

    def getresponse(self) -> http.client.HTTPResponse:
        """The response, once its head is there; TimeoutError when it is not in time."""
        connection: Any = self
        late = threading.Event()
        watch = threading.Timer(connection.timeout, _shut, (connection.sock, late))
        watch.daemon = True
        watch.start()
        try:
            response: http.client.HTTPResponse = super().getresponse()  # type: ignore[misc]
        except (http.client.HTTPException, OSError):
            if not late.is_set():
                raise
        finally:
            watch.cancel()
        if late.is_set():  # also where half a head looked like a whole one
            raise TimeoutError(f"timed out after {connection.timeout:g} s without a whole answer")
        return response


class _Connection(_Timed, http.client.HTTPConnection):
    """Plain."""


class _SecureConnection(_Timed, http.client.HTTPSConnection):
    """Over TLS."""


class _HTTP(urllib.request.HTTPHandler):
    def do_open(self, http_class: Any, req: urllib.request.Request, **how: Any) -> http.client.HTTPResponse:
        return super().do_open(_Connection, req, **how)


class _HTTPS(urllib.request.HTTPSHandler):
    def do_open(self, http_class: Any, req: urllib.request.Request, **how: Any) -> http.client.HTTPResponse:
        return super().do_open(_SecureConnection, req, **how)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request: Any, body: Any, code: int, reason: str, head: Any, url: str) -> Any:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise DataError(f"{request.full_url}: leads to {url}, which is not http or https")
        return super().redirect_request(request, body, code, reason, head, url)


class Pace:
    """Watches how fast a body comes.

    Args:
        slowest: bytes per second that have to come,
        window: over so many seconds.
        deadline: of the whole file, by ``time.monotonic``.
    """

    def __init__(self, slowest: float, window: float, deadline: float) -> None:
        self._slowest, self._window, self._deadline = slowest, window, deadline
        self._began, self._bytes = time.monotonic(), 0

    def check(self, count: int) -> str:
        """Account for so many bytes; says why the connection is of no use, "" while it is."""
        now, self._bytes = time.monotonic(), self._bytes + count
        taken = now - self._began
        if now > self._deadline:
            return "out of time"
        if taken < self._window:
            return ""
        rate, self._began, self._bytes = self._bytes / taken, now, 0
        return f"too slow, {rate:.3g} bytes per second over {taken:.3g} s" if rate < self._slowest else ""


def _shut(sock: socket.socket, late: threading.Event) -> None:
    late.set()
    with suppress(OSError):  # it is closed already
        sock.shutdown(socket.SHUT_RDWR)
