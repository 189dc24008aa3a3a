"""The floor of a discovery: what must be fetched, by one httpx client, and nothing done with it.

    python bare_discovery.py FILE [--show]

FILE has a server's URL in each line. With `--show`, each model of the first server is looked at,
once in all.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import httpx


async def main() -> None:
    urls = Path(sys.argv[1]).read_text().split()
    # verify=False: there is no https, and no time is spent on certificates. httpx's own limits (100
    # connections, of which 20 are kept) were faster than keeping all, and than asking fewer servers
    # at once.
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        listed = await asyncio.gather(*(listing(client, url) for url in urls))
        if "--show" in sys.argv:
            names = [model["name"] for model in listed[0]["models"]]
            asked = (
                show(client, urls[number % len(urls)], name) for number, name in enumerate(names)
            )
            await asyncio.gather(*asked)


async def listing(client: httpx.AsyncClient, url: str) -> Any:
    (await client.get(f"{url}/api/version")).raise_for_status()
    return json.loads((await client.get(f"{url}/api/tags")).raise_for_status().content)


async def show(client: httpx.AsyncClient, url: str, name: str) -> Any:
    return json.loads(
        (await client.post(f"{url}/api/show", json={"model": name})).raise_for_status().content
    )


if __name__ == "__main__":
    asyncio.run(main())
