"""Which addresses a request may be sent to when it is not the owner of this machine who asks."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from ollama_admin.errors import AddressRefused

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Where clouds tell a machine its credentials; 169.254.169.254 and fe80:: are link-local anyway.
_METADATA = tuple(
    map(
        ipaddress.ip_network,
        (
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::/32",  # Amazon: ::254 and, for pods, ::23
            "fd00:42::42",
            "fd00:c1::a9fe:a9fe",
            "fd20:ce::254",
        ),
    )
)
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_BROADCAST = ipaddress.ip_address("255.255.255.255")
_LOOPBACK = ipaddress.IPv6Address("::1")
# IPv4-compatible, -mapped and -translated addresses, and NAT64's: IPv4 is the last 32 bits
_ENDING_IN_IPV4 = tuple(
    map(ipaddress.IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96"))
)
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_ISATAP = 0x5EFE  # bits 80 to 95, and bits 64 to 79 are 0 but for the bit that says "global"


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
    if address == _BROADCAST or address in _THIS_NETWORK:
        return True
    return any(address in network for network in _METADATA)


def _meanings(address: Address) -> list[Address]:
    """The address, and the IPv4 addresses that are written in it."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    return [address, *_embedded(address)]


def _embedded(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    if address != _LOOPBACK and any(address in network for network in _ENDING_IN_IPV4):
        yield _ipv4(address, 96)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if int(address) >> 32 & 0xFDFF_FFFF == _ISATAP:
        yield _ipv4(address, 96)
    if address in _LOCAL_NAT64:
        yield from _behind_local_nat64(address)


def _behind_local_nat64(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """IPv4 where each length of prefix puts it (RFC 6052, 2.2), around the byte that stays 0; what
    is 0 there is filling.
    """
    bits = int(address)
    without_zero_byte = ipaddress.IPv6Address(bits >> 64 << 64 | (bits << 8 & (1 << 64) - 1))
    readings = [_ipv4(address, 96)]
    readings += [_ipv4(without_zero_byte, start) for start in (48, 56, 64)]
    yield from (reading for reading in readings if reading not in _THIS_NETWORK)


def _ipv4(address: ipaddress.IPv6Address, start: int) -> ipaddress.IPv4Address:
    """The 32 bits from bit `start` on, counted from the left."""
    return ipaddress.IPv4Address(int(address) >> (96 - start) & 0xFFFF_FFFF)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
