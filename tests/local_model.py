"""The small real model, for tests that run a real engine."""

from pathlib import Path

from chalicelib.settings import read_settings
from pai.local.catalogue import find, installed, models_folder

NAME = "smollm2"
HOW_TO_GET_IT = f"the small model is not on this machine: `pai models fetch {NAME}` (93 MB)"


def small_model_path() -> Path | None:
    """Return the file of the small model; None when it was not fetched yet, and tests with a real engine are to be skipped."""
    return installed(find(NAME), models_folder(read_settings()))
