"""One machine: what is on the disk, who can read it, and what happens when it is lost, full, shared or half-written."""

import base64
import io
import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib import keyring
from chalicelib.clock import seconds
from chalicelib.errors import CipherUnavailable, FilesUnavailable, Forbidden, JobsUnavailable, KeysUnavailable, SealBroken
from chalicelib.platform import JOBS
from chalicelib.platform.local import LocalPlatform, build
from chalicelib.records import KeyRing
from chalicelib.settings import Settings

ROOT = Path(__file__).parents[2]
KEY = bytes(range(32))
CONTEXT = {"owner": "anna"}
PDF = "application/pdf"
NOW = "2026-01-31T12:00:00.000Z"

# What a process of its own begins with.
PROGRAM = """
import io, os, resource, sys, time
from chalicelib import keyring
from chalicelib.errors import KeyRingChanged, PaiError
from chalicelib.platform import JOBS
from chalicelib.platform.local import build
from chalicelib.records import KeyRing
from chalicelib.settings import Settings
platform = build(Settings(home=sys.argv[1]))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def platform(home: Path) -> LocalPlatform:
    return open_home(home)


def open_home(home: Path) -> LocalPlatform:
    return build(Settings(home=str(home), public_url="http://pai.example:8000/"))


def start(home: Path, program: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PROGRAM + program, str(home)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run(home: Path, program: str) -> str:
    with start(home, program) as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return output


def run_at_once(home: Path, program: str, count: int) -> list[str]:
    """Run the program in so many processes, each held until all of them are ready; return what each printed."""
    processes = [start(home, 'print("ready", flush=True); sys.stdin.read()\n' + program) for _ in range(count)]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.close()
        process.stdin = None
    outputs = [process.communicate(timeout=30)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * count
    return outputs


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


# master key


def test_the_key_file_is_for_the_owner_alone(platform: LocalPlatform, home: Path) -> None:
    platform.cipher.wrap(KEY, CONTEXT)
    assert (mode(home), mode(home / "master.key")) == (0o700, 0o600)
    assert len(bytes.fromhex((home / "master.key").read_text())) == 32


def test_another_process_opens_what_this_one_wrapped(platform: LocalPlatform, home: Path) -> None:
    wrapped = platform.cipher.wrap(KEY, CONTEXT)
    program = f"print(platform.cipher.unwrap(bytes.fromhex('{wrapped.hex()}'), {CONTEXT}).hex())"
    assert run(home, program).strip() == KEY.hex()


def test_processes_that_start_at_once_end_with_one_key(home: Path) -> None:
    for output in run_at_once(home, f"print(platform.cipher.wrap(bytes(32), {CONTEXT}).hex())", 4):
        assert open_home(home).cipher.unwrap(bytes.fromhex(output), CONTEXT) == bytes(32)
    assert sorted(path.name for path in home.iterdir()) == ["master.key", "master.key.made"]


def test_a_lost_key_file_is_never_replaced_by_a_new_key(platform: LocalPlatform, home: Path) -> None:
    wrapped = platform.cipher.wrap(KEY, CONTEXT)
    text = (home / "master.key").read_bytes()
    (home / "master.key").unlink()
    with pytest.raises(SealBroken, match=r"master\.key is gone.*pai restore"):
        _ = open_home(home).cipher
    assert not (home / "master.key").exists()
    (home / "master.key").write_bytes(text)
    assert open_home(home).cipher.unwrap(wrapped, CONTEXT) == KEY


def test_a_first_start_that_was_killed_before_its_mark_goes_on(platform: LocalPlatform, home: Path) -> None:
    wrapped = platform.cipher.wrap(KEY, CONTEXT)
    (home / "master.key.made").unlink()
    assert open_home(home).cipher.unwrap(wrapped, CONTEXT) == KEY
    assert (home / "master.key.made").exists()


@pytest.mark.parametrize("text", [b"", b"\n", b"00" * 31, b"00" * 33, b"zz" * 32, b"\xff" * 32, b"\0" * 64])
def test_a_damaged_key_file_says_to_restore_it(home: Path, text: bytes) -> None:
    home.mkdir()
    (home / "master.key").write_bytes(text)
    with pytest.raises(SealBroken, match=r"damaged.*pai restore"):
        _ = open_home(home).cipher


def test_a_key_file_that_can_not_be_read_is_cipher_unavailable(home: Path) -> None:
    (home / "master.key").mkdir(parents=True)
    with pytest.raises(CipherUnavailable, match="master key"):
        _ = open_home(home).cipher


def test_a_home_that_is_a_file_is_cipher_unavailable(home: Path) -> None:
    home.write_text("not a folder")
    with pytest.raises(CipherUnavailable, match=str(home)):
        _ = open_home(home).cipher


def test_a_key_wrapped_in_another_home_says_to_restore_the_key_file(platform: LocalPlatform, tmp_path: Path) -> None:
    wrapped = open_home(tmp_path / "other").cipher.wrap(KEY, CONTEXT)
    with pytest.raises(SealBroken, match="pai restore"):
        platform.cipher.unwrap(wrapped, CONTEXT)


def test_a_format_that_is_not_known_does_not_open(platform: LocalPlatform) -> None:
    wrapped = platform.cipher.wrap(KEY, CONTEXT)
    with pytest.raises(SealBroken):
        platform.cipher.unwrap(b"\x02" + wrapped[1:], CONTEXT)


# files


def test_files_lie_under_their_keys_for_the_owner_alone(platform: LocalPlatform, home: Path) -> None:
    platform.files.put("documents/anna/ä.pdf", io.BytesIO(b"%PDF"), content_type=PDF)
    path = home / "files" / "documents" / "anna" / "ä.pdf"
    assert path.read_bytes() == b"%PDF"
    assert mode(path) == 0o600
    assert {mode(folder) for folder in path.parents if folder.is_relative_to(home)} == {0o700}


def test_deleting_the_last_file_of_a_folder_removes_the_folder(platform: LocalPlatform, home: Path) -> None:
    platform.files.put("documents/anna/a.pdf", io.BytesIO(b"x"), content_type=PDF)
    platform.files.delete("documents/anna/a.pdf")
    assert list((home / "files").iterdir()) == []


def test_a_file_where_a_folder_is_needed_is_files_unavailable(platform: LocalPlatform) -> None:
    platform.files.put("a", io.BytesIO(b"x"), content_type=PDF)
    with pytest.raises(FilesUnavailable):
        platform.files.put("a/b", io.BytesIO(b"x"), content_type=PDF)


def test_what_a_killed_process_left_half_written_is_removed_a_day_later(platform: LocalPlatform, home: Path) -> None:
    program = """
