"""``python -m natmu``."""

from natmu.cli import main

if __name__ == "__main__":
    main()
