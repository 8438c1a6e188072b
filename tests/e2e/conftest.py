"""Servers for the tests that go through the commands."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.servers import Running, running_server


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start servers: `serve("--devices", "cpu")`."""
    with ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(running_server(tmp_path, *arguments))