class Slow(io.BytesIO):
    def read(self, size=-1):
        print("begun", flush=True)
        time.sleep(60)
platform.files.put("a", Slow(), content_type="x/y")
"""
    with start(home, program) as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        process.kill()
    (part,) = (home / "files").iterdir()
    platform.files.put("b", io.BytesIO(b"x"), content_type=PDF)
    assert part.exists()
    day_ago = time.time() - 25 * 3600
    os.utime(part, (day_ago, day_ago))
    platform.files.put("c", io.BytesIO(b"x"), content_type=PDF)
    assert sorted(path.name for path in (home / "files").iterdir()) == ["b", "c"]


FULL_DISK = """
def refuse():
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
def say(act):
    try:
        act()
    except PaiError as error:
        print(error.code, error.retry_after_s, error.message)
"""


def test_a_full_disk_keeps_the_old_file_and_says_so(platform: LocalPlatform, home: Path) -> None:
    platform.files.put("a", io.BytesIO(b"old"), content_type=PDF)
    program = FULL_DISK + "refuse(); say(lambda: platform.files.put('a', io.BytesIO(b'x' * 20_000), content_type='x/y'))"
    output = run(home, program)
    assert output.startswith("FilesUnavailable 60")
    assert "disk is full" in output
    assert [path.name for path in (home / "files").iterdir()] == ["a"]
    assert (home / "files" / "a").read_bytes() == b"old"


def test_a_full_disk_keeps_the_old_key_ring_and_says_so(platform: LocalPlatform, home: Path) -> None:
    platform.keys.save(keyring.add(KeyRing(), keyring.new_key("laptop", "anna", NOW)[0]))
    program = FULL_DISK + (
        "ring = platform.keys.load()\n"
        f"for _ in range(60): ring = keyring.add(ring, keyring.new_key('more', 'anna', '{NOW}')[0])\n"
        "refuse(); say(lambda: platform.keys.save(ring))"
    )
    assert "disk is full" in run(home, program)
    assert len(platform.keys.load().keys) == 1


def test_a_full_disk_on_the_first_start_leaves_no_half_key(home: Path) -> None:
    program = "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n" + FULL_DISK + "say(lambda: platform.cipher)"
    assert "CipherUnavailable" in run(home, program)
    assert list(home.iterdir()) == []
    assert len(open_home(home).cipher.wrap(KEY, CONTEXT)) > 32


# uploads


def token_of(platform: LocalPlatform, *, expires_s: int = 600) -> str:
    upload = platform.files.presign("documents/ä.pdf", content_type=PDF, size_bytes=1234, expires_s=expires_s)
    assert upload.url.startswith("http://pai.example:8000/uploads/")
    assert (upload.method, upload.headers) == ("PUT", {"Content-Type": PDF})
    assert abs(seconds(upload.expires_at) - time.time() - expires_s) < 60
    return upload.url.rpartition("/")[2]


def test_an_upload_address_allows_one_key_type_and_size(platform: LocalPlatform, home: Path) -> None:
    grant = open_home(home).files.verify_upload(token_of(platform))
    assert (grant.key, grant.content_type, grant.size_bytes) == ("documents/ä.pdf", PDF, 1234)


def test_an_upload_address_expires(platform: LocalPlatform) -> None:
    with pytest.raises(Forbidden, match="expired"):
        platform.files.verify_upload(token_of(platform, expires_s=0))


def test_an_upload_address_can_not_be_made_to_allow_more(platform: LocalPlatform) -> None:
    claims, signature = token_of(platform).split(".")
    more = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"size_bytes": 10**9}
    forged = base64.urlsafe_b64encode(json.dumps(more).encode()).decode().rstrip("=")
    with pytest.raises(Forbidden, match="not valid"):
        platform.files.verify_upload(f"{forged}.{signature}")


def test_an_upload_address_of_another_home_is_refused(platform: LocalPlatform, tmp_path: Path) -> None:
    with pytest.raises(Forbidden):
        platform.files.verify_upload(token_of(open_home(tmp_path / "other")))


@pytest.mark.parametrize("token", ["", ".", "x", "a.b", "a.b.c", "🐈.🐈", "=.=", "é" * 40 + ".x", "../.."])
def test_what_is_no_upload_address_is_refused(platform: LocalPlatform, token: str) -> None:
    with pytest.raises(Forbidden, match="not valid"):
        platform.files.verify_upload(token)


# keys


def test_the_key_ring_is_for_the_owner_alone(platform: LocalPlatform, home: Path) -> None:
    platform.keys.save(keyring.add(KeyRing(), keyring.new_key("laptop", "anna", NOW)[0]))
    assert (mode(home), mode(home / "keys.json"), mode(home / "keys.lock")) == (0o700, 0o600, 0o600)


@pytest.mark.parametrize("data", [b"", b"{}", b"not json", b"\xff\xfe", b'{"keys": [{}]}'])
def test_a_damaged_key_ring_is_named_and_not_taken_for_an_empty_one(platform: LocalPlatform, home: Path, data: bytes) -> None:
    home.mkdir()
    (home / "keys.json").write_bytes(data)
    with pytest.raises(KeysUnavailable, match=r"keys\.json.*pai restore"):
        platform.keys.load()


def test_a_key_ring_that_can_not_be_read_is_keys_unavailable(platform: LocalPlatform, home: Path) -> None:
    (home / "keys.json").mkdir(parents=True)
    with pytest.raises(KeysUnavailable, match=r"keys\.json"):
        platform.keys.load()


def test_processes_that_add_keys_at_once_lose_none(platform: LocalPlatform, home: Path) -> None:
    program = f"""
