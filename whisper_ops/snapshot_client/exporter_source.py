"""Any exporter's text endpoint, read through the catalogue or a mapping of the user's."""

import time
from urllib.parse import urlsplit

from whisper_ops.exporters.figure_reader import FigureReader
from whisper_ops.exporters.mapping import Mapping
from whisper_ops.exporters.rates import Counters
from whisper_ops.exporters.stub_status import as_rows
from whisper_ops.exporters.text_format import Page, PageError, parse
from whisper_ops.http_answers import HttpAnswer
from whisper_ops.server_names import default_name
from whisper_ops.snapshot import Snapshot
from whisper_ops.snapshot_client.http_client import Access, HttpClient
from whisper_ops.snapshot_client.source import Remarks, SourceError


class PrometheusSource:
    """Polls the mapping's path at `url`, or `url` itself when it has a path."""

    def __init__(self, url: str, mapping: Mapping, *, name: str | None = None, access: Access | None = None) -> None:
        self.name = name or default_name(url)
        self.remarks = Remarks()
        parts = urlsplit(url)
        # An address with a path of its own, as http://host:9100/metrics, says where the page is.
        self._path = parts.path if parts.path not in {"", "/"} else mapping.path
        self._http = HttpClient(f"{parts.scheme}://{parts.netloc}", access)
        self._wanted, self._counted = mapping.metrics(), mapping.counted()
        self._counters = Counters()
        self._reader = FigureReader(mapping)

    async def read(self) -> Snapshot:
        """One poll. Rates and quantiles are known from the second one on."""
        began = time.perf_counter()
        answer = await self._http.get(self._path)
        at, moment = time.time(), time.monotonic()
        page = await self._http.parsed(answer, lambda: self._parse(answer))
        rates = self._counters.rates(page, moment, self._counted)
        return self._reader.snapshot(self.name, page | rates, at, time.perf_counter() - began)

    async def close(self) -> None:
        await self._http.close()

    def _parse(self, answer: HttpAnswer) -> Page:
        text = as_rows(answer.body.decode("utf-8", "replace"))
        if "html" in answer.content_type or text[:1000].lstrip()[:1] == "<":
            raise SourceError(f"{self.name} answered HTML, not a Prometheus page; is another program listening there?")
        try:
            page = parse(text, self._wanted, self.remarks.note, self.name)
        except PageError as error:
            raise SourceError(str(error)) from error
        if not page:
            raise SourceError(f"{self.name} ({self._path}) has none of the metrics that its mapping looks for")
        return page
