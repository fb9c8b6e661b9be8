"""`pai run`: serve stage local on this machine."""

import click


@click.command(short_help="Serve PAI on this machine.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port to listen on; 0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 lets other machines in.")
@click.option("--model", metavar="MODEL", help="A model of `pai models list`, or the path of a GGUF file.")
def run(port: int, host: str, model: str | None) -> None:
    """Serve PAI on this machine: fetch the model, make the first API key, and answer until Ctrl-C.

    Everything is kept in $PAI_HOME (.pai in this folder if not set). Whatever else the environment sets of PAI_* is used
    instead of what .chalice/config.json says of stage local, such as PAI_LLM=openai with PAI_OPENAI_BASE_URL.
    """
    # Imported here: what a server needs takes a while to load, and `pai run --help` needs none of it.
    from pai.local.run import serve

    serve(host, port, model)
