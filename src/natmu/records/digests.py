"""Digests of plain values: they name runs, forget sets and logs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

NUMERICS = "3"
"""Part of every digest; raised whenever a release changes the numbers that a lineage gives."""

Digest = Annotated[str, Field(pattern="^[0-9a-f]+$", max_length=64)]


def digest_of(value: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that name plain values.

    Args:
        value: What JSON can hold.
    """
    text = json.dumps({**value, "numerics": NUMERICS}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
