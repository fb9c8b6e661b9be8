"""What is saved between two commands: addresses, keys, presets."""

import json
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pai import config
from pai.config import Config, ConfigError, Preset

KEY = "pai_0123456789"
CLOUD = "https://x.amazonaws.com/api"
HERE = "http://127.0.0.1:8000"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings' folder and home of this test, both not there yet."""
    monkeypatch.setenv("PAI_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.setenv("PAI_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PAI_API_KEY", raising=False)
    return tmp_path / "settings"


def home_file(name: str, content: str) -> None:
    path = Path(os.environ["PAI_HOME"]) / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_with_nothing_saved_it_is_this_machine_without_a_key() -> None:
    assert config.load_config() == Config()
    assert config.resolve_address(None) == HERE
    assert config.find_key(HERE) is None


def test_the_given_address_comes_before_the_saved_one() -> None:
    config.save_address(CLOUD)
    assert config.resolve_address(None) == CLOUD
    assert config.resolve_address("http://127.0.0.1:9000/") == "http://127.0.0.1:9000"


def test_a_server_that_runs_here_on_another_port_is_found() -> None:
    home_file("server.json", json.dumps({"pid": 1, "url": "http://127.0.0.1:8123"}))
    assert config.resolve_address(None) == "http://127.0.0.1:8123"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"url": 5}', '{"pid": 1}'])
def test_a_half_written_word_of_a_server_is_passed_over(content: str) -> None:
    home_file("server.json", content)
    assert config.resolve_address(None) == HERE


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("localhost:8000", "http://localhost:8000"),
        ("127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("x.amazonaws.com/api", CLOUD),
        ("https://X.amazonaws.com/api//", CLOUD),
        (" https://x.amazonaws.com/api ", CLOUD),
    ],
)
def test_an_address_has_one_form(given: str, address: str) -> None:
    assert config.normalise_address(given) == address


@pytest.mark.parametrize(
    "given",
    [
        "",
        "http://",
        "ftp://x",
        "http://u:p@x",
        "http://x:port",
        "http://x:99999",
        "http://x y",
        "http://x?a",
        "http://x#a",
        "http://[x",
    ],
)
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="is not an address"):
        config.normalise_address(given)


def test_a_key_is_for_its_own_address_only() -> None:
    config.save_key(CLOUD, KEY)
    found = config.find_key(CLOUD)
    assert found is not None
    assert found.text == KEY
    assert config.find_key("https://y.amazonaws.com/api") is None


def test_the_key_of_this_machine_never_goes_to_another_one() -> None:
    home_file("api-key", f"{KEY}\n")
    found = config.find_key("http://localhost:8000")
    assert found is not None
    assert found.text == KEY
    assert config.find_key(CLOUD) is None
    assert config.find_key("http://127.0.0.1.example.com") is None


def test_a_saved_key_comes_before_the_home_and_the_environment_before_both(monkeypatch: pytest.MonkeyPatch) -> None:
    home_file("api-key", "pai_of_the_home")
    config.save_key(HERE, "pai_that_is_saved")
    saved = config.find_key(HERE)
    monkeypatch.setenv("PAI_API_KEY", "pai_of_the_environment")
    given = config.find_key(HERE)
    assert (saved and saved.text, given and given.text) == ("pai_that_is_saved", "pai_of_the_environment")


def test_a_found_key_does_not_show_itself() -> None:
    config.save_key(HERE, KEY)
    assert KEY not in repr(config.find_key(HERE))


@pytest.mark.parametrize("text", ["", "  ", "short", "two words here", "schlüssel1", "x" * 513, "line\nline1"])
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.check_key(text)
    assert not text.strip() or text not in caught.value.message


def test_only_the_owner_can_read_what_is_saved(folder: Path) -> None:
    config.save_key(HERE, KEY)
    config.save_address(HERE)
    assert mode(folder) == 0o700
    assert {path.name: mode(path) for path in folder.iterdir() if path.is_file()}.items() >= {
        ("keys.toml", 0o600),
        ("config.toml", 0o600),
    }


def test_a_file_that_others_could_read_is_closed_by_the_next_change(folder: Path) -> None:
    folder.mkdir()
    (folder / "keys.toml").write_text("")
    (folder / "keys.toml").chmod(0o644)
    config.save_key(HERE, KEY)
    assert mode(folder / "keys.toml") == 0o600


