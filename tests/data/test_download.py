"""Downloads from a server that cuts, lies, forgets and refuses: resumed, verified, one line each, nothing lost."""

import hashlib
import json
import random
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from omp_cli.core.base.errors import DataError, OmpError, RunFailed, UsageError
from omp_cli.core.base.locks import LOCK
from omp_cli.core.base.progress import Silent
from omp_cli.core.data.download import DownloadConfig, Fetched, Wanted, fetch
from tests.conftest import held_by_another
from tests.data.server import Behaviour, serving

CONTENT = random.Random(0).randbytes(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = DownloadConfig(tries=3, wait=0.0, timeout=2.0)


class Notes(Silent):
    """Remembers what the user is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        """Keep."""
        self.lines.append(text)


@pytest.fixture
def how() -> Behaviour:
    return Behaviour(files={"/f.bin": CONTENT})


@pytest.fixture
def base(how: Behaviour) -> Iterator[str]:
    with serving(how) as address:
        yield address


def get(base: str, folder: Path, config: DownloadConfig = QUICK, notes: Notes | None = None, **more: Any) -> Fetched:
    urls = more.pop("urls", (f"{base}/f.bin",))
    return fetch(Wanted(urls, folder / "f.bin", **more), config, notes or Notes())


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_arrives_whole_and_is_not_fetched_twice(base: str, how: Behaviour, tmp_path: Path) -> None:
    first = get(base, tmp_path, size=len(CONTENT), sha256=SHA256)
    assert first == Fetched(tmp_path / "f.bin", SHA256, f"{base}/f.bin", from_cache=False)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT
    assert names(tmp_path) == {"f.bin", "f.bin.json"}
    again = get(base, tmp_path, DownloadConfig(offline=True))
    assert again == Fetched(tmp_path / "f.bin", SHA256, f"{base}/f.bin", from_cache=True)
    assert len(how.asked) == 1


def test_a_cut_connection_is_continued_where_it_broke(base: str, how: Behaviour, tmp_path: Path) -> None:
    how.cut = 300_000
    notes = Notes()
    assert get(base, tmp_path, notes=notes).sha256 == SHA256
    assert how.asked == [None, "bytes=300000-", "bytes=600000-"]
    assert notes.lines[0] == "f.bin: 0.7 of 0.7 MB to fetch"
    assert "connection closed after 300000 of 700000 bytes" in notes.lines[1]
    assert notes.lines[2] == "f.bin: 0.4 of 0.7 MB to fetch"


def test_redirects_keep_the_range(base: str, how: Behaviour, tmp_path: Path) -> None:
    how.cut, how.cuts = 100_000, 1
    assert get(base, tmp_path, urls=(f"{base}/moved/f.bin",)).sha256 == SHA256
    assert how.asked == [None, None, "bytes=100000-", "bytes=100000-"]


def test_a_later_run_continues_what_an_earlier_one_left(base: str, how: Behaviour, tmp_path: Path) -> None:
    how.cut, how.cuts = 250_000, 1
    with pytest.raises(RunFailed, match=r"service unavailable \(503\) \(3 tries\)") as error:
        how_then_broken(how, base, tmp_path)
    assert "again to continue" in error.value.hint
    assert (tmp_path / "f.bin.part").stat().st_size == 250_000
    assert not (tmp_path / "f.bin").exists()
    how.asked.clear()
    how.statuses.clear()
    assert get(base, tmp_path).sha256 == SHA256
    assert how.asked == ["bytes=250000-"]


def how_then_broken(how: Behaviour, base: str, folder: Path) -> None:
    """The first response is cut, then the server is down."""

    class Down(Notes):
        def note(self, text: str) -> None:
            how.statuses[:] = [(503, {})] * 9

    get(base, folder, notes=Down())


@pytest.mark.parametrize("heeds", [True, False])
def test_a_file_that_changed_meanwhile_is_not_mixed_with_the_old_one(
    base: str, how: Behaviour, tmp_path: Path, heeds: bool
) -> None:
    how.cut, how.heeds = 400_000, heeds
    with pytest.raises(RunFailed):
        how_then_broken(how, base, tmp_path)
    how.cut, how.statuses = None, []
    how.files["/f.bin"] = CONTENT[::-1]
    notes = Notes()
    get(base, tmp_path, notes=notes)
    assert (tmp_path / "f.bin").read_bytes() == CONTENT[::-1]
    assert any("starting over" in line for line in notes.lines)


@pytest.mark.parametrize("etag", [True, False])
def test_a_server_without_ranges_starts_over(base: str, how: Behaviour, tmp_path: Path, etag: bool) -> None:
    how.ranges, how.etag, how.cut, how.cuts = False, etag, 300_000, 2
    assert get(base, tmp_path).sha256 == SHA256
    assert len(how.asked) == 3
    assert (how.asked[1] is None) == (not etag), "without a validator nothing proves that the file is the same"


def test_without_a_validator_a_known_hash_allows_to_continue(base: str, how: Behaviour, tmp_path: Path) -> None:
    how.etag, how.cut, how.cuts = False, 300_000, 1
    assert get(base, tmp_path, sha256=SHA256).sha256 == SHA256
    assert how.asked == [None, "bytes=300000-"]


def test_a_length_that_is_too_large_is_corrected_by_asking_for_the_rest(
    base: str, how: Behaviour, tmp_path: Path
) -> None:
    how.stated = 700_001
    assert get(base, tmp_path).sha256 == SHA256
    assert how.asked == [None, "bytes=700000-"], "the second answer is 416 with the true length"


def test_a_run_killed_before_the_last_step_needs_no_byte_more(base: str, how: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "f.bin.part").write_bytes(CONTENT)
    record = {"url": f"{base}/f.bin", "validator": None, "total": len(CONTENT)}
    (tmp_path / "f.bin.part.json").write_text(json.dumps(record))
    assert get(base, tmp_path, sha256=SHA256).sha256 == SHA256
    assert how.asked == ["bytes=700000-"]
    assert names(tmp_path) == {"f.bin", "f.bin.json"}


def test_a_server_that_never_sends_all_it_promises_is_a_network_failure(
    base: str, how: Behaviour, tmp_path: Path
) -> None:
    how.cut, how.ranges = 5_000, False
    with pytest.raises(RunFailed, match=r"closed after 5000 of 700000 bytes \(3 tries\)") as error:
        get(base, tmp_path)
    assert error.value.exit_code == 1
    assert "\n" not in error.value.message
    assert (tmp_path / "f.bin.part").stat().st_size == 5_000


def test_a_content_length_that_is_too_small_is_found_out(base: str, how: Behaviour, tmp_path: Path) -> None:
    how.stated = 600_000
    with pytest.raises(DataError, match="600000 bytes, the catalogue says 700000"):
        get(base, tmp_path, size=len(CONTENT))
    with pytest.raises(DataError, match="SHA-256"):
        get(base, tmp_path, sha256=SHA256)
    assert not (tmp_path / "f.bin").exists()


def test_a_wrong_checksum_is_set_aside_and_the_mirror_asked(base: str, how: Behaviour, tmp_path: Path) -> None:
    how.files["/old.bin"] = b"x" + CONTENT[1:]
    with pytest.raises(DataError, match=r"SHA-256 \w{12}..., the catalogue says") as error:
        get(base, tmp_path, urls=(f"{base}/old.bin",), sha256=SHA256)
    assert error.value.exit_code == 3
    assert names(tmp_path) == {"f.bin.rejected", "f.bin.part.json"}
    found = get(base, tmp_path, urls=(f"{base}/old.bin", f"{base}/f.bin"), sha256=SHA256)
    assert found.url == f"{base}/f.bin"
    assert (tmp_path / "f.bin").read_bytes() == CONTENT


def test_a_part_of_one_address_is_not_continued_from_another(base: str, how: Behaviour, tmp_path: Path) -> None:
    how.files["/other.bin"] = CONTENT
    how.cut, how.cuts = 200_000, 1
    with pytest.raises(RunFailed):
        how_then_broken(how, base, tmp_path)
    how.statuses, how.asked = [], []
    get(base, tmp_path, urls=(f"{base}/other.bin",))
    assert how.asked == [None]


def test_missing_files_are_asked_for_once_then_the_mirror(base: str, how: Behaviour, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.bin: not found \(404\)") as error:
        get(base, tmp_path, urls=(f"{base}/gone.bin",))
    assert "--file" in error.value.hint
    assert len(how.asked) == 1
    assert get(base, tmp_path, urls=(f"{base}/gone.bin", f"{base}/f.bin")).sha256 == SHA256


def test_busy_servers_are_waited_for_as_they_ask(base: str, how: Behaviour, tmp_path: Path) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    how.statuses = [(429, {"Retry-After": "0"}), (503, {"Retry-After": soon})]
    notes, before = Notes(), time.monotonic()
    assert get(base, tmp_path, notes=notes).sha256 == SHA256
    assert time.monotonic() - before > 0.5
    assert "too many requests (429)" in notes.lines[0]
    (tmp_path / "f.bin").unlink()
    how.statuses = [(429, {"Retry-After": "3600"})]
    with pytest.raises(RunFailed, match="asks to wait 3600 s"):
        get(base, tmp_path)


def test_nobody_listening_is_a_network_failure(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(RunFailed, match=r"connection refused \(3 tries\)"):
        get(address, tmp_path)


def test_a_server_without_tls_gets_one_line(base: str, how: Behaviour, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"ssl.*\(3 tries\)") as error:
        get(base.replace("http:", "https:"), tmp_path)
    assert "\n" not in error.value.message
    assert how.asked == []


def test_a_proxy_of_the_environment_is_asked_unless_the_address_is_excepted(
    base: str, how: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://some%40one:secret@{base.removeprefix('http://')}")
    assert get("http://data.invalid", tmp_path).sha256 == SHA256
    assert how.proxied == ["http://data.invalid/f.bin"]
    assert how.proxy_users == ["some@one:secret"]
    monkeypatch.setenv("http_proxy", "127.0.0.1:9")
    with pytest.raises(RunFailed, match=r"proxy.*connection refused \(3 tries\)"):
        get("http://data.invalid", tmp_path / "refused")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert get(base, tmp_path / "straight").sha256 == SHA256
    how.statuses = [(302, {"Location": "http://data.invalid/f.bin"})] * 3
    with pytest.raises(RunFailed, match="proxy"):
        get(base, tmp_path / "on")


def test_redirections_in_a_circle_end(base: str, how: Behaviour, tmp_path: Path) -> None:
    how.statuses = [(302, {"Location": "/f.bin"})] * 99
    with pytest.raises(DataError, match="redirected more than 10 times"):
        get(base, tmp_path)


def test_a_silent_server_is_a_network_failure(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with pytest.raises(RunFailed, match="timed out"):
            get(address, tmp_path, DownloadConfig(tries=1, timeout=0.2))


def test_offline_asks_nobody(base: str, how: Behaviour, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not in the cache"):
        get(base, tmp_path / "new", DownloadConfig(offline=True))
    assert how.asked == []
    assert not (tmp_path / "new").exists()


def test_a_cached_file_that_changed_is_fetched_again(base: str, how: Behaviour, tmp_path: Path) -> None:
    get(base, tmp_path)
    (tmp_path / "f.bin").write_bytes(CONTENT[:-1])
    notes = Notes()
    assert get(base, tmp_path, notes=notes).sha256 == SHA256
    assert "changed since it was downloaded" in notes.lines[0]
    assert (tmp_path / "f.bin.rejected").read_bytes() == CONTENT[:-1]


def test_a_web_page_is_no_data_set(base: str, how: Behaviour, tmp_path: Path) -> None:
    how.kind = "text/html; charset=utf-8"
    with pytest.raises(DataError, match="web page"):
        get(base, tmp_path)


def test_a_torn_record_means_starting_over(base: str, how: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "f.bin.part").write_bytes(b"?" * 1000)
    (tmp_path / "f.bin.part.json").write_text('{"url": ')
    assert get(base, tmp_path).sha256 == SHA256
    assert how.asked == [None]


def test_two_omps_do_not_write_to_one_part(base: str, tmp_path: Path) -> None:
    with held_by_another(tmp_path) as process, pytest.raises(UsageError, match=f"process {process} .*is at work there"):
        get(base, tmp_path)
    assert get(base, tmp_path).sha256 == SHA256
    assert not (tmp_path / LOCK).exists()


def test_other_schemes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only http"):
        get("file:///etc", tmp_path)


def test_without_a_length_only_the_hash_can_tell(base: str, how: Behaviour, tmp_path: Path) -> None:
    how.lengths = False
    assert get(base, tmp_path).sha256 == SHA256
    (tmp_path / "f.bin").unlink()
    how.cut = 1000
    with pytest.raises(DataError, match="SHA-256"):
        get(base, tmp_path, sha256=SHA256)


def test_ctrl_c_keeps_what_has_arrived(base: str, how: Behaviour, tmp_path: Path) -> None:
    class Impatient(Notes):
        def advance(self, units: int = 1, **_: float | str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(base, tmp_path, notes=Impatient())
    kept = (tmp_path / "f.bin.part").stat().st_size
    assert 0 < kept < len(CONTENT)
    assert json.loads((tmp_path / "f.bin.part.json").read_text())["total"] == len(CONTENT)
    assert get(base, tmp_path).sha256 == SHA256
    assert how.asked == [None, f"bytes={kept}-"]


def test_more_than_the_catalogue_says_is_not_taken(base: str, how: Behaviour, tmp_path: Path) -> None:
    how.files["/f.bin"], how.lengths = CONTENT * 40, False
    with pytest.raises(DataError, match="1000 are expected"):
        get(base, tmp_path, size=1000)
    assert not list(tmp_path.glob("*.bin*")) or max(p.stat().st_size for p in tmp_path.glob("*")) < 1_000_000
    assert len(how.asked) == 1


@pytest.mark.parametrize("lengths", [True, False])
def test_a_file_of_unknown_size_has_a_limit(base: str, how: Behaviour, tmp_path: Path, lengths: bool) -> None:
    how.lengths = lengths
    limited = QUICK.model_copy(update={"largest": 699_999})
    with pytest.raises(DataError, match=r"699999 are expected") as error:
        get(base, tmp_path, limited)
    assert "download.largest" in error.value.hint
    assert get(base, tmp_path, QUICK.model_copy(update={"largest": 700_000})).sha256 == SHA256
    assert get(base, tmp_path / "known", limited, size=700_000).sha256 == SHA256


@pytest.mark.parametrize("where", ["drip", "slow_head"])
def test_a_server_that_drips_does_not_hold_for_ever(base: str, how: Behaviour, tmp_path: Path, where: str) -> None:
    setattr(how, where, 0.02)
    before = time.monotonic()
    with pytest.raises(RunFailed, match=r"(too slow|timed out).*\(2 tries\)") as error:
        get(base, tmp_path, DownloadConfig(tries=2, wait=0.0, timeout=0.3))
    assert time.monotonic() - before < 5
    assert error.value.exit_code == 1
    assert "\n" not in error.value.message


def test_a_file_has_a_time_of_its_own(base: str, how: Behaviour, tmp_path: Path) -> None:
    how.drip = 0.02
    with pytest.raises(RunFailed, match=r"not whole after 0.5 s") as error:
        get(base, tmp_path, DownloadConfig(tries=1000, wait=0.0, timeout=0.2, longest=0.5))
    assert "kept" in error.value.hint


ODD: list[tuple[str, bytes]] = [
    ("Content-Length", b"\xb2"),
    ("Content-Length", b"9" * 5000),
    ("Content-Length", b"-5"),
    ("Content-Range", b"bytes \xb2-3/\xb2"),
    ("Content-Type", b";;;=\xff"),
    ("ETag", b"\xff\xfe"),
    ("Last-Modified", b"yesterday"),
]


@pytest.mark.parametrize(("name", "value"), ODD)
def test_odd_heads_do_not_keep_a_file_from_coming(
    base: str, how: Behaviour, tmp_path: Path, name: str, value: bytes
) -> None:
    how.heads, how.lengths = {name: value}, False
    assert get(base, tmp_path, sha256=SHA256).sha256 == SHA256


@pytest.mark.parametrize("value", ["\xb2", "9" * 5000, "-1", "Mon, 99 Foo 99999 99:99:99 GMT", ""])
def test_an_odd_time_to_wait_is_passed_over(base: str, how: Behaviour, tmp_path: Path, value: str) -> None:
    how.statuses = [(503, {"Retry-After": value})]
    assert get(base, tmp_path).sha256 == SHA256


@pytest.mark.parametrize(
    "address", ["http://[::1/a", "http://h\u00f6st..x/", "ftp://127.0.0.1/f", "file:///etc/passwd"]
)
def test_a_redirection_to_no_web_address_is_one_line(base: str, how: Behaviour, tmp_path: Path, address: str) -> None:
    how.statuses = [(302, {"Location": address})] * 9
    with pytest.raises(OmpError) as error:
        get(base, tmp_path)
    assert "\n" not in error.value.message
    assert base in error.value.message
    assert names(tmp_path) == set()


def test_a_file_in_another_encoding_is_refused(base: str, how: Behaviour, tmp_path: Path) -> None:
    how.heads = {"Content-Encoding": b"gzip"}
    with pytest.raises(DataError, match="gzip"):
        get(base, tmp_path)


@pytest.mark.parametrize(
    "record", ["[1]", "5", '{"url": 3}', '{"url": null, "validator": [1]}', '{"validator": "a\\nb"}']
)
def test_an_odd_record_means_starting_over(base: str, how: Behaviour, tmp_path: Path, record: str) -> None:
    (tmp_path / "f.bin.part").write_bytes(b"?" * 1000)
    (tmp_path / "f.bin.part.json").write_text(record)
    assert get(base, tmp_path).sha256 == SHA256
    (tmp_path / "f.bin.json").write_text(record)
    assert get(base, tmp_path).from_cache


def test_a_cache_that_cannot_be_written_is_not_answered_with_another_out(base: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cache folder") as error:
        get(base, tmp_path / "file" / "below")
    assert "OMP_CLI_CACHE" in error.value.hint
