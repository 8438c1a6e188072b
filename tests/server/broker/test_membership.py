"""Members from a list and from DNS names."""

import asyncio
from typing import Any

import pytest

from server.broker.broker_settings import NamedMember
from server.broker.membership import ListedMembers


def test_a_name_that_cannot_be_looked_up_holds_up_no_other_member(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, list[str]] = {"asr.test": ["10.0.0.1", "10.0.0.2", "10.0.0.1"]}

    async def look_up(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        if host not in known:
            raise OSError("no such host")
        return [(0, 0, 0, "", (address, port)) for address in known[host]]

    async def main() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
        members = ListedMembers(
            [
                NamedMember("one", "http://one:8000"),
                NamedMember("all", "https://asr.test", is_dns=True),
                NamedMember("none", "http://none.test:8000", is_dns=True),
                NamedMember("same", "http://10.0.0.9:1"),
            ]
        )
        found = await members.find()
        assert [place.url for place in found] == [
            "http://one:8000", "https://10.0.0.1:443", "https://10.0.0.2:443", "http://10.0.0.9:1",
        ]  # fmt: skip
        assert [place.sni for place in found] == [None, "asr.test", "asr.test", None]
        known.clear()
        assert await members.find() == found, "what it led to before"
        known["none.test"] = ["10.0.0.9"]
        assert "http://10.0.0.9:8000" in [place.url for place in await members.find()]

    asyncio.run(main())
