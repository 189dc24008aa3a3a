"""The loops that the tests of connections run on: a module may name them."""

import asyncio
from collections.abc import Callable, Mapping

import pytest


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Function
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = getattr(
        item.module, "LOOPS", {"asyncio": asyncio.new_event_loop}
    )
    return loops
