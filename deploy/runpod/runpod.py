"""Print, or send, the GraphQL mutations that make a template and a pod on RunPod.

    python deploy/runpod/runpod.py template --image REGISTRY/whisper-ops:cuda
    RUNPOD_API_KEY=… python deploy/runpod/runpod.py template --image REGISTRY/whisper-ops:cuda --send
    RUNPOD_API_KEY=… python deploy/runpod/runpod.py pod --template ID --image … --gpu "NVIDIA L4" --send

stdout is data: the mutation, or what RunPod answered. The key comes from the environment and goes into one header.
"""

import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
import httpx

from whisper_ops.untrusted_text import one_line

TEMPLATE = Path(__file__).with_name("template.toml")
ADDRESS = "https://api.runpod.io"
"""RUNPOD_API_BASE_URL names another one, as it does for RunPod's own library."""
_SECONDS = 30.0
_MOST_BYTES = 1 << 20

_image = click.option("--image", required=True, metavar="REGISTRY/NAME:TAG", help="The image that pods run.")
_send = click.option("--send", is_flag=True, help="Send it, with RUNPOD_API_KEY; without, it is printed.")


class Name(str):
    """A value of a GraphQL enumeration, which is written without quotes."""

    __slots__ = ()


def literal(value: object) -> str:
    """A value as GraphQL writes it: as JSON, but for names of fields and enumerations."""
    if isinstance(value, Name):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {literal(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    return json.dumps(value)


def mutation(name: str, fields: dict[str, object], answer: str) -> str:
    """The text of one."""
    return f"mutation {{ {name}(input: {literal(fields)}) {{ {answer} }} }}"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Make whisper-ops pods on RunPod."""


@main.command()
@_image
@click.option("--max-connections-per-gpu", "slots", type=click.IntRange(1, 100_000), help="Slots, as your plan says.")
@click.option("--name", help="The template's name, which none of your others may have.")
@click.option("--serverless", is_flag=True, help="For a load-balancing endpoint in place of pods.")
@_send
def template(image: str, slots: int | None, name: str | None, *, serverless: bool, send: bool) -> None:
    """A template from template.toml."""
    said = tomllib.loads(TEMPLATE.read_text("utf-8"))
    fields: dict[str, object] = {
        "name": name or said["name"],
        "imageName": image,
        "dockerArgs": said["command"].replace("{slots}", str(slots or said["slots"])),
        "containerDiskInGb": said["containerDiskInGb"],
        "volumeInGb": said["volumeInGb"],
        "ports": said["ports"],
        "env": [{"key": key, "value": value} for key, value in said["env"].items()],
        "isServerless": serverless,
        "isPublic": False,
        "startSsh": False,
        "readme": "whisper-ops: streaming speech-to-text",
    }
    _do("saveTemplate", mutation("saveTemplate", fields, "id name imageName ports dockerArgs"), send=send)


@main.command()
@_image
@click.option("--template", "template_id", required=True, metavar="ID", help="What `template --send` answered.")
@click.option("--gpu", required=True, help="RunPod's name of it, such as `NVIDIA L4` or `NVIDIA H100 80GB HBM3`.")
@click.option("--gpus", type=click.IntRange(1, 8), default=1, show_default=True, help="So many in the pod.")
@click.option("--cloud", type=click.Choice(["ALL", "SECURE", "COMMUNITY"]), default="SECURE", show_default=True)
@click.option("--name", default="whisper-ops", show_default=True)
@_send
def pod(image: str, template_id: str, gpu: str, gpus: int, cloud: str, name: str, *, send: bool) -> None:  # options
    """A pod of a template."""
    fields: dict[str, object] = {
        "name": name,
        "imageName": image,
        "templateId": template_id,
        "gpuTypeId": gpu,
        "gpuCount": gpus,
        "cloudType": Name(cloud),
    }
    text = mutation("podFindAndDeployOnDemand", fields, "id imageName costPerHr machine { podHostId }")
    found = _do("podFindAndDeployOnDemand", text, send=send)
    if found is not None:
        click.echo(f"its address, once it runs: https://{found['id']}-8000.proxy.runpod.net", err=True)


def _do(name: str, text: str, *, send: bool) -> dict[str, Any] | None:
    """Print the mutation, or send it and print the answer."""
    if not send:
        click.echo(text)
        return None
    found = _sent(name, text)
    click.echo(json.dumps(found, indent=2))
    return found


def _sent(name: str, text: str) -> dict[str, Any]:
    key = os.environ.get("RUNPOD_API_KEY", "").strip()
    if not key:
        raise click.UsageError("--send needs RUNPOD_API_KEY in the environment; RunPod's console makes one")
    url = f"{os.environ.get('RUNPOD_API_BASE_URL', ADDRESS).rstrip('/')}/graphql"
    try:
        answer = httpx.post(url, json={"query": text}, headers={"Authorization": f"Bearer {key}"}, timeout=_SECONDS)
        said = answer.json() if len(answer.content) <= _MOST_BYTES else None
    except httpx.HTTPError as error:
        raise click.ClickException(f"RunPod does not answer: {str(error) or type(error).__name__}") from None
    except ValueError:
        said = None
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise click.ClickException(
            "RunPod does not take this key (HTTP 401); make one that may write, and set it again"
        )
    errors = said.get("errors") if isinstance(said, dict) else None
    if errors:
        words = "; ".join(str(one.get("message")) if isinstance(one, dict) else str(one) for one in errors)
        raise click.ClickException(f"RunPod refused: {one_line(words.replace(key, '…'), 500)}")
    found = ((said.get("data") or {}) if isinstance(said, dict) else {}).get(name)
    if not isinstance(found, dict) or not isinstance(found.get("id"), str):
        raise click.ClickException(f"RunPod answered HTTP {answer.status_code} and nothing that can be read")
    return found


if __name__ == "__main__":
    sys.exit(main())
