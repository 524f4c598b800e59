"""``natmu doctor``."""


def run() -> None:
    """Check this machine, the installation, the data and the runs."""
