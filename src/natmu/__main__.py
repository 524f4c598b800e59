"""``python -m natmu``."""

from natmu.cli import main

main()
