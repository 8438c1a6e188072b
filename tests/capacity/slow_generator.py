"""A load generator that is slow on purpose: now and then it does nothing for 0.2 s, as one on a busy machine would.

No whole number of chunks fits between two pauses, so that some chunk is due at the beginning of one.
"""

import asyncio
import time

from capacity.loadgen import worker
from capacity.loadgen.pacer import Pacer


class DrowsyWheel(Pacer):
    async def run(self) -> None:
        asyncio.get_running_loop().call_later(0.33, self.doze)
        await super().run()

    def doze(self) -> None:
        time.sleep(0.2)
        asyncio.get_running_loop().call_later(0.33, self.doze)


if __name__ == "__main__":
    vars(worker)["Pacer"] = DrowsyWheel
    asyncio.run(worker._main())
