"""Other programs that are really run: nginx before real servers, and the checkers of configuration files."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from capacity.reports.nginx import Proxy, render
from tests.support.servers import Running, free_port

DEPLOY = Path(__file__).parents[2] / "deploy"


def tool(name: str) -> str:
    """The path of a system program; without it the test is skipped and says how to get it."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed; `make system-packages` installs it")
    return found


def checked(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextlib.contextmanager
def nginx(
    folder: Path, servers: list[Running], slots: int = 16, status_port: int | None = None, more: str = ""
) -> Iterator[int]:
    """nginx with the configuration of a plan for these servers, and `more`; gives the port it listens on."""
    port = free_port()
    proxy = Proxy(
        servers=[f"127.0.0.1:{server.port}" for server in servers],
        slots=slots,
        listen=f"127.0.0.1:{port}",
        status=f"127.0.0.1:{status_port or free_port()}",
    )
    (folder / "ours.conf").write_text(render(proxy) + more, "utf-8")
    main = folder / "nginx.conf"
    temporary = "\n".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Started as root its workers would be somebody who may not enter the test's folder.
    user = "user root; " if os.geteuid() == 0 else ""
    main.write_text(
        f"{user}worker_processes 2; daemon off; pid {folder}/nginx.pid; error_log stderr;\n"
        "events { worker_connections 256; }\n"
        f"http {{ access_log off; {temporary} include {folder}/ours.conf; }}\n",
        "utf-8",
    )
    command = [tool("nginx"), "-p", str(folder), "-c", str(main), "-e", "stderr"]
    checked(*command, "-t")
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            httpx.get(f"http://127.0.0.1:{port}/", timeout=2)
        except httpx.TransportError:
            assert time.monotonic() < deadline, f"nothing listens on {port}"
            time.sleep(0.05)
        else:
            return
