"""The hooks of the documentation site, which lie beside the pages and in no package."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_SPEC = spec_from_file_location("natmu_docs_hooks", Path(__file__).parents[2] / "docs/hooks.py")
HOOKS = module_from_spec(_SPEC)
_SPEC.loader.exec_module(HOOKS)
