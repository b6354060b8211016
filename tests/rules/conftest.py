from __future__ import annotations

import pytest

from lsnn_gym.engine.native.library import load


@pytest.fixture(params=[0, 1, 2], ids=["any processor", "AVX2", "AVX-512"])
def isa(request: pytest.FixtureRequest):
    """Kernels for a lesser processor than this one, too."""
    library, _ = load()
    assert library is not None
    if library.choose_isa(request.param) != request.param:
        pytest.skip("this processor lacks that")
    yield request.param
    library.choose_isa(-1)
