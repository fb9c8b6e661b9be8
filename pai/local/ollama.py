"""An Ollama on this machine: found, so that it can be offered."""

import httpx


def find(base_url: str = "http://127.0.0.1:11434") -> list[str]:
    """Return the names of the models that an Ollama there has; none when there is no Ollama. Takes at most a moment."""
    try:
        answer = httpx.get(f"{base_url}/api/tags", timeout=0.3).raise_for_status().json()
        return [str(model["name"]) for model in answer["models"]]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return []
