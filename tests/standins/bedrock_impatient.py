"""The product's embedder on Bedrock, but one that does not wait for it: a backend by its dotted path, like any stranger's."""

from chalicelib.embedder.bedrock import BedrockEmbedder
from chalicelib.platform.aws.clients import client
from chalicelib.settings import Settings


def build(settings: Settings) -> BedrockEmbedder:
    runtime = client("bedrock-runtime", retries={"mode": "standard", "total_max_attempts": 1})
    return BedrockEmbedder(settings, runtime, patience_s=0.0)
