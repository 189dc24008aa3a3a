"""How long a server may be silent: long until a model has begun, not so long in the middle."""

import asyncio
from contextlib import suppress

import pytest

from ollama_admin.ollama.connecting import Times
from ollama_admin.ollama.raw_http import RawHTTP
from ollama_admin.ollama.response import ConnectionFault


async def test_a_server_that_falls_silent_in_mid_answer_is_not_waited_for_as_at_its_start() -> None:
    ended = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)  # longer than `idle`: the model is loaded
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        with suppress(OSError):
            await reader.read()  # and then nothing
            writer.close()
            await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    http = RawHTTP(Times(first_byte=60.0))
    try:
        async with http.send(
            "GET", f"http://127.0.0.1:{port}/", idle=0.1, any_address=True
        ) as response:
            chunks = aiter(response.chunks)
            assert await anext(chunks) == b"a"
            with pytest.raises(ConnectionFault):
                await anext(chunks)
    finally:
        await http.aclose()
        await ended.wait()
        server.close()
        await server.wait_closed()
