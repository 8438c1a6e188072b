"""A real Prometheus on a free port, ended whatever happens."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.servers import free_port


@contextmanager
def running_prometheus(folder: Path, configuration: str, *arguments: str) -> Iterator[str]:
    """Its address, once it is ready; its data are in `folder`/data. Without the program the test is skipped."""
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        pytest.skip("prometheus is not installed; `make system-packages` installs it")
    file = folder / "prometheus.yml"
    file.write_text(configuration, "utf-8")
    url = f"http://127.0.0.1:{free_port()}"
    command = [
        "prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={url.removeprefix('http://')}", *arguments,
    ]  # fmt: skip
    with (folder / "prometheus.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait_until_ready(url, folder / "prometheus.log")
            yield url
        finally:
            process.terminate()
            process.wait(20)


def _wait_until_ready(url: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/-/ready", timeout=1).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)  # between two looks at a condition with a deadline
    raise AssertionError(log.read_text())


def asked(url: str, path: str, **parameters: str) -> Any:
    """The `data` of an answer of Prometheus' API."""
    said = httpx.get(f"{url}/api/v1/{path}", params=parameters, timeout=10).json()
    assert said["status"] == "success", said
    return said["data"]
