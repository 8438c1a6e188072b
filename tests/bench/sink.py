"""A server that costs next to nothing, to measure the load generator against: `python -m tests.bench.sink PORT`.

A test double: it upgrades, says `ready`, throws the sound away without unmasking it, and sends a partial twice a second
as a real server would. It shares no code with the generator.
"""

import asyncio
import base64
import hashlib
import json
import sys

import click

from server.protocols import native

_MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def text_frame(text: str) -> bytes:
    body = text.encode()
    length = bytes([len(body)]) if len(body) < 126 else b"\x7e" + len(body).to_bytes(2, "big")
    return b"\x81" + length + body


READY = text_frame(
    json.dumps(native.ready("sink", 0, server_id="sink", total_gpus=1, setup_time_ms=1.0, resume_token=""))
)


class Sink(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.head = b""
        self.open = False
        self.words = 0
        self.received = 0

    def data_received(self, data: bytes) -> None:
        if self.open:
            self.received += len(data)
            # The end message is a short masked text frame of 14 bytes; sound comes in large frames.
            if len(data) < 40 and data[0] == 0x81:
                self.transport.write(text_frame('{"type":"done","audio_s":1,"segments":1}'))
                self.transport.write(b"\x88\x02\x03\xe8")
                self.open = False
            return
        self.head += data
        if b"\r\n\r\n" in self.head:
            self.answer()

    def answer(self) -> None:
        lines = self.head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        key = headers.get("sec-websocket-key")
        if key is None:
            self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.transport.close()
            return
        accept = base64.b64encode(hashlib.sha1((key + _MAGIC).encode()).digest()).decode()
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
        )
        self.open = True
        self.transport.write(READY)
        asyncio.get_running_loop().call_later(0.5, self.partial)

    def partial(self) -> None:
        if not self.open or self.transport.is_closing():
            return
        self.words += 1
        text = " ".join(["word"] * (self.words % 20 + 1))
        self.transport.write(text_frame('{"type":"partial","segment":0,"text":"' + text + '","stable_chars":0}'))
        asyncio.get_running_loop().call_later(0.5, self.partial)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port, backlog=1024)
    click.echo(server.sockets[0].getsockname()[1])
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
