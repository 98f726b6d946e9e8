"""Entry point of `python -m colondepth`."""

from colondepth.cli import main

main()