def test_forgetting_takes_address_and_key() -> None:
    config.save_key(CLOUD, KEY)
    config.save_address(CLOUD)
    assert config.forget_address(CLOUD)
    assert config.find_key(CLOUD) is None
    assert config.resolve_address(None) == HERE
    assert not config.forget_address(CLOUD)


def test_comments_and_entries_of_newer_versions_survive_a_change(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.toml").write_text('# mine\nnewer = 1\n\n[presets.a]\nsystem = "A" # why\n')
    config.save_preset("b", Preset(system="B"))
    config.save_address(CLOUD)
    text = (folder / "config.toml").read_text()
    assert "# mine" in text
    assert "# why" in text
    assert "newer = 1" in text
    assert config.load_config() == Config(address=CLOUD, presets={"a": Preset(system="A"), "b": Preset(system="B")})


def test_a_preset_is_saved_and_read_as_it_was() -> None:
    preset = Preset(system='Say "ja"\nund 日本', model="m", max_tokens=5, temperature=0.0)
    config.save_preset("p", preset)
    assert config.load_config().preset("p") == preset


def test_the_default_preset_holds_where_none_is_named() -> None:
    config.save_preset("p", Preset(system="P"))
    config.save_default_preset("p")
    saved = config.load_config()
    assert saved.preset(None) == Preset(system="P")
    assert saved.preset("none") == Preset()


@pytest.mark.parametrize("end", [lambda: config.remove_preset("p"), lambda: config.save_default_preset("none")])
def test_a_default_preset_can_end(end: object) -> None:
    config.save_preset("p", Preset(system="P"))
    config.save_default_preset("p")
    assert callable(end)
    end()
    assert config.load_config().preset(None) == Preset()


@pytest.mark.parametrize(
    "use", [config.remove_preset, config.save_default_preset, lambda name: config.load_config().preset(name)]
)
def test_a_preset_that_is_not_there_is_named(use: object) -> None:
    assert callable(use)
    with pytest.raises(ConfigError, match="no preset 'p'"):
        use("p")


@pytest.mark.parametrize("name", ["", "none", "a b", "a\nb", "x" * 65])
def test_a_name_that_could_not_be_used_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="can't name a preset"):
        config.save_preset(name, Preset(system="x"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("address = ", "is not TOML"),
        ("address = 5", "address must be a text"),
        ("history = 1", "history must be true or false"),
        ("presets = 1", "presets must be a table"),
        ("presets.a = 1", "presets.a must be a table"),
        ('presets.a.max_tokens = "9"', "presets.a.max_tokens must be a number"),
        ("presets.a.max_tokens = true", "presets.a.max_tokens must be a number"),
        ("presets.a.max_tokens = 1.5", "presets.a.max_tokens must be a number"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_place(folder: Path, text: str, words: str) -> None:
    folder.mkdir()
    (folder / "config.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load_config()
    assert str(folder / "config.toml") in caught.value.message
    assert words in caught.value.message


def test_a_file_that_is_no_text_is_named(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        config.load_config()


def test_a_broken_file_is_not_overwritten(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.toml").write_text("address = ")
    with pytest.raises(ConfigError, match="is not TOML"):
        config.save_address(HERE)
    assert (folder / "config.toml").read_text() == "address = "


def test_changes_at_the_same_time_are_all_kept() -> None:
    names = [f"p{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: config.save_preset(name, Preset(system=name)), names))
    assert sorted(config.load_config().presets) == sorted(names)


def test_a_link_to_the_file_stays_a_link(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    (folder / "config.toml").symlink_to(tmp_path / "dotfiles.toml")
    config.save_address(CLOUD)
    assert (folder / "config.toml").is_symlink()
    assert CLOUD in (tmp_path / "dotfiles.toml").read_text()


def test_a_full_disk_leaves_the_old_settings_and_nothing_half_written(folder: Path) -> None:
    config.save_address(CLOUD)
    before = sorted(folder.iterdir())
    full = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60, 60))\n"
        "from pai.config import *; save_preset('p', Preset(system='x' * 100))"
    )
    outcome = subprocess.run([sys.executable, "-c", full], capture_output=True, text=True, check=False)
    assert "can't be written" in outcome.stderr
    assert config.load_config() == Config(address=CLOUD)
    assert sorted(folder.iterdir()) == before
