"""What every platform must do. A backend of one's own passes it too: subclass PlatformContract, give it a `platform`."""

import hashlib
import io
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, BinaryIO

import pytest

from chalicelib import keyring
from chalicelib.clock import seconds
from chalicelib.errors import BadRequest, FileNotFound, JobsUnavailable, KeyRingChanged, SealBroken, TooLarge
from chalicelib.platform import JOBS, Platform
from chalicelib.records import ApiKey, KeyRing

KEY = bytes(range(32))
CONTEXT = {"deployment": "pai", "owner": "anna"}
NOW = "2026-01-31T12:00:00.000Z"
PDF = "application/pdf"

OTHER_CONTEXTS: tuple[dict[str, str], ...] = (
    {},
    {"deployment": "pai"},
    CONTEXT | {"owner": "ben"},
    CONTEXT | {"x": "y"},
    {"deployment": "anna", "owner": "pai"},
)

BAD_KEYS = (
    "",
    "/etc/passwd",
    "../outside",
    "a/../../outside",
    "a/./b",
    "a//b",
    "a/",
    "a\0b",
    "a\nb",
    "..\\outside",
    "\ud800",
    "a" * 256,
    "ä/" * 400 + "z",
    "documents/${filename}",
)


def api_key(owner: str = "anna") -> ApiKey:
    return keyring.new_key("laptop", owner, NOW)[0]


