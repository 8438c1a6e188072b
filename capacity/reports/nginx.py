"""nginx before several servers: how each is reached, how many streams it carries, and what happens when one is full.

What a proxy sees of a server is its connections. So the plan's slots are its `max_conns`, with some beyond them: a
server that is full must be able to say so. Its 503 is passed on to the next server and is no failure: with `max_fails`
nginx would take a full server for a dead one, and a full fleet for no fleet.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

LISTEN = "127.0.0.1:8080"
STATUS_PORT = 8081
_SPARE = 0.25
"""Connections beyond a server's slots, as a share: requests for figures, and streams that are being refused."""
_LEAST_SPARE = 16
_DESCRIPTORS = 1024


class Proxy(NamedTuple):
    """What is put before which servers."""

    servers: Sequence[str]
    """Host and port of each."""
    slots: int
    """Of each server."""
    listen: str = LISTEN
    status: str = f"127.0.0.1:{STATUS_PORT}"


def render(proxy: Proxy) -> str:
    """The file, to be included inside `http { … }`."""
    most = proxy.slots + max(_LEAST_SPARE, math.ceil(proxy.slots * _SPARE))
    connections = _thousand(2 * most * len(proxy.servers) + _DESCRIPTORS)
    servers = "\n".join(f"    server {server} max_conns={most} max_fails=0;" for server in proxy.servers)
    return _TEMPLATE.format(
        slots=proxy.slots, most=most, servers=servers, connections=connections, listen=proxy.listen, status=proxy.status
    )


def _thousand(number: int) -> int:
    return math.ceil(number / 1024) * 1024


_TEMPLATE = """\
# nginx before whisper-ops servers. Include it inside `http {{ … }}`, and start the servers with --when-full 503.
# A stream takes one connection towards the client and one towards the server. In nginx.conf, outside of `http`:
#   worker_rlimit_nofile {connections};
#   events {{ worker_connections {connections}; }}

map $http_upgrade $whisper_ops_connection {{
    default upgrade;
    ''      close;
}}

upstream whisper_ops {{
    # Streams live for minutes: the fewest live connections is the fairest guess a proxy can make. The zone shares the
    # counts between nginx's workers, which would each count their own.
    zone whisper_ops 256k;
    least_conn;
    # {slots} slots a server, and spare connections, so that a full server can say that it is full.
    # max_fails=0: a full server is not down. A dead one is passed over after proxy_connect_timeout, each time.
{servers}
}}

server {{
    listen {listen};

    # A full server started with --when-full 503, or one that drains, refuses before the upgrade; the next one is tried.
    proxy_next_upstream error timeout http_503 non_idempotent;
    proxy_next_upstream_tries 0;
    proxy_next_upstream_timeout 10s;
    proxy_connect_timeout 1s;

    # Files for /v1/audio/transcriptions may have 25 MiB, and their form a little more; nginx's default is 1 MiB.
    client_max_body_size 26m;

    location / {{
        proxy_pass http://whisper_ops;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $whisper_ops_connection;
        # A server on loopback without a token knows its public name from --allow-origin https://NAME or --public-url.
        proxy_set_header Host $http_host;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        # Audio and text pass as they come.
        proxy_buffering off;
        # The defaults of 60 s would cut a caller who is on hold.
        proxy_read_timeout 1h;
        proxy_send_timeout 1h;
    }}
}}

# What nginx itself counts, for `whisper-ops dash nginx+http://{status}/nginx-status`.
server {{
    listen {status};
    location = /nginx-status {{
        stub_status;
        allow 127.0.0.1;
        allow ::1;
        deny all;
    }}
}}
"""
