"""Write what deploy/compose.yaml gives nginx and Prometheus; `--check`: are the files current?"""

import sys
from pathlib import Path

from capacity.reports.nginx import Proxy, render

DEPLOY = Path(__file__).parents[1] / "deploy"
SERVERS = ("server-1:8000", "server-2:8000", "server-3:8000")
SLOTS = 16
PORT = 8080
HEAD = """\
# Three servers of {slots} slots, as deploy/compose.yaml starts them. After a sweep `whisper-ops plan --emit nginx`
# writes it with the numbers of the plan: docs/deploy/compose.md says how.
"""
_REPLACED = (
    (
        "# A Prometheus that reads whisper-ops servers: `prometheus --config.file=whisper-ops.yml`.\n",
        "# deploy/prometheus/whisper-ops.yml for the servers of deploy/compose.yaml; `make docs` writes it.\n",
    ),
    (
        (
            "    # For a server with a token, and one with a certificate of an authority of your own:\n"
            "    # authorization: {credentials_file: /etc/prometheus/whisper-ops.token}\n"
            "    # scheme: https\n"
            "    # tls_config: {ca_file: /etc/prometheus/ca.pem}\n"
        ),
        "    authorization: {credentials_file: /run/secrets/token}\n",
    ),
    ('["127.0.0.1:8000"]', "[" + ", ".join(f'"{server}"' for server in SERVERS) + "]"),
)


def nginx() -> str:
    return HEAD.format(slots=SLOTS) + render(Proxy(servers=SERVERS, slots=SLOTS, listen=f"0.0.0.0:{PORT}"))


def prometheus() -> str:
    text = (DEPLOY / "prometheus/whisper-ops.yml").read_text("utf-8")
    for ours, theirs in _REPLACED:
        if text.count(ours) != 1:
            sys.exit(
                f"deploy/prometheus/whisper-ops.yml has not exactly one {ours!r}: docs/make_compose.py replaces it"
            )
        text = text.replace(ours, theirs)
    return text


if __name__ == "__main__":
    for name, content in (("servers.conf", nginx()), ("prometheus.yml", prometheus())):
        file = DEPLOY / "compose" / name
        if "--check" not in sys.argv:
            file.write_text(content, "utf-8")
        elif file.read_text("utf-8") != content:
            sys.exit(f"deploy/compose/{name} is out of date: run `make docs`")
