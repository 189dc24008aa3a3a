"""Which addresses a request may be sent to when it is not the owner of this machine who asks."""

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from ollama_admin.errors import AddressRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds tell a machine its credentials; 169.254.169.254 and fe80:: are link-local anyway.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_BROADCAST = ipaddress.ip_address("255.255.255.255")


def refuse_address(text: str) -> None:
    """Raise AddressRefused for link-local, multicast, unspecified and metadata addresses, and those
    that mean one.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    for meant in _meanings(address):
        is_refused = (
            meant.is_link_local or meant.is_multicast or meant.is_unspecified or meant in _METADATA
        )
        if is_refused or meant == _BROADCAST or meant in _THIS_NETWORK:
            raise AddressRefused(
                f"the server's address {address} is link-local, multicast, unspecified or one of a "
                "cloud's metadata",
                "such addresses are not connected to; give the server's own one",
            )


def refuse_written_address(url: str) -> None:
    """As `refuse_address`, for a URL that has an address and no name."""
    host = urlsplit(url).hostname or ""
    if _is_address(host):
        refuse_address(host)


async def refuse_connected_address(event: str, info: dict[str, Any]) -> None:
    """For httpx's extension `trace`: look at the address that a name led to, before anything is
    sent there.

    The name is looked up by the connection itself, so no other answer of the name service can come
    in between. Connections that are used again were looked at when they were made.
    """
    if event != "connection.connect_tcp.complete":
        return
    stream = info["return_value"]
    try:
        refuse_address(stream.get_extra_info("server_addr")[0])
    except AddressRefused:
        await stream.aclose()
        raise


def _meanings(address: Address) -> list[Address]:
    """The address, and the IPv4 address that is written in it."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    written = [address.ipv4_mapped, address.sixtofour]
    if address in _NAT64:
        written.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [address, *(meant for meant in written if meant is not None)]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
