"""Which addresses a request may be sent to when it is not the owner of this machine who asks."""

import ipaddress
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
    """Raise AddressRefused for link-local, multicast, unspecified and metadata addresses, and for
    IPv6 addresses that mean one.
    """
    address = ipaddress.ip_address(text.partition("%")[0])  # without the zone of `fe80::1%eth0`
    if any(_is_refused(meant) for meant in _meanings(address)):
        raise AddressRefused(
            f"the server's address {address} is link-local, multicast, unspecified or one of a "
            "cloud's metadata",
            "such addresses are not connected to; give the server's own one",
        )


def refuse_written_address(url: str) -> None:
    """Raise AddressRefused for a URL whose host is an address that is refused; a name passes, it
    is known only when it was looked up.
    """
    host = urlsplit(url).hostname or ""
    if _is_address(host):
        refuse_address(host)


def _is_refused(address: Address) -> bool:
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return True
    return address in _METADATA or address == _BROADCAST or address in _THIS_NETWORK


def _meanings(address: Address) -> list[Address]:
    """The address, and the IPv4 addresses that are written in it."""
    meanings: list[Address] = [address]
    if isinstance(address, ipaddress.IPv4Address):
        return meanings
    if address.ipv4_mapped is not None:
        meanings.append(address.ipv4_mapped)
    if address.sixtofour is not None:
        meanings.append(address.sixtofour)
    if address in _NAT64:
        meanings.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return meanings


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
