"""A server that has only the published endpoints: three requests a poll."""

import time

from whisper_ops import published_endpoints
from whisper_ops.http_answers import MAX_JSON_BYTES
from whisper_ops.lenient_json import NotJsonError, OtherShapeError
from whisper_ops.server_names import default_name
from whisper_ops.snapshot import Snapshot
from whisper_ops.snapshot_client.http_client import Access, HttpClient, NotThereError
from whisper_ops.snapshot_client.source import OtherServerError, Remarks


class PublishedSource:
    """Polls `/health`, `/gpu-status` and `/performance` of `URL`."""

    def __init__(self, url: str, *, name: str | None = None, access: Access | None = None) -> None:
        self.name = name or default_name(url)
        self.remarks = Remarks()
        self._http = HttpClient(url, access)

    async def read(self) -> Snapshot:
        """One poll: slots, GPUs, memory, set-up times."""
        began = time.perf_counter()
        try:
            answers = await published_endpoints.ask(self._get)
        except (NotJsonError, OtherShapeError) as error:
            raise OtherServerError(
                f"{self.name} answered something else than the published endpoints: {error}"
            ) from error
        if answers is None:
            raise OtherServerError(f"the /health of {self.name} does not say how many slots it has")
        if answers.remark is not None:
            self.remarks.note(answers.remark.kind, f"{self.name} sends {answers.remark.words}")
        return published_endpoints.snapshot(self.name, time.time(), time.perf_counter() - began, answers)

    async def close(self) -> None:
        await self._http.close()

    async def _get(self, path: str) -> bytes | None:
        try:
            return (await self._http.get(path, MAX_JSON_BYTES)).body
        except NotThereError:
            return None
