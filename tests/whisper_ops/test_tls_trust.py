"""Which authorities a client loads: those of the system cost 20 ms, and a plain address needs none."""

import ssl

import pytest

from whisper_ops import tls_trust
from whisper_ops.snapshot_client.http_client import Access, HttpClient

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "no_proxy", "NO_PROXY")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes each time the system's authorities are loaded."""
    for name in (*PROXIES, tls_trust.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    times: list[str] = []
    make = ssl.create_default_context

    def noted() -> ssl.SSLContext:
        times.append("loaded")
        return make()

    monkeypatch.setattr(ssl, "create_default_context", noted)
    tls_trust._context_with.cache_clear()
    return times


async def test_a_plain_address_loads_no_authorities(loaded: list[str]) -> None:
    await HttpClient("http://asr-1:8000", Access()).close()
    assert loaded == []
    nobody = tls_trust.http_context("http://asr-1:8000")
    assert nobody.get_ca_certs() == []
    assert (nobody.verify_mode, nobody.check_hostname) == (ssl.CERT_REQUIRED, True), "nobody is believed, not everybody"


async def test_tls_and_a_proxy_that_may_speak_it_load_them(loaded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    await HttpClient("https://asr-1:8000", Access()).close()
    assert loaded == ["loaded"]
    tls_trust._context_with.cache_clear()
    monkeypatch.setenv("http_proxy", "https://proxy:3128")
    await HttpClient("http://asr-1:8000", Access()).close()
    assert loaded == ["loaded", "loaded"]
