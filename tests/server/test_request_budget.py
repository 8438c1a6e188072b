"""What the HTTP requests of one address may cost, whatever number of connections they come over."""

from types import SimpleNamespace
from typing import cast

import pytest

from server.front import connection_limits as module
from server.front.budgets import REQUESTS
from server.front.connection_limits import ConnectionLimits, Slotless


def connection(address: str) -> Slotless:
    return cast("Slotless", SimpleNamespace(address=address))


def test_requests_of_one_address_wait_once_they_are_too_many_and_nobody_else_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr("server.front.connection_limits.time.monotonic", lambda: now)
    limits, many, other = ConnectionLimits(), [connection("10.0.0.1") for _ in range(30)], connection("10.0.0.2")
    rate, at_once = REQUESTS
    for k in range(int(at_once)):
        assert limits.wait(many[k % 30]) == 0
        limits.answered(many[k % 30])
    limits.answered(many[0])
    assert limits.wait(many[7]) == pytest.approx(1 / rate)
    assert limits.wait(other) == 0
    now += 1 / rate
    assert limits.wait(many[7]) == pytest.approx(0, abs=1e-9)
    now += 3600
    assert limits.wait(many[0]) == 0


def test_a_poller_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("server.front.connection_limits.time.monotonic", lambda: now)
    limits, one = ConnectionLimits(), connection("10.0.0.1")
    for _ in range(5000):
        now += 0.01
        assert limits.wait(one) == 0
        limits.answered(one)


def test_addresses_are_not_remembered_without_end() -> None:
    limits = ConnectionLimits()
    for k in range(10_000):
        limits.answered(connection(f"10.0.{k // 256}.{k % 256}"))
    assert len(limits._requests) <= module._ADDRESSES
