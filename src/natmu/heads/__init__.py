"""Linear heads on features, which samples can be taken out of without the others being read again."""

from __future__ import annotations
