"""The documentation is complete and current: what is not described does not exist for a user."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from whisper_ops.cli import COMMANDS

ROOT = Path(__file__).parents[2]


def test_the_page_of_commands_is_current() -> None:
    # A process of its own: click remembers each command's help option from the first time anybody asked for it.
    script = [sys.executable, str(ROOT / "docs/make_commands.py"), "--check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_nginx_file_is_what_the_planner_writes() -> None:
    script = [sys.executable, str(ROOT / "docs/make_deploy.py"), "--check"]
    done = subprocess.run(
        script, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_section(name: str) -> None:
    assert f"## whisper-ops {name}\n" in (ROOT / "docs/commands.md").read_text("utf-8")


def test_every_endpoint_is_described() -> None:
    pytest.importorskip("fastapi", reason="needs the [server] extra")
    described = (ROOT / "docs/api.md").read_text("utf-8")
    paths = _paths()
    assert {"/ws", "/health", "/gpu-status", "/performance", "/snapshot", "/metrics", "/connect"} <= set(paths)
    missing = [path for path in paths if f"`{path}" not in described and f" {path}" not in described]
    assert not missing, f"docs/api.md does not describe {missing}"


def test_every_endpoint_of_a_broker_is_described() -> None:
    pytest.importorskip("starlette", reason="needs the [server] extra")
    described = (ROOT / "docs/api.md").read_text("utf-8")
    missing = [path for path in _broker_paths() if f"`{path}" not in described and f" {path}" not in described]
    assert not missing, f"docs/api.md does not describe {missing}"


@pytest.mark.parametrize(
    "page", sorted(p.relative_to(ROOT).as_posix() for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    targets = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", text)
    missing = [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()]
    assert not missing, f"{page} links to {missing}"


def test_the_tests_that_are_named_exist() -> None:
    pages = [ROOT / "Makefile", *ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    name = re.compile(r"(?<![\w/])tests/[a-z_]+(?:/[a-z_]+)*(?:\.[a-z]+)?(?![\w/<*(,$])")
    named = {(page.name, path) for page in pages for path in name.findall(page.read_text("utf-8"))}
    assert len(named) > 20
    assert [(page, path) for page, path in named if not (ROOT / path).exists()] == []


def test_the_makefile_lists_its_targets() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    phony = {"setup", "demo", "test", "lint", "types", "bench", "fmt", "clean"}
    described = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert phony <= described


def _paths() -> list[str]:
    """Every path of the server, HTTP and WebSocket."""
    from starlette.routing import WebSocketRoute

    from server.devices import WorkerDevice
    from server.http.app import make_app
    from server.sessions.hub import Hub
    from server.settings import Settings

    app = make_app(Hub(Settings(devices=(WorkerDevice("sim", 0),), engine="simulated", model="simulated")))
    sockets = {route.path for route in app.routes if isinstance(route, WebSocketRoute)}
    return sorted({"/", "/docs", *app.openapi()["paths"], *sockets})


def _broker_paths() -> list[str]:
    from starlette.routing import Route, WebSocketRoute

    from server.broker.broker_app import make_app
    from server.broker.broker_settings import BrokerSettings
    from server.broker.fleet import Fleet
    from server.broker.membership import ListedMembers

    app = make_app(Fleet(BrokerSettings(members=()), ListedMembers(())))
    return sorted({route.path for route in app.routes if isinstance(route, Route | WebSocketRoute)})
