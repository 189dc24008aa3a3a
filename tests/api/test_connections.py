"""Connections of clients that are many, slow, silent or gone."""

import gc
import socket

from ollama_admin.api.protocol import DeadlineProtocol
from tests.api.service import Service


def accepted(port: int) -> list[socket.socket]:
    """The server's own ends of the connections that are open at a port."""
    protocols = (item for item in gc.get_objects() if isinstance(item, DeadlineProtocol))
    sockets = (protocol.transport.get_extra_info("socket") for protocol in protocols)
    return [end for end in sockets if end.fileno() != -1 and end.getsockname()[1] == port]


def test_no_part_of_an_answer_waits_until_the_part_before_it_is_acknowledged(
    shared_api: Service,
) -> None:
    with shared_api.client() as client:
        assert client.get("/healthz").status_code == 200
        [end] = accepted(shared_api.port)
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
