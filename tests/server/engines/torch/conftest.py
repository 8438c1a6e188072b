"""What tests of the torch engine share."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.server.engines.torch.cuda_double import FakeCuda


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> "FakeCuda":
    """A stand-in for torch.cuda."""
    from tests.server.engines.torch.cuda_double import install  # torch is optional

    return install(monkeypatch)
