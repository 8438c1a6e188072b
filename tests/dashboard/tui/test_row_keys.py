"""Keys of rows: what is written on a row is what is read when it is opened."""

import pytest

from dashboard.tui.pages.row_keys import (
    RowTarget,
    alert_key,
    gpu_key,
    member_key,
    row_target,
    server_key,
)
from tests.dashboard.scenes import ALERTS


@pytest.mark.parametrize(
    ("key", "target"),
    [
        (server_key("asr-1:8000"), RowTarget("asr-1:8000")),
        (gpu_key("asr-1", 3), RowTarget("asr-1", gpu_id=3)),
        (member_key("broker-1", "asr-2"), RowTarget("broker-1", member="asr-2")),
        *((alert_key(alert), RowTarget(alert.server)) for alert in ALERTS),
        ("event 3 1795269807.0", None),
        (None, None),
    ],
)
def test_a_key_names_what_its_row_is_about(key: str | None, target: RowTarget | None) -> None:
    assert row_target(key) == target
