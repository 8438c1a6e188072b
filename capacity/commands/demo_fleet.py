"""The demo's first act: simulated servers behind a broker, and what is done with them."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from capacity.commands.demo_programs import free_ports, go_on, ready, show_plan, step
from capacity.commands.demo_screen import DemoScreen
from whisper_ops.child_processes import Child, Children
from whisper_ops.console import narration, say
from whisper_ops.errors import UserError

if TYPE_CHECKING:
    from capacity.demo.fleet_act import DemoFleet
    from whisper_ops.plan.plan_document import Plan

_READY_SECONDS = 30.0


def fleet(seen: DemoScreen, folder: Path) -> None:
    """The simulated fleet, for some forty seconds; on a machine that is too busy to start it, a sentence."""
    from capacity.demo.fleet_act import GPUS, SERVE, SERVERS, DemoFleet, called
    from capacity.demo.narration import DemoNarration

    history = folder / "simulated.db"
    step("1/2", f"a fleet of {SERVERS * GPUS} SIMULATED GPUs in {SERVERS} servers: loaded, planned, and a server lost")
    with Children() as started:
        ports = free_ports(SERVERS + 1)
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        servers = [
            started.start("serve", *SERVE, "--port", str(port), log=folder / f"sim-{port}.log") for port in ports[:-1]
        ]
        broker = started.start("broker", *urls[:-1], "--port", str(ports[-1]), log=folder / "broker.log")
        deadline = time.monotonic() + _READY_SECONDS
        with narration().status("starting four servers of two GPUs, and a broker"):
            up = all(ready(child, url, deadline) for child, url in zip((*servers, broker), urls, strict=True))
        if not up:
            seen.say(f"  left out: this machine is too busy to start the fleet within {_READY_SECONDS:.0f} s")
            return
        seen.open(called(urls[:-1]), history)
        telling = DemoNarration(seen.caption, seen.say, prefix="SIMULATED · ", hint="Enter opens a server")
        plan, trouble = asyncio.run(_play(DemoFleet(urls[-1], folder, history, telling), servers[-1]))
        seen.close()
    if plan is not None:
        show_plan(plan, None, following=False)
    if trouble is not None:
        say(f"  this act ended early: {trouble}")


async def _play(fleet: "DemoFleet", last: Child) -> tuple["Plan | None", str | None]:
    """Load it, plan it, and kill the last of its servers. What goes wrong here is no reason to leave out act 2."""
    from capacity.demo.fleet_act import GPUS, SERVERS

    plan: Plan | None = None
    try:
        go_on(await fleet.measure())
        plan = fleet.plan()
        callers = (plan.max_connections_per_gpu or 1) * SERVERS * GPUS
        go_on(await fleet.lose(callers, f"sim-{SERVERS}", last.process.kill))
    except UserError as error:
        return plan, str(error)
    return plan, None
