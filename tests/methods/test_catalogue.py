"""What the command line lists without loading PyTorch is stored beside the code; ``make catalogue`` renews it."""

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import pytest

from natmu.methods import catalogue
from natmu.models import models

LIVE = {
    "methods/catalogue.json": catalogue,
    "models/catalogue.json": lambda: [asdict(model) for model in models()],
}


def _text(name: str) -> str:
    """A catalogue as it is to be stored."""
    return json.dumps(LIVE[name](), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", LIVE)
def test_the_stored_catalogue_is_that_of_the_code(name):
    stored = files("natmu").joinpath(name).read_text(encoding="utf-8")
    assert stored == _text(name), "the code says something else now: run make catalogue"


def main() -> None:
    """Store every catalogue anew."""
    for name in LIVE:
        Path(str(files("natmu").joinpath(name))).write_text(_text(name), encoding="utf-8")


if __name__ == "__main__":
    main()
