"""Whose address a request comes from, for the throttle and the audit."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest

IPV6_NETWORK_BITS = 64


def client_address(request: HttpRequest) -> str | None:
    """Return the client's address, or None when the server names none.

    A request from this machine, where the console is served over https, came through the proxy in front: then the last
    entry of X-Forwarded-For is the proxy's own word. Earlier entries are the client's, and never believed. Of an IPv6
    address the network counts: whoever has one address there has them all.
    """
    peer = _parsed(request.META.get("REMOTE_ADDR", ""))
    if peer is not None and peer.is_loopback and settings.ENVIRONMENT.is_served_over_https:
        last = request.META.get("HTTP_X_FORWARDED_FOR", "").rsplit(",", 1)[-1]
        peer = _parsed(last) or peer
    if isinstance(peer, ipaddress.IPv6Address) and not peer.is_loopback:
        return str(ipaddress.ip_network((peer, IPV6_NETWORK_BITS), strict=False).network_address)
    return None if peer is None else str(peer)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address, also where a port follows it; None for what is no address."""
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].split("]", 1)[0]
    elif bare.count(":") == 1:
        bare = bare.split(":", 1)[0]
    try:
        found = ipaddress.ip_address(bare)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
