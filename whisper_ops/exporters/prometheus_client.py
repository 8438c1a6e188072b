"""What a Prometheus-compatible server remembers of exporters: the rows they had, moment by moment."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

from whisper_ops import tls_trust
from whisper_ops.addresses import parsed, shown
from whisper_ops.errors import Exit, UserError
from whisper_ops.exporters import mapping as mappings
from whisper_ops.exporters.text_format import Labels, MetricSeries, Page
from whisper_ops.http_answers import TooLargeAnswer, fetch_sync
from whisper_ops.lenient_json import decode_strictly

_TIMEOUT_SECONDS = 60.0
_ANSWER_BYTES = 32 * 1024 * 1024
"""Of one query over one window: a thousand series of a thousand points."""
_MOST_POINTS = 1_000_000
"""Of one exporter in one window: some 200 MB of memory."""
_RATE_OVER = "5m"
"""What counts up is told as its rate over so long, which holds some scrapes at any usual interval."""
_OF_ANY_PROCESS = ("process_", "python_", "go_")
"""Metrics that client libraries add to every program: they do not tell one exporter from another."""


class QueryWindow(NamedTuple):
    """From when to when, and how far apart moments are, in seconds."""

    since: float
    until: float
    step: float


class TooMuchError(Exception):
    """A window holds more than is read at once."""


Place = tuple[str, float]
"""An instance, as Prometheus names what it scrapes, and a moment."""


class Prometheus:
    """A server that answers Prometheus' HTTP API."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def pages(self, mapping: mappings.Mapping, window: QueryWindow) -> dict[Place, Page]:
        """The rows of each instance that is one of this exporter's, moment by moment, with the rates of what counts up.

        Raises:
            TooMuchError: the window holds more than is read at once.
            UserError: the server cannot be reached (exit code 3), refuses, or is none.
        """
        found: dict[Place, Page] = {}
        instances: set[str] = set()
        points = 0
        # Those that tell it from others come first.
        for query in sorted(queries(mapping), key=lambda query: query.metric.startswith(_OF_ANY_PROCESS)):
            common = query.metric.startswith(_OF_ANY_PROCESS)
            for labels, values in self._ranges(query.promql, window):
                instance = labels.get("instance", "server")
                if common and instances and instance not in instances:
                    continue
                instances.add(instance)
                points += len(values)
                if points > _MOST_POINTS:
                    raise TooMuchError(f"answered with more than {_MOST_POINTS:,} points")
                for at, value in values:
                    found.setdefault((instance, at), {}).setdefault(query.rows, []).append(MetricSeries(labels, value))
        return found

    def _ranges(self, promql: str, window: QueryWindow) -> Iterator[tuple[Labels, list[tuple[float, float]]]]:
        asked = {"query": promql, "start": window.since, "end": window.until, "step": window.step}
        for series in self.get("/api/v1/query_range", asked):
            values = [(float(at), float(text)) for at, text in series["values"]]
            yield series["metric"], [(at, value) for at, value in values if math.isfinite(value)]

    def get(self, path: str, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The result of a query.

        Raises:
            TooMuchError, UserError: as `pages`.
        """
        base = self._client.base_url
        try:
            answer = fetch_sync(self._client, path, asked, limit=_ANSWER_BYTES)
            body: Any = decode_strictly(answer.body, object)
        except TooLargeAnswer as error:
            raise TooMuchError(str(error)) from error
        except httpx.HTTPError as error:
            untrusted = tls_trust.untrusted(str(base), error)
            raise UserError(untrusted or f"cannot reach Prometheus at {base}: {error}", Exit.UNREACHABLE) from error
        except ValueError as error:
            raise UserError(f"{base} does not answer like Prometheus; name its address without a path") from error
        if not isinstance(body, dict) or body.get("status") != "success":
            why = body.get("error", answer.status) if isinstance(body, dict) else answer.status
            raise UserError(f"Prometheus at {base} refused the query {asked['query']!r}: {why}")
        found: list[dict[str, Any]] = body["data"]["result"]
        return found


class PromQuery(NamedTuple):
    """What is asked for of one metric."""

    metric: str
    promql: str
    rows: str
    """What its rows are called in a page."""


def queries(mapping: mappings.Mapping) -> Iterator[PromQuery]:
    """What is asked of a Prometheus for all figures of a mapping."""
    wanted: dict[tuple[str, bool], list[mappings.FigureMapping]] = {}
    for field in mapping.fields():
        for metric in field.counted or field.metrics:
            wanted.setdefault((metric, bool(field.counted)), []).append(field)
    for (metric, counted), fields in sorted(wanted.items()):
        selector = _selector(metric, fields)
        if counted:
            yield PromQuery(metric, f"rate({selector}[{_RATE_OVER}])", mappings.rated(metric))
        else:
            yield PromQuery(metric, selector, metric)


def _selector(metric: str, fields: list[mappings.FigureMapping]) -> str:
    matchers = [f"__name__={_quoted(metric)}"]
    if all((one.labels, one.without) == (fields[0].labels, fields[0].without) for one in fields):
        matchers += [f"{name}={_quoted(value)}" for name, value in fields[0].labels.items()]
        matchers += [f"{name}!={_quoted(value)}" for name, value in fields[0].without.items()]
    return f"{{{','.join(matchers)}}}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@contextmanager
def asked(url: str, token: str | None = None) -> Iterator[Prometheus]:
    """The Prometheus at an address.

    Raises:
        UserError: it is no address.
    """
    try:
        parsed(url, ("http", "https"))
    except ValueError as error:
        raise UserError(
            f"{shown(url)!r} is no address of a Prometheus ({error}); give one like http://127.0.0.1:9090"
        ) from error
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with httpx.Client(
        base_url=url.rstrip("/"), timeout=_TIMEOUT_SECONDS, headers=headers, verify=tls_trust.http_context(url)
    ) as client:
        yield Prometheus(client)
