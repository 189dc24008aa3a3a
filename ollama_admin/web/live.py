"""The parts of pages that change: read once a second for all who look at the same, and not at all
where nobody looks.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import suppress

Read = Callable[[], Awaitable[str]]

EVERY = 1.0  # seconds between two readings, and between two looks at who listens


class Live:
    """`closing` is set when the process stops: everybody who listens is then let go."""

    def __init__(self, closing: asyncio.Event, every: float = EVERY) -> None:
        self._closing = closing
        self._every = every
        self._channels: dict[Hashable, _Channel] = {}

    async def listen(self, name: Hashable, read: Read) -> AsyncGenerator[str | None, None]:
        """What `read` gives, each time that it is something else; None after a second without. All
        who listen to one name share the readings of the first.
        """
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel(read, self._every)
        channel.listeners += 1
        seen = None
        try:
            while not self._closing.is_set():
                text = await channel.another(seen)
                yield text
                if text is not None:
                    seen = text
        finally:
            channel.listeners -= 1
            if not channel.listeners:
                self._channels.pop(name, None)
                channel.close()


class _Channel:
    def __init__(self, read: Read, every: float) -> None:
        self.listeners = 0
        self._read = read
        self._every = every
        self._text: str | None = None
        self._changed = asyncio.Condition()
        self._reading = asyncio.get_running_loop().create_task(self._read_on())

    async def another(self, seen: str | None) -> str | None:
        """The newest text once it is not the one that was seen; None where that takes long."""
        if self._reading.done():
            self._reading.result()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._every), self._changed:
                await self._changed.wait_for(lambda: self._text not in (None, seen))
                return self._text
        return None

    def close(self) -> None:
        self._reading.cancel()

    async def _read_on(self) -> None:
        while True:
            text = await self._read()
            if text != self._text:
                async with self._changed:
                    self._text = text
                    self._changed.notify_all()
            await asyncio.sleep(self._every)
