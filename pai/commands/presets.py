"""`pai presets`: saved ways to ask."""

from dataclasses import asdict
from typing import Any, TextIO

import click

from pai.commands import json_option, preset_options, read_text
from pai.config import NO_PRESET, Preset, load_config, remove_preset, save_default_preset, save_preset
from pai.terminal.screen import print_json, print_note, print_table, print_text


@click.group()
def presets() -> None:
    """Keep named system prompts, each with its model and limits.

    `pai ask --preset NAME`, `pai chat --preset NAME` and /preset NAME use one; the default one holds where none is named.
    They stand in config.toml (`pai use` says where), which you may edit.

    \b
    Examples:
      pai presets set brief --system "Answer in one sentence."
      pai presets default brief
    """


@presets.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the presets; * marks the default one."""
    config = load_config()
    if as_json:
        print_json(
            {"default": config.default_preset, "items": [_shown(name, preset) for name, preset in config.presets.items()]}
        )
        return
    marks = {config.default_preset: "*"}
    print_table(
        ("", "name", "system prompt"), [(marks.get(name, ""), name, preset.system) for name, preset in config.presets.items()]
    )


@presets.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Print what a preset says."""
    shown = _shown(name, load_config().preset(name))
    if as_json:
        print_json(shown)
        return
    for key, value in shown.items():
        if value not in (None, ""):
            print_text(f"{key}: {value}")


@presets.command("set")
@click.argument("name")
@preset_options
@click.option(
    "--system-file", type=click.File(encoding="utf-8"), help="Read the system prompt from this file, or from stdin with -."
)
@json_option
def set_(name: str, system: str | None, system_file: TextIO | None, as_json: bool, **limits: Any) -> None:
    """Save a preset, in place of an older one of this name."""
    if system_file and system is not None:
        raise click.UsageError("--system and --system-file are two answers to one question.")
    preset = Preset(system=read_text(system_file).strip() if system_file else system or "", **limits)
    if preset == Preset():
        raise click.UsageError("A preset must say something: give --system, --model, --max-tokens or --temperature.")
    save_preset(name, preset)
    print_note(f"Saved {name}; `pai presets default {name}` makes it the one that holds where none is named.")
    if as_json:
        print_json(_shown(name, preset))


@presets.command()
@click.argument("name")
def rm(name: str) -> None:
    """Delete a preset."""
    remove_preset(name)
    print_note(f"Deleted {name}.")


@presets.command()
@click.argument("name")
def default(name: str) -> None:
    """Say which preset holds where none is named; "none" for no preset."""
    save_default_preset(name)
    print_note("There is no default preset now." if name == NO_PRESET else f"{name} now holds where no preset is named.")


def _shown(name: str, preset: Preset) -> dict[str, Any]:
    return {"name": name, **asdict(preset)}
