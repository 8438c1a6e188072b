"""What every test starts with."""

import os
import signal

import pytest

# Tests run beside each other, which a sweep would rightly take for other programs on the server's machine.
os.environ.setdefault("WHISPER_OPS_MAX_OTHER_LOAD", "100")

# A shell's background job (`make test &`) ignores Ctrl-C, and so would every command that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _shares_a_fixture(test: pytest.Function, module: str) -> bool:
    fixtures = (fixture for found in test._fixtureinfo.name2fixturedefs.values() for fixture in found)
    return any(fixture.scope == "module" and fixture.baseid == module for fixture in fixtures)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share a fixture of their module run in one worker: each further one would make it once more."""
    for item in items:
        module = item.nodeid.partition("::")[0]
        if isinstance(item, pytest.Function) and _shares_a_fixture(item, module):
            item.add_marker(pytest.mark.xdist_group(module))
