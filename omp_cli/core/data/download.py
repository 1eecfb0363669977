"""Files from the network by plain HTTP: resumed, verified, and never under their name before they are whole.

One downloader for every publisher, without a dependency: half of the sets are on plain file servers (pooch does not
resume those), and the Hub's ``resolve`` addresses answer plain range requests as well.

What has arrived lies in ``<file>.part`` with ``<file>.part.json`` beside it: the address and the server's validator
(strong ETag or Last-Modified), without which a part is only continued when the final SHA-256 is known.
"""

from __future__ import annotations

import errno
import http.client
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from omp_cli import __version__
from omp_cli.core.base.config import Above0, AtLeast0, Count, Flag, Settings
from omp_cli.core.base.errors import DataError, OmpError, RunFailed, UsageError, machine_error, system_error
from omp_cli.core.base.files import fsync_tree, read_json, sha256_of, writable_folder, write_json
from omp_cli.core.base.locks import hold
from omp_cli.core.base.progress import Progress
from omp_cli.core.data import headers
from omp_cli.core.data.connect import Pace, connect

BLOCK = 1 << 18
BY_HAND = "fetch it by hand and give it by --file"
KEPT = "what has arrived is kept; run the same line again to continue"


class DownloadConfig(Settings):
    """How patient a download is, and how much it may bring."""

    offline: Annotated[bool, Flag(panel="Public data and files", only_on=True)] = False
    """Whether only what is here already is read, and the network never touched."""
    tries: Count = 5
    """Connections in a row that bring no new byte before giving up."""
    wait: AtLeast0 = 1.0
    """Seconds before the second try; doubled for each further one."""
    longest_wait: AtLeast0 = 120.0
    """Seconds that a server may ask to wait."""
    timeout: Above0 = 30.0
    """Seconds after which a connection counts as lost that brings no head, or then no byte."""
    slowest: AtLeast0 = 1000.0
    """Bytes per second; a connection that brings less, over ``timeout`` seconds, counts as one without any."""
    longest: Above0 = 86_400.0
    """Seconds that a file may take, with all waits and tries."""
    largest: int = Field(200 * 10**9, ge=1, le=2**63 - 1)
    """Bytes of a file whose size the catalogue does not know; one whose size it knows may have just that."""


@dataclass(frozen=True)
class Wanted:
    """A file to have: its addresses in order of preference, where it goes, and what is known of its content."""

    urls: tuple[str, ...]
    target: Path
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Fetched:
    """A whole and verified file; ``url`` is None when it came without omp's help."""

    path: Path
    sha256: str
    url: str | None
    from_cache: bool


