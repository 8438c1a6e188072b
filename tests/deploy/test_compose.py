"""The container files, without a container: a linter, the schema of Compose, and what they say beside the code."""

import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.commands.listen_options import own_port
from server.settings import Settings
from tests.support.programs import checked, tool
from tests.whisper_ops.cli.command_tree import commands

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
FILES = ("compose.yaml", "compose.gpu.yaml")
SERVERS = ["server-1", "server-2", "server-3"]
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+):-([^}]*)\}")


def read(name: str) -> dict[str, Any]:
    """A file as Compose reads it where nothing is set."""
    text = VARIABLE.sub(lambda found: found[2], (DEPLOY / name).read_text("utf-8"))
    made: dict[str, Any] = yaml.safe_load(text)
    return made


SERVICES: dict[str, dict[str, Any]] = read("compose.yaml")["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("whisper-ops:")]


def said_by(*command: str) -> str:
    """What a program of our environment says; it must find nothing."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, cwd=ROOT, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="hadolint is installed on Linux only")
def test_the_linter_of_dockerfiles_finds_nothing(tmp_path: Path) -> None:
    assert said_by("hadolint", "deploy/Dockerfile") == ""
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /tmp\n")
    with pytest.raises(AssertionError, match="DL3003"):
        said_by("hadolint", str(tmp_path / "Dockerfile"))


def test_the_files_are_what_the_compose_specification_calls_files(tmp_path: Path) -> None:
    check = ("check-jsonschema", "--builtin-schema", "vendor.compose-spec")
    said_by(*check, *(f"deploy/{name}" for name in FILES))
    (tmp_path / "wrong.yaml").write_text("services: {a: {image: b, no_such_key: 1}}")
    with pytest.raises(AssertionError, match="no_such_key"):
        said_by(*check, str(tmp_path / "wrong.yaml"))


@pytest.mark.parametrize("name", OURS)
def test_every_command_in_it_is_one_that_we_have(name: str) -> None:
    known = dict(commands())
    word, *arguments = SERVICES[name]["command"]
    command = known[{"sweep": "sweep run"}.get(word, word)]
    with command.make_context(word, arguments) as context:
        assert context.params["token_file"] == Path("/run/secrets/token")


def test_what_can_be_set_is_on_the_page_with_its_default() -> None:
    used = {match for name in FILES for match in VARIABLE.findall((DEPLOY / name).read_text("utf-8"))}
    named = {name for name, _ in used}
    assert len(used) == len(named), "one default for each"
    for name in FILES:
        assert set(re.findall(r"\$\{?([A-Z0-9_]+)", (DEPLOY / name).read_text("utf-8"))) <= named, (
            "none without default"
        )
    page = (ROOT / "docs/deploy/compose.md").read_text("utf-8").partition("## What can be set")[2].partition("\n## ")[0]
    told: dict[str, str] = {}
    for line in page.splitlines():
        if line.startswith("| `"):
            names, defaults = (re.findall("`([^`]+)`", cell) for cell in line.split("|")[1:3])
            told |= dict(zip(names, [*defaults, *[""] * (len(names) - len(defaults))], strict=True))
    assert told == dict(used)


def test_ports_slots_and_addresses_agree_with_each_other_and_with_the_code() -> None:
    port = own_port(None) if not os.environ.get("PORT") else 8000
    assert f"PORT={port}" in DOCKERFILE
    assert f"EXPOSE {port}\n" in DOCKERFILE
    targets = [f"{name}:{port}" for name in SERVERS]
    scraped = yaml.safe_load((DEPLOY / "compose/prometheus.yml").read_text("utf-8"))["scrape_configs"][0]
    assert scraped["static_configs"][0]["targets"] == targets
    assert [word.partition("=http://")[2] for word in SERVICES["recorder"]["command"] if "=http" in word] == targets
    watched = [word.rpartition("=http://")[2] for word in SERVICES["load"]["command"] if "--watch" in word]
    assert watched == targets
    nginx = (DEPLOY / "compose/servers.conf").read_text("utf-8")
    assert re.findall(r"^    server (\S+) max_conns=", nginx, re.MULTILINE) == targets
    (published,) = SERVICES["nginx"]["ports"]
    assert f"listen 0.0.0.0:{published.rpartition(':')[2]};" in nginx
    assert SERVICES["load"]["command"][1] == f"http://nginx:{published.rpartition(':')[2]}"
    slots = inspect.signature(Settings).parameters["max_connections_per_gpu"].default
    assert f"--max-connections-per-gpu={slots}" in SERVICES["server-1"]["command"]
    assert f"# {slots} slots a server" in nginx
    hosts = dict(entry.split(":") for entry in SERVICES["nginx"]["extra_hosts"])
    assert hosts == {name: SERVICES[name]["networks"]["stack"]["ipv4_address"] for name in SERVERS}
    for name, service in SERVICES.items():
        for mount in service.get("volumes", []):
            if mount.startswith("./") and not mount.startswith("./results:"):
                assert (DEPLOY / mount.partition(":")[0]).is_file(), name


def test_the_generated_parts_are_current() -> None:
    script = [sys.executable, str(ROOT / "docs/make_compose.py"), "--check"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(script, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def test_nginx_and_prometheus_accept_their_files(tmp_path: Path) -> None:
    main, servers = ((DEPLOY / "compose" / name).read_text("utf-8") for name in ("nginx.conf", "servers.conf"))
    # Only the stack's network knows the servers' names.
    (tmp_path / "servers.conf").write_text(re.sub(r"server server-\d:", "server 127.0.0.1:", servers))
    main = main.replace("/tmp/", f"{tmp_path}/").replace("/etc/nginx/", f"{tmp_path}/")
    (tmp_path / "nginx.conf").write_text(main)
    checked(tool("nginx"), "-t", "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"))
    (tmp_path / "token").touch()
    shutil.copy(DEPLOY / "prometheus/whisper-ops.rules.yml", tmp_path)
    scraped = (DEPLOY / "compose/prometheus.yml").read_text("utf-8").replace("/run/secrets/token", f"{tmp_path}/token")
    (tmp_path / "prometheus.yml").write_text(scraped)
    checked(tool("promtool"), "check", "config", str(tmp_path / "prometheus.yml"))


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_may_do_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges"]
    assert not {"privileged", "network_mode", "pid", "cap_add", "devices"} & set(service)
    user = service.get("user", "10001:10001")
    assert not user.startswith(("0", "root"))
    assert "\nUSER 10001:10001\n" in DOCKERFILE
    for published in service.get("ports", []):
        assert published.startswith("127.0.0.1:"), "beyond this machine only where somebody says so"


def test_a_server_that_is_stopped_has_longer_than_it_needs_to_drain() -> None:
    drain = inspect.signature(Settings).parameters["drain_seconds"].default
    for name in SERVERS:
        assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= drain + 10


def test_with_gpus_each_server_has_one_of_its_own() -> None:
    made = read("compose.gpu.yaml")["services"]
    assert list(made) == SERVERS
    devices = [service["deploy"]["resources"]["reservations"]["devices"] for service in made.values()]
    assert [device["device_ids"] for (device,) in devices] == [["0"], ["1"], ["2"]]
    build = made["server-1"]["build"]
    assert build["target"] == "cuda"
    assert build == SERVICES["recorder"]["build"] | {"target": "cuda"}


def test_the_image_has_every_package_and_a_python_that_they_run_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert all(f"COPY {name} {name}\n" in DOCKERFILE for name in packages)
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert ignored[1] == "*"
    assert {f"!{name}" for name in packages} <= set(ignored)
    base = re.search(r"^ARG BASE=python:3\.(\d+)-", DOCKERFILE, re.MULTILINE)
    low, high = re.findall(r"3\.(\d+)", project["project"]["requires-python"])
    assert base is not None
    assert int(low) <= int(base[1]) < int(high)
    assert set(re.findall(r"^FROM \S+ AS (cpu|cuda|load)$", DOCKERFILE, re.MULTILINE)) == {"cpu", "cuda", "load"}
    assert DOCKERFILE.rstrip().rpartition("\nFROM ")[2].startswith("runtime AS cpu"), "what is built without --target"
