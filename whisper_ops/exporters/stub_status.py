"""nginx's `stub_status` page as rows of Prometheus' text, in the names of nginx-prometheus-exporter."""

import re

_PAGE = re.compile(
    r"Active connections:\s*(?P<active>\d{1,15})\s+server accepts handled requests\s+"
    r"(?P<accepted>\d{1,15})\s+(?P<handled>\d{1,15})\s+(?P<requests>\d{1,15})\s+"
    r"Reading:\s*(?P<reading>\d{1,15})\s+Writing:\s*(?P<writing>\d{1,15})\s+Waiting:\s*(?P<waiting>\d{1,15})\s*"
)
_LONGEST = 1000


def as_rows(text: str) -> str:
    """The same page; one of stub_status as rows, and every other as it is."""
    match = _PAGE.fullmatch(text) if text.startswith("Active connections:") and len(text) <= _LONGEST else None
    if match is None:
        return text
    counts = {name: int(value) for name, value in match.groupdict().items()}
    # The request for this page is one of those that are being answered.
    counts["writing"] = max(0, counts["writing"] - 1)
    requests = counts.pop("requests")
    rows = [f"nginx_connections_{name} {count}" for name, count in counts.items()]
    return "\n".join([*rows, f"nginx_http_requests_total {requests}", ""])
