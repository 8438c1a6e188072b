"""Lengths of time, rates, shares and units: written in many ways, read in one."""

import pytest

from whisper_ops.errors import UserError
from whisper_ops.units import amount, kind_of, length, rate, seconds, share, unit_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("90", 90), ("90s", 90), ("1.5 h", 5400), ("6min", 360), ("6 m", 360), ("8h", 28800), ("2 weeks", 1209600),
        ("1h30m", 5400), ("1 d 2 h", 93600), ("350ms", 0.35), (" 10 S ", 10), ("0", 0),
    ],
)  # fmt: skip
def test_a_length_of_time(text: str, value: float) -> None:
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["", "h", "-5s", "1h30", "30m1h", "1h1h", "²", "٣s", "nan", "inf", "1e9", "5 MiB", "1" * 400]
)
def test_no_length_of_time(text: str) -> None:
    assert seconds(text) is None
    with pytest.raises(UserError, match="--hold takes a length of time such as 90s"):
        length(text, "--hold")


@pytest.mark.parametrize(("text", "value"), [("40/min", 40 / 60), ("0.5 per s", 0.5), ("2 / hour", 2 / 3600)])
def test_a_rate(text: str, value: float) -> None:
    assert rate(text, "--peak-arrivals") == pytest.approx(value)


@pytest.mark.parametrize("text", ["40", "40/GB", "40/", "²/s", "-4/s", ""])
def test_no_rate(text: str) -> None:
    with pytest.raises(UserError, match="takes a rate such as 40/min"):
        rate(text, "--peak-arrivals")


@pytest.mark.parametrize("text", ["0", "1", "100%", "5", "-1%", "1 GB", "²%", ""])
def test_no_share(text: str) -> None:
    with pytest.raises(UserError, match=r"takes a share such as 0\.1%"):
        share(text, "--blocking")


def test_units_know_what_they_measure() -> None:
    assert unit_of("MiB") == ("size", 2**20)
    assert unit_of("mW") == ("power", 1e-3)
    assert unit_of("MW") == ("power", 1e6)
    assert unit_of("parsec") is None
    assert kind_of("server.lag_p95_seconds") == "time"
    assert kind_of("host.network_send_bytes_per_second") == "speed"
    assert kind_of("gpu.audio_seconds_per_second") is None
    assert amount("53 GB") == (53, "GB")
    assert amount("53 GB 2") is None