class _Again(Exception):
    """A connection ended early; another may do better.

    Args:
        reason: for the user.
        wait: seconds the server asks for; None leaves it to us.
        fruitless: whether it counts as one that brought nothing, though it did.
    """

    def __init__(self, reason: str, wait: float | None = None, fruitless: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.wait, self.fruitless = reason, wait, fruitless


def fetch(wanted: Wanted, config: DownloadConfig, progress: Progress) -> Fetched:
    """Have the file: from the cache if it is there and whole, else from its addresses in turn.

    Raises:
        DataError: not there (404 and the like), not what the catalogue says, or not in the cache and ``offline``.
        RunFailed: the network failed after all tries, was too slow, or the disk is too small.
        UsageError: another process is fetching to the same folder, or the cache cannot be written.
    """
    if (kept := _from_cache(wanted, progress)) is not None:
        return kept
    name = wanted.target.name
    if config.offline:
        raise DataError(f"{name}: not in the cache {wanted.target.parent}", "leave --offline out, or give it by --file")
    writable_folder(wanted.target.parent, "cache folder", "choose another with OMP_CLI_CACHE=DIR")
    failures: list[OmpError] = []
    with hold(wanted.target.parent, "wait for that one"):
        if (kept := _from_cache(wanted, progress)) is not None:  # another omp has just fetched it
            return kept
        for url in wanted.urls:
            try:
                _transfer(url, wanted, config, progress)
                return _finish(url, wanted)
            except (DataError, RunFailed) as error:
                failures.append(error)
                if url != wanted.urls[-1]:
                    progress.note(f"{error.message}; trying the next address")
    kind = RunFailed if any(isinstance(f, RunFailed) for f in failures) else DataError
    raise kind("; ".join(f.message for f in failures), failures[-1].hint)


def _from_cache(wanted: Wanted, progress: Progress) -> Fetched | None:
    """The file of an earlier download, if it is still what it was; a damaged one is set aside."""
    if not wanted.target.is_file():
        return None
    known = _record(_beside(wanted.target, ".json"))  # without one the file speaks for itself
    sha256 = sha256_of(wanted.target)
    if sha256 == (wanted.sha256 or known.get("sha256") or sha256):
        return Fetched(wanted.target, sha256, known.get("url"), from_cache=True)
    aside = _set_aside(wanted.target, wanted.target)
    progress.note(f"{wanted.target}: changed since it was downloaded; kept as {aside.name}")
    return None


def _transfer(url: str, wanted: Wanted, config: DownloadConfig, progress: Progress) -> None:
    """Bring the part to its full length, over as many connections as it takes."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"{url}: only http and https addresses can be downloaded")
    part = _part(wanted.target)
    fruitless, most, deadline = 0, _length(part), time.monotonic() + config.longest
    while True:
        try:
            _one_connection(url, wanted, config, deadline, progress)
            return
        except _Again as again:
            brought = _length(part) > most and not again.fruitless
            fruitless, most = 0 if brought else fruitless + 1, max(most, _length(part))
            if time.monotonic() > deadline:
                raise RunFailed(f"{url}: not whole after {config.longest:g} s ({again.reason})", KEPT) from None
            if fruitless >= config.tries:
                raise RunFailed(f"{url}: {again.reason} ({fruitless} tries)", KEPT) from None
            if (again.wait or 0) > config.longest_wait:
                raise RunFailed(f"{url}: {again.reason}, asks to wait {again.wait:.0f} s", KEPT) from None
            patience = min(config.wait * 2 ** max(fruitless - 1, 0), config.longest_wait)
            wait = patience if again.wait is None else again.wait
            progress.note(f"{url}: {again.reason}; again in {wait:.3g} s")
            time.sleep(wait)


def _one_connection(url: str, wanted: Wanted, config: DownloadConfig, deadline: float, progress: Progress) -> None:
    """Append what one response brings; _Again when that is not all."""
    part = _part(wanted.target)
    offset, validator = _resumable(url, wanted)
    asked = {"User-Agent": f"omp-cli/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        asked["Range"] = f"bytes={offset}-"
        if validator:
            asked["If-Range"] = validator
    try:
        response = connect(urllib.request.Request(url, headers=asked), config.timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and headers.total_of(error.headers) == offset:
                return  # all was there already
            raise _refusal(url, error, part) from None
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise _not_connected(error, url) from None
    except ValueError as error:
        raise DataError(f"{url}: leads to a malformed address or head ({_line(error)})") from None
    with response:
        if response.status == 206 and not _continues(response, offset, validator):
            part.unlink(missing_ok=True)
            raise _Again("the server sent a part of something else; starting over")
        total = _accept(url, response, wanted, offset, config.largest, progress)
        limit = total if total is not None else wanted.size if wanted.size is not None else config.largest
        _receive(url, response, part, total, limit, Pace(config.slowest, config.timeout, deadline), progress)


def _resumable(url: str, wanted: Wanted) -> tuple[int, str | None]:
    """From which byte to continue, and the validator that proves that the server's file is the same one."""
    part = _part(wanted.target)
    offset, state = _length(part), _record(_beside(part, ".json"))
    if offset and state.get("url") == url and (state.get("validator") or wanted.sha256):
        return offset, state.get("validator")
    return 0, None


def _record(file: Path) -> dict[str, str]:
    """The text fields of a note beside a file, fit for a header; empty where there is none, or a torn one."""
    with suppress(DataError):
        found = read_json(file, "download record")
        if isinstance(found, dict):
            return {key: value for key, value in found.items() if isinstance(value, str) and value.isprintable()}
    return {}


def _continues(response: http.client.HTTPResponse, offset: int, validator: str | None) -> bool:
    """Whether a partial response begins where ours ends, in the same file: not every server heeds If-Range."""
    told = headers.validator(response.headers)
    return headers.start_of(response.headers) == offset and (not validator or told in (None, validator))


def _accept(
    url: str, response: http.client.HTTPResponse, wanted: Wanted, offset: int, largest: int, progress: Progress
) -> int | None:
    """Check the response's head and make the part ready for its body. Returns the file's full length, if told."""
    if response.headers.get_content_type() == "text/html":
        raise DataError(f"{url}: answers with a web page, not a file", BY_HAND)
    if response.status not in (200, 206):
        raise DataError(f"{url}: answers {response.status} without a file", BY_HAND)
    if (coded := response.headers.get("Content-Encoding", "identity").strip().lower()) != "identity":
        raise DataError(f"{url}: sends the file in another encoding ({coded}) than it was asked for", BY_HAND)
    part, total = _part(wanted.target), headers.total_of(response.headers)
    if response.status != 206:
        if offset:
            progress.note(f"{url}: the server's file is new, or it cannot resume; starting over")
        part.unlink(missing_ok=True)
        offset = 0
        total = None if response.chunked else headers.number(response.headers.get("Content-Length"))
    if wanted.size is not None and total is not None and total != wanted.size:
        raise DataError(f"{url}: {total} bytes, the catalogue says {wanted.size}", "the publisher has changed it")
    if wanted.size is None and total is not None and total > largest:
        raise _too_large(url, total, largest)
    if total is not None:
        _check_space(wanted.target.parent, total - offset)
    write_json(_beside(part, ".json"), {"url": url, "validator": headers.validator(response.headers), "total": total})
    if total is not None:
        progress.note(f"{wanted.target.name}: {(total - offset) / 1e6:.1f} of {total / 1e6:.1f} MB to fetch")
        progress.start(wanted.target.name + " (kB)", total // 1000, offset // 1000)
    return total


def _receive(
    url: str,
    response: http.client.HTTPResponse,
    part: Path,
    total: int | None,
    limit: int,
    pace: Pace,
    progress: Progress,
) -> None:
    """Append the body, and flush it to the disk however it ends; DataError when it is longer than ``limit``."""
    have = shown = _length(part)
    with part.open("ab") as file:
        try:
            while block := _block(response, have):
                file.write(block)
                have += len(block)
                if have > limit:
                    break
                if late := pace.check(len(block)):
                    raise _Again(late, fruitless=True)
                if total is not None and have // 1000 > shown // 1000:
                    progress.advance(have // 1000 - shown // 1000)
                    shown = have
        finally:
            file.flush()
            os.fsync(file.fileno())
    if have > limit:
        part.unlink()
        raise _too_large(url, have, limit)
    if total is not None and have != total:
        raise _Again(f"connection closed after {have} of {total} bytes")


def _block(response: http.client.HTTPResponse, have: int) -> bytes:
    try:
        return response.read1(BLOCK)  # what is there: waiting for a whole block would hide how slowly it comes
    except (http.client.HTTPException, OSError) as error:
        raise _Again(f"connection lost after {have} bytes ({_line(error)})") from None


def _finish(url: str, wanted: Wanted) -> Fetched:
    """Verify the whole part and give it its name; one that is wrong is set aside."""
    part = _part(wanted.target)
    size, sha256 = part.stat().st_size, sha256_of(part)
    wrong = ""
    if wanted.size is not None and size != wanted.size:
        wrong = f"{size} bytes, the catalogue says {wanted.size}"
    elif wanted.sha256 is not None and sha256 != wanted.sha256:
        wrong = f"SHA-256 {sha256[:12]}..., the catalogue says {wanted.sha256[:12]}..."
    if wrong:
        aside = _set_aside(part, wanted.target)
        raise DataError(f"{url}: {wrong}", f"kept as {aside}; run the line again to download it anew")
    write_json(_beside(wanted.target, ".json"), {"url": url, "sha256": sha256, "bytes": size})
    part.replace(wanted.target)
    fsync_tree(wanted.target)
    _beside(part, ".json").unlink(missing_ok=True)
    return Fetched(wanted.target, sha256, url, from_cache=False)


def _refusal(url: str, error: urllib.error.HTTPError, part: Path) -> Exception:
    """What an error status means: come again (in how long), or not at all."""
    reason = f"{(error.reason or 'refused').lower()} ({error.code})"
    if error.code == 416:
        part.unlink(missing_ok=True)
        return _Again("the server's file is shorter than what was there; starting over")
    if error.code in (408, 425, 429) or error.code >= 500:
        return _Again(reason, headers.seconds(error.headers.get("Retry-After")))
    return DataError(f"{url}: {reason}", f"{BY_HAND}; omp prepare --list shows other sources")


def _not_connected(error: Exception, url: str) -> Exception:
    """No answer: come again, unless it is this machine that has no more files or memory."""
    reason = getattr(error, "reason", None)
    refused = machine_error(reason if isinstance(reason, OSError) else error, url)
    if refused is not None and system_error(reason if isinstance(reason, OSError) else error) != errno.ETIMEDOUT:
        return refused
    return _Again(_line(error))


def _too_large(url: str, found: int, limit: int) -> DataError:
    return DataError(
        f"{url}: at least {found} bytes, and {limit} are expected",
        "the publisher has changed it, or it is no data set; download.largest is for files of unknown size",
    )


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free", str(folder))


def _set_aside(path: Path, target: Path) -> Path:
    aside = _beside(target, ".rejected")
    path.replace(aside)
    return aside


def _part(target: Path) -> Path:
    return _beside(target, ".part")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _line(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    text = getattr(reason, "strerror", None) or str(reason) or type(error).__name__
    return " ".join(str(text).split()).lower()[:160]
