"""deploy/runpod: mutations that a GraphQL server reads, sent as RunPod's own library sends them."""

import json
import runpy
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click import Command
from click.testing import CliRunner, Result
from graphql import build_schema, graphql_sync

from whisper_ops.cli import LazyGroup

SCRIPT = Path(__file__).parents[2] / "deploy/runpod/runpod.py"
COMMAND: Command = runpy.run_path(str(SCRIPT))["main"]
KEY = "rpa_VERYSECRET0123456789"
IMAGE = "registry.example/whisper-ops:cuda"
SCHEMA = build_schema(
    """
    # The fields that RunPod's own library (runpod 1.12 on PyPI, api/mutations) sends and asks for.
    enum CloudTypeEnum { ALL SECURE COMMUNITY }
    input EnvironmentVariableInput { key: String!, value: String! }
    input SaveTemplateInput {
      name: String!, imageName: String!, dockerArgs: String!, containerDiskInGb: Int!, volumeInGb: Int!,
      volumeMountPath: String, ports: String, env: [EnvironmentVariableInput]!, isServerless: Boolean,
      containerRegistryAuthId: String, startSsh: Boolean, isPublic: Boolean, readme: String
    }
    input PodFindAndDeployOnDemandInput {
      name: String, imageName: String, templateId: String, gpuTypeId: String, gpuCount: Int, cloudType: CloudTypeEnum,
      dockerArgs: String, ports: String, volumeInGb: Int, containerDiskInGb: Int, startSsh: Boolean,
      supportPublicIp: Boolean, dataCenterId: String
    }
    type EnvironmentVariable { key: String, value: String }
    type PodTemplate {
      id: String, name: String, imageName: String, dockerArgs: String, containerDiskInGb: Int, volumeInGb: Int,
      volumeMountPath: String, ports: String, env: [EnvironmentVariable], isServerless: Boolean
    }
    type PodMachineInfo { podHostId: String }
    type Pod {
      id: String, imageName: String, env: [String], machineId: String, costPerHr: Float, machine: PodMachineInfo
    }
    type Query { me: String }
    type Mutation {
      saveTemplate(input: SaveTemplateInput): PodTemplate
      podFindAndDeployOnDemand(input: PodFindAndDeployOnDemandInput): Pod
    }
    """
)


