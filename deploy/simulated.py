"""Two simulated Ollama servers at 127.0.0.1, ports 11434 and 11435, to try things with."""

import asyncio

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import SimulatedServer


async def main() -> None:
    """Answer until a signal ends it."""
    model = SimulatedModel("llama3.2:3b", says="Hello! This is llama3.2:3b.")
    first = SimulatedServer(model, port=11434, token_delay=0.05)
    second = SimulatedServer(model, port=11435, token_delay=0.05)
    async with first, second:
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
