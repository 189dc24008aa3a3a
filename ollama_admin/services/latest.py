"""News of several sources for a reader who may be slow: of each source only the latest is kept."""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, Self, TypeVar

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


AGAIN = 15.0  # seconds; proxies end what is silent for 60


class Latest(Generic[Key, Item]):
    """Items by the key of their source, for one reader. Those of `put` come at most once in `every`
    seconds, and one that nobody has read gives way to the next of its key; those of `put_last` are
    never left out, and come at once. After `again` seconds without anything, what each source said
    last comes again, so that a reader sees that there is life.
    """

    def __init__(self, every: float, again: float = AGAIN) -> None:
        self._every = every
        self._again = again
        self._said: dict[Key, Item] = {}  # by sources that may say more
        self._passing: dict[Key, Item] = {}
        self._lasting: deque[Item] = deque()
        self._due: deque[Key] = deque()  # whose items may be read now
        self._not_before = 0.0  # by the loop's clock, when the next ones may
        self._changed = asyncio.Event()
        self._is_over = False

    def put(self, key: Key, item: Item) -> None:
        """Have the item read, unless a later one of its key comes before that."""
        if not self._passing:
            self._changed.set()
        self._passing[key] = self._said[key] = item

    def put_last(self, key: Key, item: Item) -> None:
        """Have the item read; what its source said before is of no use any more."""
        self._passing.pop(key, None)
        self._said.pop(key, None)
        self._lasting.append(item)
        self._changed.set()

    def end(self) -> None:
        """Nothing more comes."""
        self._is_over = True
        self._changed.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Item:
        while True:
            if self._lasting:
                return self._lasting.popleft()
            if self._is_over:
                raise StopAsyncIteration
            if not self._due:
                await self._until_changed()
            elif (key := self._due.popleft()) in self._passing:
                return self._passing.pop(key)

    async def _until_changed(self) -> None:
        """Wait for what comes at once, or until passing items are due."""
        now = asyncio.get_running_loop().time()
        if self._passing and now >= self._not_before:
            self._not_before = now + self._every
            self._due.extend(self._passing)
            return
        until = self._not_before if self._passing else now + self._again
        try:
            async with asyncio.timeout_at(until):
                await self._changed.wait()
        except TimeoutError:
            if not self._passing:
                self._passing.update(self._said)
        self._changed.clear()
