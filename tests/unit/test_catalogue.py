import os
import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from chalicelib.errors import UnknownModel
from chalicelib.settings import Settings
from pai.local.catalogue import Model, catalogue, find, installed, mark_good, models_folder

CONTENT = b"GGUF and so on"
TINY = Model("tiny", "Tiny", "tiny.gguf", sha256(CONTENT).hexdigest(), len(CONTENT))


class TestRows:
    def test_default_is_the_first(self) -> None:
        assert find("") is find("qwen2.5-coder-1.5b") is catalogue()[0]

    def test_each_name_and_alias_means_one_model(self) -> None:
        names = [name for model in catalogue() for name in (model.name, *model.aliases)]

        assert len(set(names)) == len(names)
        assert [find(name).name for name in names] == [model.name for model in catalogue() for _ in (model, *model.aliases)]

    @pytest.mark.parametrize("model", catalogue(), ids=lambda model: model.name)
    def test_each_row_is_complete_and_its_pieces_make_the_whole(self, model: Model) -> None:
        assert model.title
        assert model.licence
        assert model.context_tokens > 0
        assert all(url.startswith("https://") for url in model.urls)
        assert all(
            re.fullmatch("[0-9a-f]{64}", digest) for digest in (model.sha256, *(wheel.sha256 for wheel in model.wheels))
        )
        assert sum(wheel.size_bytes for wheel in model.wheels) == model.size_bytes

    def test_unknown_name_is_answered_with_those_there_are(self) -> None:
        with pytest.raises(UnknownModel, match=r"gpt-9.*qwen2\.5-coder-1\.5b.*smollm2"):
            find("gpt-9")


class TestFilesOfOnesOwn:
    @pytest.mark.parametrize("name", ["/models/mine.gguf", "mine.gguf", "~/mine.gguf", "./mine"])
    def test_path_is_a_model_named_after_its_file(self, name: str) -> None:
        model = find(name)

        assert model.name == "mine"
        assert Path(model.file).is_absolute()
        assert "~" not in model.file

    def test_file_is_used_where_it_lies_and_is_not_checked(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.gguf"
        path.write_bytes(b"anything")

        assert installed(find(str(path)), tmp_path / "elsewhere") == path

    def test_file_that_is_not_there_is_not_installed(self, tmp_path: Path) -> None:
        assert installed(find(str(tmp_path / "mine.gguf")), tmp_path) is None


class TestFolder:
    def test_setting_names_it(self) -> None:
        assert models_folder(Settings(models_home="/srv/models")) == Path("/srv/models")

    def test_otherwise_it_is_in_the_user_s_cache(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert models_folder(Settings()) == tmp_path / "pai" / "models"

        monkeypatch.setenv("XDG_CACHE_HOME", "")
        monkeypatch.setenv("HOME", "/home/ada")
        assert models_folder(Settings()) == Path("/home/ada/.cache/pai/models")


class TestInstalled:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / TINY.file
        path.write_bytes(CONTENT)
        return path

    def test_whole_file_is_and_from_then_on_it_is_not_read_again(self, path: Path) -> None:
        assert installed(TINY, path.parent) == path

        # Other bytes at the same time of the same size: only reading them would tell.
        at = path.stat().st_mtime_ns
        path.write_bytes(bytes(reversed(CONTENT)))
        os.utime(path, ns=(at, at))
        assert installed(TINY, path.parent) == path

    def test_file_that_changed_since_is_not(self, path: Path) -> None:
        mark_good(TINY, path)
        path.write_bytes(bytes(reversed(CONTENT)))
        os.utime(path, ns=(1, 1))

        assert installed(TINY, path.parent) is None

    def test_half_or_missing_file_is_not(self, path: Path) -> None:
        path.write_bytes(CONTENT[:5])
        assert installed(TINY, path.parent) is None

        path.unlink()
        assert installed(TINY, path.parent) is None

    def test_mark_of_another_version_of_the_model_does_not_count(self, path: Path) -> None:
        mark_good(replace(TINY, sha256="0" * 64), path)

        assert installed(replace(TINY, sha256="1" * 64), path.parent) is None
