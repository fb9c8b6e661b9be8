"""`python -m pai` is `pai`."""

from pai.cli import main

main(prog_name="pai")
