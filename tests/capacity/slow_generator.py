"""A load generator that is slow on purpose: every 0.3 s it does nothing for 0.15 s, as one on a busy machine would."""

import asyncio
import time

from capacity.load import generator
from capacity.load.pace import Wheel


class DrowsyWheel(Wheel):
    async def run(self) -> None:
        asyncio.get_running_loop().call_later(0.3, self.doze)
        await super().run()

    def doze(self) -> None:
        time.sleep(0.15)
        asyncio.get_running_loop().call_later(0.3, self.doze)


if __name__ == "__main__":
    vars(generator)["Wheel"] = DrowsyWheel
    asyncio.run(generator._main())
