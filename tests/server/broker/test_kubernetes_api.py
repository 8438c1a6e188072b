"""The client of the API server: its token, its authority, its refusals."""

import logging
import ssl
from pathlib import Path

import pytest
import trustme

from server.broker.kubernetes_api import KubernetesError
from tests.server.broker_kubernetes import FollowedMembers, source
from tests.support.api_server import ApiServer, running_api_server, status


async def test_the_token_is_read_anew_since_it_rotates(api: ApiServer, account: Path) -> None:
    api.put("asr-a", ["asr-1=10.0.0.1"])
    async with FollowedMembers(source(api, account)) as fleet:
        await fleet.until(lambda: len(api.watches) == 1)
        api.token = "second"
        (account / "token").write_text("second")
        api.end_watches()
        await fleet.until(lambda: len(api.watches) == 2)
        api.put("asr-a", ["asr-2=10.0.0.2"])
        await fleet.until(lambda: fleet.names == ["asr-2"])
        assert not fleet.errors


@pytest.mark.parametrize("long", [False, True])
async def test_why_a_watch_is_refused_is_logged(
    api: ApiServer, account: Path, caplog: pytest.LogCaptureFixture, *, long: bool
) -> None:
    caplog.set_level(logging.WARNING, "whisper_ops.broker")
    api.put("asr-a", ["asr-1=10.0.0.1"])
    api.no_watch = status(403, "Forbidden", "cannot watch" + "!" * 200_000 * long)
    async with FollowedMembers(source(api, account)) as fleet:
        await fleet.until(lambda: "403" in caplog.text)
        said = "no reason given" if long else "cannot watch"
        assert f"Members: the API server answered 403: {said}; listing them again" in caplog.text
        api.no_watch = None
        await fleet.until(lambda: len(api.watches) > 1)
        api.put("asr-a", ["asr-2=10.0.0.2"])
        await fleet.until(lambda: fleet.names == ["asr-2"])


async def test_the_clusters_own_authority_is_believed_and_no_other(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    (tmp_path / "token").write_text("first")
    async with running_api_server(tls) as api:
        api.put("asr-a", ["asr-1=10.0.0.1"])
        authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
        members = source(api, tmp_path)
        assert len(await members.find()) == 1
        await members.close()
        stranger.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
        wary = source(api, tmp_path)
        with pytest.raises(KubernetesError, match="certificate"):
            await wary.find()
        await wary.close()
