"""A program that makes worker processes: each line on stdin asks for one, its process id is the
answer on stdout.

A worker takes slots of server 1 and sends one request under each to the counter at a port; without
a port, it asks the server itself for whole answers. Children of one process that has loaded the
modules start in a moment. All end with it, and it with its standard input. It must be started in a
session of its own.
"""

import asyncio
import os
import signal
import sys

import ollama_admin.store.listings
import ollama_admin.store.waiting  # noqa: F401 (so that children need not load the driver)
from ollama_admin.client import Client
from ollama_admin.domain.servers import Server
from ollama_admin.errors import DatabaseUnavailable
from ollama_admin.services.leases import LeaseTimes, uptime
from ollama_admin.services.slots import Slots

FOREVER = 3600.0
LOST = "lost a request"


async def ask_for_ever(slots: Slots, server: Server, port: int) -> None:
    while True:
        came = uptime()
        try:
            lease = await slots.first_free([server], wait=FOREVER)
        except DatabaseUnavailable as exc:
            print(f"{LOST}: {exc.message}", file=sys.stderr, flush=True)
            await asyncio.sleep(0.05)
            continue
        async with lease:
            waited = uptime() - came
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            if lease.is_trusted:
                line = f"{lease.slot} {lease.token} {os.getpid()} {waited:.3f}\n"
                writer.write(line.encode())
                await reader.readline()
            writer.close()


async def answer_for_ever(client: Client) -> None:
    while True:
        await client.generate(prompt="hi", model="alpha", server=1, no_verify=True, wait=FOREVER)


def tell(note: str) -> None:
    if "at its limit" not in note:
        print(f"note: {note}", file=sys.stderr, flush=True)


async def work(url: str, port: int, count: int, ttl: float) -> None:
    times = LeaseTimes()
    if ttl != times.ttl:
        times = LeaseTimes(ttl=ttl, renew=ttl / 3, margin=ttl / 6)
    async with Client(database_url=url, environ={}, on_note=tell, lease_times=times) as client:
        server = await client.servers.show(1)
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                asking = (
                    ask_for_ever(client._resources.slots, server, port)
                    if port
                    else answer_for_ever(client)
                )
                group.create_task(asking)


def main(url: str, port: str, count: str, ttl: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the killed leave nothing behind
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(work(url, int(port), int(count), float(ttl)))
        print(child, flush=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
