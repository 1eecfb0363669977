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
from typing import Any

from omp_cli import __version__
from omp_cli.core.config import Above0, AtLeast0, Count, Settings
from omp_cli.core.data import headers
from omp_cli.core.errors import DataError, OmpError, RunFailed, UsageError
from omp_cli.core.files import fsync_tree, read_json, sha256_of, write_json
from omp_cli.core.locks import hold
from omp_cli.core.progress import Progress

BLOCK = 1 << 18
KEPT = "what has arrived is kept; run the same line again to continue"


class DownloadConfig(Settings):
    """How patient a download is."""

    offline: bool = False
    """Never touch the network."""
    tries: Count = 5
    """Connections in a row that bring no new byte before giving up."""
    wait: AtLeast0 = 1.0
    """Seconds before the second try; doubled for each further one."""
    longest_wait: AtLeast0 = 120.0
    """Seconds that a server may ask to wait."""
    timeout: Above0 = 30.0
    """Seconds without a byte after which a connection counts as lost."""


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
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.wait = reason, wait


def fetch(wanted: Wanted, config: DownloadConfig, progress: Progress) -> Fetched:
    """Have the file: from the cache if it is there and whole, else from its addresses in turn.

    Raises:
        DataError: not there (404 and the like), not what the catalogue says, or not in the cache and ``offline``.
        RunFailed: the network failed after all tries, or the disk is too small.
        UsageError: another process is fetching to the same folder.
    """
    if (kept := _from_cache(wanted, progress)) is not None:
        return kept
    name = wanted.target.name
    if config.offline:
        raise DataError(f"{name}: not in the cache {wanted.target.parent}", "leave --offline out, or give it by --file")
    wanted.target.parent.mkdir(parents=True, exist_ok=True)
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
    note = _beside(wanted.target, ".json")
    known: dict[str, Any] = {}
    with suppress(DataError):  # no record, or a torn one: the file speaks for itself
        known = read_json(note, "download record")
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
    fruitless, most = 0, _length(part)
    while True:
        try:
            _one_connection(url, wanted, config, progress)
            return
        except _Again as again:
            fruitless, most = (0, _length(part)) if _length(part) > most else (fruitless + 1, most)
            if fruitless >= config.tries:
                raise RunFailed(f"{url}: {again.reason} ({fruitless} tries)", KEPT) from None
            if (again.wait or 0) > config.longest_wait:
                raise RunFailed(f"{url}: {again.reason}, asks to wait {again.wait:.0f} s", KEPT) from None
            patience = min(config.wait * 2 ** max(fruitless - 1, 0), config.longest_wait)
            wait = patience if again.wait is None else again.wait
            progress.note(f"{url}: {again.reason}; again in {wait:.3g} s")
            time.sleep(wait)


def _one_connection(url: str, wanted: Wanted, config: DownloadConfig, progress: Progress) -> None:
    """Append what one response brings; _Again when that is not all."""
    part = _part(wanted.target)
    offset, validator = _resumable(url, wanted)
    asked = {"User-Agent": f"omp-cli/{__version__}", "Accept-Encoding": "identity"}
    if offset:
        asked["Range"] = f"bytes={offset}-"
        if validator:
            asked["If-Range"] = validator
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=asked), timeout=config.timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and headers.total_of(error.headers) == offset:
                return  # all was there already
            raise _refusal(url, error, part) from None
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise _Again(_line(error)) from None
    with response:
        if response.status == 206 and not _continues(response, offset, validator):
            part.unlink(missing_ok=True)
            raise _Again("the server sent a part of something else; starting over")
        total = _accept(url, response, wanted, offset, progress)
        _receive(response, part, total, progress)


def _resumable(url: str, wanted: Wanted) -> tuple[int, str | None]:
    """From which byte to continue, and the validator that proves that the server's file is the same one."""
    part = _part(wanted.target)
    offset, record = _length(part), _beside(part, ".json")
    if not offset or not record.is_file():
        return 0, None
    with suppress(DataError):  # an unreadable record: start over
        state = read_json(record, "part of a download")
        if state.get("url") == url and (state.get("validator") or wanted.sha256):
            return offset, state.get("validator")
    return 0, None


def _continues(response: http.client.HTTPResponse, offset: int, validator: str | None) -> bool:
    """Whether a partial response begins where ours ends, in the same file: not every server heeds If-Range."""
    told = headers.validator(response.headers)
    return headers.start_of(response.headers) == offset and (not validator or told in (None, validator))


def _accept(
    url: str, response: http.client.HTTPResponse, wanted: Wanted, offset: int, progress: Progress
) -> int | None:
    """Check the response's head and make the part ready for its body. Returns the file's full length, if told."""
    if response.headers.get_content_type() == "text/html":
        raise DataError(f"{url}: answers with a web page, not a file", "fetch it by hand and give it by --file")
    part, total = _part(wanted.target), headers.total_of(response.headers)
    if response.status != 206:
        if offset:
            progress.note(f"{url}: the server's file is new, or it cannot resume; starting over")
        part.unlink(missing_ok=True)
        offset = 0
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
    if wanted.size is not None and total is not None and total != wanted.size:
        raise DataError(f"{url}: {total} bytes, the catalogue says {wanted.size}", "the publisher has changed it")
    if total is not None:
        _check_space(wanted.target.parent, total - offset)
    write_json(_beside(part, ".json"), {"url": url, "validator": headers.validator(response.headers), "total": total})
    if total is not None:
        progress.note(f"{wanted.target.name}: {(total - offset) / 1e6:.1f} of {total / 1e6:.1f} MB to fetch")
        progress.start(wanted.target.name + " (kB)", total // 1000, offset // 1000)
    return total


def _receive(response: http.client.HTTPResponse, part: Path, total: int | None, progress: Progress) -> None:
    """Append the body, and flush it to the disk however it ends."""
    have = shown = _length(part)
    with part.open("ab") as file:
        try:
            while block := _block(response, have):
                file.write(block)
                have += len(block)
                if total is not None and have // 1000 > shown // 1000:
                    progress.advance(have // 1000 - shown // 1000)
                    shown = have
        finally:
            file.flush()
            os.fsync(file.fileno())
    if total is not None and have != total:
        raise _Again(f"connection closed after {have} of {total} bytes")


def _block(response: http.client.HTTPResponse, have: int) -> bytes:
    try:
        return response.read(BLOCK)
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
    return DataError(
        f"{url}: {reason}", "fetch it by hand and give it by --file; omp prepare --list shows other sources"
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