class PlatformContract:
    @pytest.fixture
    def platform(self) -> Platform:
        raise NotImplementedError("Return an empty platform.")

    @pytest.fixture
    def job(self) -> Iterator["queue.Queue[Any]"]:
        """The payloads that the job `contract` was run with."""
        ran: queue.Queue[Any] = queue.Queue()
        JOBS["contract"] = ran.put
        yield ran
        del JOBS["contract"]

    # cipher

    def test_a_wrapped_key_opens_under_the_context_it_was_wrapped_under(self, platform: Platform) -> None:
        wrapped = platform.cipher.wrap(KEY, CONTEXT)
        assert platform.cipher.unwrap(wrapped, CONTEXT) == KEY

    def test_the_order_of_a_context_does_not_matter(self, platform: Platform) -> None:
        wrapped = platform.cipher.wrap(KEY, CONTEXT)
        assert platform.cipher.unwrap(wrapped, dict(reversed(CONTEXT.items()))) == KEY

    def test_a_context_may_hold_any_text(self, platform: Platform) -> None:
        context = {"owner": 'ä "quoted" \n 🗝 name'}
        assert platform.cipher.unwrap(platform.cipher.wrap(KEY, context), context) == KEY

    def test_a_wrapped_key_does_not_hold_the_key(self, platform: Platform) -> None:
        assert KEY not in platform.cipher.wrap(KEY, CONTEXT)

    def test_wrapping_twice_gives_different_bytes(self, platform: Platform) -> None:
        assert platform.cipher.wrap(KEY, CONTEXT) != platform.cipher.wrap(KEY, CONTEXT)

    def test_another_context_does_not_open_a_key(self, platform: Platform, subtests: pytest.Subtests) -> None:
        wrapped = platform.cipher.wrap(KEY, CONTEXT)
        for other in OTHER_CONTEXTS:
            with subtests.test(context=other), pytest.raises(SealBroken, match="does not open"):
                platform.cipher.unwrap(wrapped, other)

    def test_changed_bytes_do_not_open(self, platform: Platform) -> None:
        wrapped = platform.cipher.wrap(KEY, CONTEXT)
        for place in (len(wrapped) // 2, len(wrapped) - 1):
            tampered = bytearray(wrapped)
            tampered[place] ^= 1
            with pytest.raises(SealBroken):
                platform.cipher.unwrap(bytes(tampered), CONTEXT)

    def test_bytes_cut_off_do_not_open(self, platform: Platform, subtests: pytest.Subtests) -> None:
        wrapped = platform.cipher.wrap(KEY, CONTEXT)
        for rest in (0, 1, 12, 13, 28, 60):
            with subtests.test(bytes=rest), pytest.raises(SealBroken):
                platform.cipher.unwrap(wrapped[:rest], CONTEXT)

    def test_what_was_never_wrapped_does_not_open(self, platform: Platform) -> None:
        with pytest.raises(SealBroken):
            platform.cipher.unwrap(b"x" * 10_000, CONTEXT)

    # files

    def test_a_file_comes_back_as_it_was_put(self, platform: Platform) -> None:
        platform.files.put("documents/a.pdf", io.BytesIO(b"%PDF"), content_type=PDF)
        assert read(platform, "documents/a.pdf") == b"%PDF"

    def test_a_file_may_be_empty(self, platform: Platform) -> None:
        platform.files.put("documents/a.pdf", io.BytesIO(), content_type=PDF)
        assert read(platform, "documents/a.pdf") == b""

    def test_a_key_may_be_any_path(self, platform: Platform, subtests: pytest.Subtests) -> None:
        for key in ("a", "Mietvertrag für 2023 – Kopie.pdf", "文書/契約 🐈.pdf", "a+b%2F&c=d?e#f", "x" * 255):
            with subtests.test(key=key):
                platform.files.put(key, io.BytesIO(b"here"), content_type=PDF)
                assert read(platform, key) == b"here"
                assert platform.files.delete(key) == 1

    def test_a_key_that_leaves_the_files_is_refused(self, platform: Platform, subtests: pytest.Subtests) -> None:
        files = platform.files
        for key in BAD_KEYS:
            with subtests.test("put", key=key), pytest.raises(BadRequest, match="key"):
                files.put(key, io.BytesIO(b"x"), content_type=PDF)
            with subtests.test("open", key=key), pytest.raises(BadRequest, match="key"):
                files.open(key)
            with subtests.test("delete", key=key), pytest.raises(BadRequest, match="key"):
                files.delete(key)
            with subtests.test("presign", key=key), pytest.raises(BadRequest, match="key"):
                files.presign(key, content_type=PDF, size_bytes=1, expires_s=60)

    def test_putting_twice_keeps_the_newer_file(self, platform: Platform) -> None:
        platform.files.put("a", io.BytesIO(b"old and longer"), content_type=PDF)
        platform.files.put("a", io.BytesIO(b"new"), content_type=PDF)
        assert read(platform, "a") == b"new"

    def test_a_big_file_is_read_piece_by_piece(self, platform: Platform) -> None:
        platform.files.put("big", Stream(20_000_000), content_type=PDF)
        assert digest_of(platform.files.open("big")) == digest_of(Stream(20_000_000))

    def test_a_file_can_be_closed_before_its_end(self, platform: Platform) -> None:
        platform.files.put("big", Stream(1_000_000), content_type=PDF)
        with platform.files.open("big") as file:
            assert len(file.read(10)) == 10
        assert read(platform, "big") == Stream(1_000_000).read()

    def test_a_reader_sees_the_old_file_or_the_new_one(self, platform: Platform) -> None:
        contents = [bytes([number]) * 200_000 for number in range(4)]
        platform.files.put("a", io.BytesIO(contents[0]), content_type=PDF)
        with ThreadPoolExecutor(4) as pool:
            for content in contents:
                pool.submit(platform.files.put, "a", io.BytesIO(content), content_type=PDF)
            seen = [read(platform, "a") for _ in range(10)]
        assert set(seen) <= set(contents)

    def test_a_stream_that_breaks_leaves_the_old_file(self, platform: Platform) -> None:
        platform.files.put("a", io.BytesIO(b"old"), content_type=PDF)
        with pytest.raises(ZeroDivisionError):
            platform.files.put("a", Breaking(200_000), content_type=PDF)
        assert read(platform, "a") == b"old"

    def test_a_file_that_is_not_there_is_file_not_found(self, platform: Platform, subtests: pytest.Subtests) -> None:
        platform.files.put("b", io.BytesIO(b"x"), content_type=PDF)
        for key in ("a", "a/b/c", "b/c"):
            with subtests.test(key=key), pytest.raises(FileNotFound):
                platform.files.open(key)

    def test_a_prefix_of_a_key_is_not_a_file(self, platform: Platform) -> None:
        platform.files.put("a/b.pdf", io.BytesIO(b"x"), content_type=PDF)
        with pytest.raises(FileNotFound):
            platform.files.open("a")
        assert platform.files.delete("a") == 0

    def test_a_deleted_file_is_gone(self, platform: Platform) -> None:
        platform.files.put("a/b", io.BytesIO(b"x"), content_type=PDF)
        assert platform.files.delete("a/b") >= 1
        with pytest.raises(FileNotFound):
            platform.files.open("a/b")

    def test_deleting_twice_finds_nothing_the_second_time(self, platform: Platform) -> None:
        platform.files.put("a", io.BytesIO(b"x"), content_type=PDF)
        platform.files.delete("a")
        assert platform.files.delete("a") == 0

    def test_deleting_one_file_leaves_its_neighbours(self, platform: Platform) -> None:
        for key in ("d/a", "d/a.pdf", "d/b"):
            platform.files.put(key, io.BytesIO(b"x"), content_type=PDF)
        platform.files.delete("d/a")
        assert read(platform, "d/a.pdf") == read(platform, "d/b") == b"x"

    def test_files_come_and_go_in_one_folder_at_once(self, platform: Platform) -> None:
        def come_and_go(number: int) -> int:
            platform.files.put(f"d/e/{number}", io.BytesIO(b"x"), content_type=PDF)
            return platform.files.delete(f"d/e/{number}")

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(come_and_go, range(24))) == [1] * 24

    def test_an_upload_says_where_how_and_until_when(self, platform: Platform) -> None:
        upload = platform.files.presign("documents/a.pdf", content_type=PDF, size_bytes=1000, expires_s=600)
        again = platform.files.presign("documents/a.pdf", content_type=PDF, size_bytes=1000, expires_s=1200)
        assert upload.url.startswith("http")
        assert upload.method in ("PUT", "POST")
        assert PDF in {**upload.fields, **upload.headers}.values()
        assert 598 <= seconds(again.expires_at) - seconds(upload.expires_at) <= 660

    # keys

    def test_a_new_deployment_has_no_keys(self, platform: Platform) -> None:
        assert platform.keys.load() == KeyRing()

    def test_a_saved_ring_is_there_the_next_time(self, platform: Platform) -> None:
        ring = keyring.add(KeyRing(), api_key())
        platform.keys.save(ring)
        assert platform.keys.load().keys == ring.keys

    def test_a_ring_is_changed_step_by_step(self, platform: Platform) -> None:
        first, second = api_key("anna"), api_key("ben")
        platform.keys.save(keyring.add(platform.keys.load(), first))
        platform.keys.save(keyring.add(platform.keys.load(), second))
        platform.keys.save(keyring.disable(platform.keys.load(), first.id))
        assert platform.keys.load().keys == (replace(first, disabled=True), second)

    def test_a_ring_read_before_another_change_is_refused(self, platform: Platform) -> None:
        platform.keys.save(keyring.add(KeyRing(), api_key("anna")))
        stale = platform.keys.load()
        platform.keys.save(keyring.add(stale, api_key("ben")))
        with pytest.raises(KeyRingChanged):
            platform.keys.save(keyring.add(stale, api_key("eve")))
        assert [key.owner for key in platform.keys.load().keys] == ["anna", "ben"]

    def test_the_first_ring_does_not_replace_one_that_came_before(self, platform: Platform) -> None:
        platform.keys.save(keyring.add(KeyRing(), api_key("anna")))
        with pytest.raises(KeyRingChanged):
            platform.keys.save(keyring.add(KeyRing(), api_key("eve")))
        assert [key.owner for key in platform.keys.load().keys] == ["anna"]

    def test_a_ring_of_a_version_that_never_was_is_refused(self, platform: Platform) -> None:
        with pytest.raises(KeyRingChanged):
            platform.keys.save(KeyRing((api_key(),), "5f4dcc3b5aa765d61d8327deb882cf99"))
        assert platform.keys.load() == KeyRing()

    @pytest.mark.parametrize("start", [(), ("anna",)], ids=["first", "later"])
    def test_of_two_who_save_at_once_exactly_one_wins(self, platform: Platform, start: tuple[str, ...]) -> None:
        if start:
            platform.keys.save(keyring.add(KeyRing(), api_key(*start)))
        ring, savers = platform.keys.load(), ("ben", "cleo", "dan")
        barrier = threading.Barrier(len(savers))

        def save(owner: str) -> str | None:
            changed = keyring.add(ring, api_key(owner))
            barrier.wait(timeout=10)
            try:
                platform.keys.save(changed)
            except KeyRingChanged:
                return None
            return owner

        with ThreadPoolExecutor(len(savers)) as pool:
            winners = [owner for owner in pool.map(save, savers) if owner]
        assert len(winners) == 1
        assert [key.owner for key in platform.keys.load().keys] == [*start, *winners]

    # jobs

    def test_a_started_job_runs_with_its_payload(self, platform: Platform, job: "queue.Queue[Any]") -> None:
        payload = {"turn": "t1", "deep": {"list": [1, 2.5, None, "ä 🐈"]}}
        platform.jobs.start("contract", payload)
        assert job.get(timeout=10) == payload

    def test_a_job_goes_on_after_start_has_returned(self, platform: Platform) -> None:
        go_on, done = threading.Event(), threading.Event()

        def wait(payload: object) -> None:
            if go_on.wait(timeout=10):
                done.set()

        JOBS["contract"] = wait
        try:
            platform.jobs.start("contract", {})
            go_on.set()
            assert done.wait(timeout=10)
        finally:
            del JOBS["contract"]

    def test_a_payload_changed_after_start_is_not_changed_for_the_job(
        self, platform: Platform, job: "queue.Queue[Any]"
    ) -> None:
        payload: dict[str, object] = {"list": [1]}
        platform.jobs.start("contract", payload)
        payload["list"] = "changed"
        assert job.get(timeout=10) == {"list": [1]}

    def test_a_job_that_nobody_has_is_refused(self, platform: Platform) -> None:
        with pytest.raises(JobsUnavailable, match="nothing-like-it"):
            platform.jobs.start("nothing-like-it", {})

    def test_a_payload_that_is_too_big_is_refused(self, platform: Platform, job: "queue.Queue[Any]") -> None:
        with pytest.raises(TooLarge, match="payload"):
            platform.jobs.start("contract", {"text": "x" * 256 * 1024})
        assert job.empty()

    def test_a_payload_that_is_not_json_is_a_defect_of_the_caller(
        self, platform: Platform, job: "queue.Queue[Any]", subtests: pytest.Subtests
    ) -> None:
        for value in (b"bytes", {1, 2}, float("nan"), object()):
            with subtests.test(value=value), pytest.raises((TypeError, ValueError)):
                platform.jobs.start("contract", {"value": value})
        assert job.empty()

    def test_a_job_that_fails_does_not_stop_the_next(self, platform: Platform, job: "queue.Queue[Any]") -> None:
        JOBS["contract-fails"] = lambda payload: 1 / 0
        try:
            for _ in range(20):
                platform.jobs.start("contract-fails", {})
            platform.jobs.start("contract", {"still": "here"})
            assert job.get(timeout=10) == {"still": "here"}
        finally:
            del JOBS["contract-fails"]


BLOCK = b"".join(number.to_bytes(4) for number in range(16_381))


class Stream(io.RawIOBase, BinaryIO):
    """So many bytes that differ from place to place, from a source that can't be rewound."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        start = self._place % len(BLOCK)
        piece = BLOCK[start : start + min(len(buffer), self._size - self._place)]
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)


class Breaking(Stream):
    """A source that fails half-way."""

    def readinto(self, buffer: Any) -> int:
        if self._place > self._size // 2:
            raise ZeroDivisionError
        return super().readinto(buffer)


def read(platform: Platform, key: str) -> bytes:
    with platform.files.open(key) as file:
        return file.read()


def digest_of(stream: BinaryIO) -> str:
    with stream:
        whole = hashlib.sha256()
        while piece := stream.read(65_536):
            whole.update(piece)
        return whole.hexdigest()
