"""Files from the network by plain HTTP: resumed, verified, and never under their name before they are whole.

One downloader for every publisher, on top of urllib3: half of the sets are on plain file servers (pooch does not
resume those), and the Hub's ``resolve`` addresses answer plain range requests as well, so ``huggingface_hub`` would be
a second way to the same bytes.

What has arrived lies in ``<file>.part`` with ``<file>.part.json`` beside it: the address and the server's validator
(strong ETag or Last-Modified), without which a part is only continued when the final SHA-256 is known.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field
from urllib3.response import BaseHTTPResponse

from omp_cli import __version__
from omp_cli.core.base.config import Above0, AtLeast0, Count, Flag, Settings
from omp_cli.core.base.errors import DataError, OmpError, RunFailed, UsageError
from omp_cli.core.base.files import fsync_tree, read_json, sha256_of, writable_folder, write_json
from omp_cli.core.base.locks import hold
from omp_cli.core.base.progress import Progress
from omp_cli.core.data import headers
from omp_cli.core.data.connect import Again, Pace, block, connect

BY_HAND = "fetch it by hand and give it by --file"
CHANGED = "the publisher has changed it"
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
                return _Transfer(url, wanted, config, progress).run()
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


class _Transfer:
    """From one address to the wanted file, over as many connections as it takes.

    Raises:
        UsageError: the address is neither http nor https.
    """

    def __init__(self, url: str, wanted: Wanted, config: DownloadConfig, progress: Progress) -> None:
        if not url.lower().startswith(("http://", "https://")):
            raise UsageError(f"{url}: only http and https addresses can be downloaded")
        self.url, self.wanted, self.config, self.progress = url, wanted, config, progress
        self.part = _beside(wanted.target, ".part")
        self.note = _beside(self.part, ".json")
        self.deadline = time.monotonic() + config.longest

    @property
    def have(self) -> int:
        """Bytes that have arrived."""
        return self.part.stat().st_size if self.part.exists() else 0

    def run(self) -> Fetched:
        """Bring the part to its full length, verify it and give it its name; raises what ``fetch`` does."""
        url, config = self.url, self.config
        fruitless, most = 0, self.have
        while True:
            try:
                self._connection()
                return self._finish()
            except Again as again:
                brought = self.have > most and not again.fruitless
                fruitless, most = 0 if brought else fruitless + 1, max(most, self.have)
                if time.monotonic() > self.deadline:
                    raise RunFailed(f"{url}: not whole after {config.longest:g} s ({again.reason})", KEPT) from None
                if fruitless >= config.tries:
                    raise RunFailed(f"{url}: {again.reason} ({fruitless} tries)", KEPT) from None
                if (again.wait or 0) > config.longest_wait:
                    raise RunFailed(f"{url}: {again.reason}, asks to wait {again.wait:.0f} s", KEPT) from None
                patience = min(config.wait * 2 ** max(fruitless - 1, 0), config.longest_wait)
                wait = patience if again.wait is None else again.wait
                self.progress.note(f"{url}: {again.reason}; again in {wait:.3g} s")
            time.sleep(wait)

    def _connection(self) -> None:
        """Append what one response brings; Again when that is not all."""
        offset, validator = self._resumable()
        asked = {"User-Agent": f"omp-cli/{__version__}", "Accept-Encoding": "identity"}
        if offset:
            asked["Range"] = f"bytes={offset}-"
            if validator:
                asked["If-Range"] = validator
        with connect(self.url, asked, self.config.timeout) as response:
            if response.status == 416 and headers.total_of(response.headers) == offset:
                return  # all was there already
            if response.status >= 400:
                raise self._refusal(response)
            if response.status == 206 and not headers.continues(response.headers, offset, validator):
                self.part.unlink(missing_ok=True)
                raise Again("the server sent a part of something else; starting over")
            self._receive(response, self._accept(response, offset))

    def _resumable(self) -> tuple[int, str | None]:
        """From which byte to continue, and the validator that proves that the server's file is the same one."""
        offset, state = self.have, _record(self.note)
        if offset and state.get("url") == self.url and (state.get("validator") or self.wanted.sha256):
            return offset, state.get("validator")
        return 0, None

    def _refusal(self, response: BaseHTTPResponse) -> Exception:
        """What an error status means: come again (in how long), or not at all."""
        if response.status == 416:
            self.part.unlink(missing_ok=True)
            return Again("the server's file is shorter than what was there; starting over")
        reason = f"{(response.reason or 'refused').lower()} ({response.status})"
        if response.status in (408, 425, 429) or response.status >= 500:
            return Again(reason, headers.seconds(response.headers))
        return DataError(f"{self.url}: {reason}", f"{BY_HAND}; omp prepare --list shows other sources")

    def _accept(self, response: BaseHTTPResponse, offset: int) -> int | None:
        """Check the response's head and make the part ready for its body. Returns the file's full length, if told."""
        url, wanted, told = self.url, self.wanted, response.headers
        if told.get("Content-Type", "").lower().startswith("text/html"):
            raise DataError(f"{url}: answers with a web page, not a file", BY_HAND)
        if response.status not in (200, 206):
            raise DataError(f"{url}: answers {response.status} without a file", BY_HAND)
        if (coded := told.get("Content-Encoding", "identity").strip().lower()) != "identity":
            raise DataError(f"{url}: sends the file in another encoding ({coded}) than it was asked for", BY_HAND)
        total = headers.total_of(told)
        if response.status != 206:
            if offset:
                self.progress.note(f"{url}: the server's file is new, or it cannot resume; starting over")
            self.part.unlink(missing_ok=True)
            offset = 0
            total = None if response.chunked else headers.natural(told.get("Content-Length"))
        if total is not None:
            if wanted.size not in (None, total):
                raise DataError(f"{url}: {total} bytes, the catalogue says {wanted.size}", CHANGED)
            if wanted.size is None and total > self.config.largest:
                raise _too_large(url, total, self.config.largest)
            _check_space(wanted.target.parent, total - offset)
        write_json(self.note, {"url": url, "validator": headers.validator(told), "total": total})
        if total is not None:
            name = wanted.target.name
            self.progress.note(f"{name}: {(total - offset) / 1e6:.1f} of {total / 1e6:.1f} MB to fetch")
            self.progress.start(f"{name} (kB)", total // 1000, offset // 1000)
        return total

    def _receive(self, response: BaseHTTPResponse, total: int | None) -> None:
        """Append the body, and flush it to the disk however it ends; DataError when it is longer than expected."""
        limit = next(size for size in (total, self.wanted.size, self.config.largest) if size is not None)
        pace = Pace(self.config.slowest, self.config.timeout, self.deadline)
        have = shown = self.have
        with self.part.open("ab") as file:
            try:
                while brought := block(response, have):
                    file.write(brought)
                    have += len(brought)
                    if have > limit:
                        break
                    if late := pace.check(len(brought)):
                        raise Again(late, fruitless=True)
                    if total is not None and have // 1000 > shown // 1000:
                        self.progress.advance(have // 1000 - shown // 1000)
                        shown = have
            finally:
                file.flush()
                os.fsync(file.fileno())
        if have > limit:
            self.part.unlink()
            raise _too_large(self.url, have, limit)
        if total is not None and have != total:
            raise Again(f"connection closed after {have} of {total} bytes")

    def _finish(self) -> Fetched:
        """Verify the whole part and give it its name; one that is wrong is set aside."""
        url, wanted, size, sha256 = self.url, self.wanted, self.have, sha256_of(self.part)
        wrong = ""
        if wanted.size not in (None, size):
            wrong = f"{size} bytes, the catalogue says {wanted.size}"
        elif wanted.sha256 not in (None, sha256):
            wrong = f"SHA-256 {sha256[:12]}..., the catalogue says {wanted.sha256[:12]}..."
        if wrong:
            aside = _set_aside(self.part, wanted.target)
            raise DataError(f"{url}: {wrong}", f"kept as {aside}; run the line again to download it anew")
        write_json(_beside(wanted.target, ".json"), {"url": url, "sha256": sha256, "bytes": size})
        self.part.replace(wanted.target)
        fsync_tree(wanted.target)
        self.note.unlink(missing_ok=True)
        return Fetched(wanted.target, sha256, url, from_cache=False)


def _record(file: Path) -> dict[str, str]:
    """The text fields of a note beside a file, fit for a header; empty where there is none, or a torn one."""
    with suppress(DataError):
        found = read_json(file, "download record")
        if isinstance(found, dict):
            return {key: value for key, value in found.items() if isinstance(value, str) and value.isprintable()}
    return {}


def _too_large(url: str, found: int, limit: int) -> DataError:
    return DataError(
        f"{url}: at least {found} bytes, and {limit} are expected",
        f"{CHANGED}, or it is no data set; download.largest is for files of unknown size",
    )


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free", str(folder))


def _set_aside(path: Path, target: Path) -> Path:
    aside = _beside(target, ".rejected")
    path.replace(aside)
    return aside


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)
