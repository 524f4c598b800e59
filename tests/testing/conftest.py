from __future__ import annotations

from types import SimpleNamespace

import pytest

import warm


@pytest.fixture(scope="session", autouse=True)
def _warm_pair():
    """The two processes of the conformance suite do not have to import PyTorch; that they can is seen in examples."""
    with pytest.MonkeyPatch.context() as patch:
        context = SimpleNamespace(get_context=lambda _: warm.context())
        patch.setattr("natmu.testing.processes.multiprocessing", context)
        yield
