"""HTTP connections that end, also where a server brings its head byte by byte.

Proxies, TLS and the protocol are urllib3's.
"""

from __future__ import annotations

import errno
import http.client
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import unquote, urljoin
from urllib.request import getproxies, proxy_bypass

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ProxyError
from urllib3.response import BaseHTTPResponse, HTTPResponse
from urllib3.util import make_headers, parse_url

from omp_cli.core.base.errors import DataError, causes, machine_error, one_line, system_error

BLOCK = 1 << 18
REDIRECTIONS = 10


class Again(Exception):
    """A connection ended early; another may do better.

    Args:
        reason: why it failed, for the user.
        wait: seconds the server asks for; None leaves it to us.
        fruitless: whether it counts as one that brought nothing, though it did.
    """

    def __init__(self, reason: str, wait: float | None = None, fruitless: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.wait, self.fruitless = reason, wait, fruitless


def connect(url: str, headers: dict[str, str], timeout: float) -> BaseHTTPResponse:
    """Ask for something by http or https, following redirections, each through the proxy that the environment names.

    Args:
        url: the address.
        headers: what is asked.
        timeout: seconds in which a whole head has to arrive, and each byte after it.

    Returns:
        The head of the last answer, whatever its status is; ``block`` reads its body.

    Raises:
        Again: no answer.
        DataError: an address on the way is malformed, or neither http nor https, or there is no end of them.
        RunFailed: this machine has no more files or memory.
    """
    address = url
    for _ in range(REDIRECTIONS + 1):
        try:
            response = _pools(address).urlopen(
                "GET",
                address,
                headers=headers,
                timeout=timeout,
                retries=False,
                redirect=False,  # urllib3 would take the same proxy, and read all that a redirection brings
                preload_content=False,
                decode_content=False,
                enforce_content_length=False,
            )
            if not (location := response.get_redirect_location()):
                return response
            response.close()
            address = urljoin(address, location)
        except ValueError as error:
            raise DataError(f"{url}: leads to an address that cannot be fetched ({one_line(error)})") from None
        except HTTPError as error:
            *_, first = causes(error)
            refused = machine_error(first, url)
            raise refused if refused and system_error(first) != errno.ETIMEDOUT else Again(_said(error)) from None
    raise DataError(f"{url}: redirected more than {REDIRECTIONS} times")


def block(response: BaseHTTPResponse, have: int) -> bytes:
    """What has arrived of a body by now, at least one byte; empty at its end. ``have`` bytes came before."""
    try:
        return response.read1(BLOCK)  # waiting for a whole block would hide how slowly it comes
    except HTTPError as error:
        raise Again(f"connection lost after {have} bytes ({_said(error)})") from None


def _said(error: HTTPError) -> str:
    """What went wrong in the words of the system: urllib3 puts its own before them."""
    *_, first = causes(error)
    where = "the proxy: " if isinstance(error, ProxyError) else ""
    return where + (getattr(first, "strerror", None) or one_line(first)).lower()[:160]


def _pools(url: str) -> PoolManager:
    """urllib3's way to an address: through a proxy where the environment names one for it."""
    address = parse_url(url)
    proxy = None if proxy_bypass(address.netloc or "") else getproxies().get(address.scheme or "")
    if proxy:
        proxy = proxy if "://" in proxy else f"http://{proxy}"
        user = parse_url(proxy).auth
        pools: PoolManager = ProxyManager(proxy, proxy_headers=make_headers(proxy_basic_auth=user and unquote(user)))
    else:
        pools = PoolManager()
    pools.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    return pools


def _in_time(connection: HTTPConnection, getresponse: Callable[[], HTTPResponse]) -> HTTPResponse:
    """A response whose whole head came in time, else TimeoutError: a socket's limit begins anew with every byte."""
    limit = connection.timeout or 0.0
    deadline = time.monotonic() + limit
    watch = threading.Timer(limit, _shut, [connection.sock])
    watch.daemon = True
    watch.start()
    try:
        response = getresponse()
    except (http.client.HTTPException, OSError):
        if time.monotonic() < deadline:
            raise
    finally:
        watch.cancel()
    if time.monotonic() >= deadline:  # also where half a head looked like a whole one
        raise TimeoutError(f"timed out after {limit:g} s without a whole answer")
    return response


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # it is closed already
        sock.shutdown(socket.SHUT_RDWR)


class _Connection(HTTPConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        return _in_time(self, super().getresponse)


class _SecureConnection(HTTPSConnection):
    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        return _in_time(self, super().getresponse)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class Pace:
    """Watches how fast a body comes.

    Args:
        slowest: bytes per second that have to come at least.
        window: seconds over which that rate is taken.
        deadline: when the whole file has to be there, by ``time.monotonic``.
    """

    def __init__(self, slowest: float, window: float, deadline: float) -> None:
        self._slowest, self._window, self._deadline = slowest, window, deadline
        self._began, self._bytes = time.monotonic(), 0

    def check(self, count: int) -> str:
        """Account for ``count`` more bytes; says why the connection is of no use, "" while it is."""
        now, self._bytes = time.monotonic(), self._bytes + count
        taken = now - self._began
        if now > self._deadline:
            return "out of time"
        if taken < self._window:
            return ""
        rate, self._began, self._bytes = self._bytes / taken, now, 0
        return f"too slow, {rate:.3g} bytes per second over {taken:.3g} s" if rate < self._slowest else ""