class RunPod(ThreadingHTTPServer):
    """What the real one answers to the two mutations, to a wrong key, and to what it cannot do."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.templates: dict[str, dict[str, Any]] = {}
        self.pods: list[dict[str, Any]] = []
        self.instead: tuple[int, bytes] | None = None

    def save(self, _info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: A002  # GraphQL's name
        if input["name"] in self.templates:
            raise ValueError("Template name must be unique")
        self.templates[input["name"]] = {"id": f"t{len(self.templates)}", **input}
        return self.templates[input["name"]]

    def deploy(self, _info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: A002  # GraphQL's name
        if input["gpuTypeId"] == "NVIDIA SOLD OUT":
            raise ValueError("There are no longer any instances available with the requested specifications.")
        self.pods.append(input)
        return {"id": "abc123def456", **input, "costPerHr": 0.43, "machine": {"podHostId": "abc123def456-6441"}}


class _Handler(BaseHTTPRequestHandler):
    server: RunPod

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.instead is not None:
            self._answer(*self.server.instead)
        elif self.path != "/graphql":
            self._answer(404, b"not found")
        elif self.headers["Authorization"] != f"Bearer {KEY}":
            self._answer(401, b'{"error": "Unauthorized"}')
        else:
            root = {"saveTemplate": self.server.save, "podFindAndDeployOnDemand": self.server.deploy}
            done = graphql_sync(SCHEMA, asked["query"], root)
            self._answer(400 if done.data is None else 200, json.dumps(done.formatted).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def api() -> Iterator[RunPod]:
    with RunPod() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def run(*arguments: str, api: RunPod | None = None, key: str | None = KEY) -> Result:
    """The script in this process: a second interpreter takes a second each time."""
    environment = {"RUNPOD_API_KEY": key, "RUNPOD_API_BASE_URL": f"http://127.0.0.1:{api.server_port}" if api else None}
    done = CliRunner().invoke(COMMAND, arguments, env=environment)
    assert KEY not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def test_it_runs_as_the_page_says() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *TEMPLATE], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mutation { saveTemplate(input: {name: ")


TEMPLATE = ("template", "--image", IMAGE)
POD = ("pod", "--image", IMAGE, "--template", "t0", "--gpu", "NVIDIA L4")


def test_what_is_printed_is_what_the_server_reads(api: RunPod) -> None:
    printed = run(*TEMPLATE, "--max-connections-per-gpu", "72")
    assert printed.exit_code == 0
    done = graphql_sync(SCHEMA, printed.stdout, {"saveTemplate": api.save})
    assert done.errors is None
    (made,) = api.templates.values()
    assert (made["imageName"], made["ports"], made["isPublic"]) == (IMAGE, "8000/http", False)
    assert {"key": "PORT", "value": "8000"} in made["env"]
    assert not run(*TEMPLATE, key=None).exit_code, "printing needs no key"


def test_the_command_is_one_that_the_server_takes(api: RunPod) -> None:
    run(*TEMPLATE, "--max-connections-per-gpu", "72", "--send", api=api)
    command, *arguments = api.templates["whisper-ops"]["dockerArgs"].split()
    found = LazyGroup().get_command(None, command)  # type: ignore[arg-type]  # it reads no context
    assert found is not None
    options = found.make_context(command, arguments).params
    assert options["max_connections_per_gpu"] == "72"
    assert options["host"] == "0.0.0.0"
    # Without a token a server that listens beyond loopback refuses to start: both come from secrets.
    secrets = {one["key"]: one["value"] for one in api.templates["whisper-ops"]["env"] if "TOKEN" in one["key"]}
    assert set(secrets) == {"WHISPER_OPS_TOKEN", "WHISPER_OPS_ADMIN_TOKEN"}
    assert all(value.startswith("{{ RUNPOD_SECRET_") for value in secrets.values())


def test_a_template_and_a_pod_of_it_are_made(api: RunPod) -> None:
    made = run(*TEMPLATE, "--send", api=api)
    assert json.loads(made.stdout)["id"] == "t0"
    pod = run(*POD, "--gpus", "2", "--send", api=api)
    assert json.loads(pod.stdout)["id"] == "abc123def456"
    assert "https://abc123def456-8000.proxy.runpod.net" in pod.stderr
    (asked,) = api.pods
    assert (asked["templateId"], asked["gpuTypeId"], asked["gpuCount"], asked["cloudType"]) == (
        "t0", "NVIDIA L4", 2, "SECURE",
    )  # fmt: skip
    again = run(*TEMPLATE, "--send", api=api)
    assert again.exit_code == 1
    assert again.stderr == "Error: RunPod refused: Template name must be unique\n"
    assert not run(*TEMPLATE, "--name", "other", "--serverless", "--send", api=api).exit_code
    assert api.templates["other"]["isServerless"] is True


def test_what_goes_wrong_is_one_sentence(api: RunPod) -> None:
    none = run(*TEMPLATE, "--send", api=api, key=None)
    assert none.exit_code == 2
    assert "RUNPOD_API_KEY" in none.stderr
    assert "HTTP 401" in run(*TEMPLATE, "--send", api=api, key="rpa_other").stderr
    sold = run("pod", "--image", IMAGE, "--template", "t0", "--gpu", "NVIDIA SOLD OUT", "--send", api=api)
    assert "no longer any instances" in sold.stderr
    for status, body in ((502, b"<html>"), (200, b"[]"), (200, b'{"data": {"saveTemplate": null}}'), (200, b"")):
        api.instead = (status, body)
        wrong = run(*TEMPLATE, "--send", api=api)
        assert wrong.exit_code == 1
        assert wrong.stderr == f"Error: RunPod answered HTTP {status} and nothing that can be read\n"
    # Even where the key comes back it is not shown.
    api.instead = (200, json.dumps({"errors": [{"message": f"bad key {KEY}\x1b[31m"}]}).encode())
    assert "bad key …" in run(*TEMPLATE, "--send", api=api).stderr
    port = api.server_port
    api.shutdown()
    api.server_close()
    assert port
    assert "RunPod does not answer" in run(*TEMPLATE, "--send", api=api).stderr


def test_quotes_and_braces_are_text(api: RunPod) -> None:
    name = 'a "quoted" {name} \\ ü'
    assert not run(*TEMPLATE, "--name", name, "--send", api=api).exit_code
    assert list(api.templates) == [name]