for _ in range(5):
    while True:
        try:
            platform.keys.save(keyring.add(platform.keys.load(), keyring.new_key("laptop", "anna", "{NOW}")[0]))
            break
        except KeyRingChanged:
            pass
"""
    run_at_once(home, program, 3)
    assert len(platform.keys.load().keys) == 15


# jobs


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opens when the jobs that wait for it may go on; opened after the test in any case."""
    event = threading.Event()
    yield event
    event.set()


def test_a_failed_job_is_logged_by_its_class_and_place_and_nothing_it_said(
    platform: LocalPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()

    def fail(payload: object) -> None:
        raise ValueError("what Anna told me")

    JOBS["fails"] = fail
    JOBS["works"] = lambda payload: done.set()
    try:
        with caplog.at_level(logging.ERROR):
            while not caplog.records:
                platform.jobs.start("fails", {"text": "what Anna told me"})
                time.sleep(0.001)
            platform.jobs.start("works", {})
            assert done.wait(timeout=10)
    finally:
        del JOBS["fails"], JOBS["works"]
    facts = vars(caplog.records[0])
    assert (facts["job"], facts["error"]) == ("fails", "ValueError")
    assert Path(__file__).name in facts["place"]
    assert "Anna" not in str(facts)


def test_a_job_that_exits_does_not_take_the_others_with_it(platform: LocalPlatform) -> None:
    ran: queue.Queue[Any] = queue.Queue()
    JOBS["exits"] = lambda payload: sys.exit(1)
    JOBS["works"] = ran.put
    try:
        for _ in range(20):
            platform.jobs.start("exits", {})
        platform.jobs.start("works", {"still": "here"})
        assert ran.get(timeout=10) == {"still": "here"}
    finally:
        del JOBS["exits"], JOBS["works"]


def test_only_so_many_jobs_run_and_wait_at_once(platform: LocalPlatform, gate: threading.Event) -> None:
    running: queue.Queue[str] = queue.Queue()

    def wait(payload: object) -> None:
        running.put(threading.current_thread().name)
        gate.wait(timeout=30)

    JOBS["waits"] = wait
    try:
        for _ in range(64):
            platform.jobs.start("waits", {})
        for _ in range(64):
            running.get(timeout=10)
        for _ in range(1000):
            platform.jobs.start("waits", {})
        with pytest.raises(JobsUnavailable, match="waiting already"):
            platform.jobs.start("waits", {})
        assert running.empty()
        gate.set()
        for _ in range(1000):
            running.get(timeout=10)
    finally:
        del JOBS["waits"]


def test_a_running_job_does_not_keep_the_process_alive(home: Path) -> None:
    program = """
JOBS["sleeps"] = lambda payload: time.sleep(60)
for _ in range(20):
    platform.jobs.start("sleeps", {})
print("end")
"""
    assert run(home, program) == "end\n"
