"""The first of two steps: ask `/connect` where to go, past a balancer that holds up WebSocket upgrades."""

from whisper_ops import trust


class NoRoomError(ConnectionError):
    """Every server that `/connect` knows is full."""


async def handed_out(url: str, headers: dict[str, str], seconds: float) -> str:
    """The socket's address that `/connect` at `url` hands out, within `seconds`.

    Raises:
        NoRoomError: there is no room.
        ConnectionError: it answered something else; the message says what.
    """
    import httpx  # noqa: PLC0415  # only this kind of client needs it, and every process pays for imports

    try:
        async with httpx.AsyncClient(headers=headers, timeout=seconds, trust_env=False, verify=trust.context()) as http:
            answer = await http.get(url)
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise NoRoomError("/connect answered HTTP 503: no room")
        if answer.status_code != httpx.codes.OK:
            raise ConnectionError(f"/connect answered HTTP {answer.status_code}")
        return str(answer.json()["ws_url"])
    except httpx.HTTPError as error:
        raise ConnectionError(f"/connect: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConnectionError("/connect answered without a ws_url") from error
