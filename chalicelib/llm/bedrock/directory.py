"""What Bedrock offers here, asked once: ListFoundationModels and ListInferenceProfiles of the control plane."""

import threading
from collections.abc import Callable
from typing import Any

from chalicelib.llm.bedrock.failures import AWS_FAILURES, failed
from chalicelib.llm.bedrock.families import Choice, Listing, choose, is_family, listing_of


class Directory:
    """Turns the names of the settings into ids. An id or ARN stands as it is, and asks nobody."""

    def __init__(self, control: Callable[[], Any]) -> None:
        """`control` makes a client of the control plane (`bedrock`); it is called when the first family is resolved."""
        self._control = control
        self._listing: Listing | None = None
        self._choices: dict[str, Choice] = {}
        self._lock = threading.Lock()

    def resolve(self, name: str) -> Choice:
        """Return what to call for a family, an id or an ARN. Raises ModelError."""
        if name not in self._choices:
            self._choices[name] = choose(name, self._listed(name)) if is_family(name) else Choice(name, name)
        return self._choices[name]

    def _listed(self, family: str) -> Listing:
        with self._lock:
            if self._listing is None:
                self._listing = self._ask(family)
            return self._listing

    def _ask(self, family: str) -> Listing:
        client = self._control()
        try:
            pages = client.get_paginator("list_inference_profiles").paginate(typeEquals="SYSTEM_DEFINED")
            profiles = [profile for page in pages for profile in page["inferenceProfileSummaries"]]
            return listing_of(client.list_foundation_models()["modelSummaries"], profiles)
        except AWS_FAILURES as error:
            raise failed(error, family, client.meta.region_name).error from error
