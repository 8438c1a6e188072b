"""What the HTTP requests of one address may cost, whatever number of connections they come over."""

from types import SimpleNamespace
from typing import cast

import pytest

from server.front import doors as module
from server.front.budgets import REQUESTS
from server.front.doors import Doors, Guest


def guest(address: str) -> Guest:
    return cast("Guest", SimpleNamespace(address=address))


def test_requests_of_one_address_wait_once_they_are_too_many_and_nobody_else_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("server.front.doors.time.monotonic", lambda: now)
    doors, many, other = Doors(), [guest("10.0.0.1") for _ in range(30)], guest("10.0.0.2")
    rate, at_once = REQUESTS
    for k in range(int(at_once)):
        assert doors.wait(many[k % 30]) == 0
        doors.answered(many[k % 30])
    doors.answered(many[0])
    assert doors.wait(many[7]) == pytest.approx(1 / rate)
    assert doors.wait(other) == 0
    now += 1 / rate
    assert doors.wait(many[7]) == pytest.approx(0, abs=1e-9)
    now += 3600
    assert doors.wait(many[0]) == 0


def test_a_poller_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("server.front.doors.time.monotonic", lambda: now)
    doors, one = Doors(), guest("10.0.0.1")
    for _ in range(5000):
        now += 0.01
        assert doors.wait(one) == 0
        doors.answered(one)


def test_addresses_are_not_remembered_without_end() -> None:
    doors = Doors()
    for k in range(10_000):
        doors.answered(guest(f"10.0.{k // 256}.{k % 256}"))
    assert len(doors._requests) <= module._ADDRESSES
