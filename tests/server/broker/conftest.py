"""Fixtures of the tests with a scripted API server of Kubernetes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.api_server import ApiServer, running_api_server


@pytest_asyncio.fixture
async def api() -> AsyncIterator[ApiServer]:
    async with running_api_server() as server:
        yield server


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("first\n")
    return tmp_path
