"""Which addresses count as one client's, wherever something is counted or capped by address."""

import functools
import ipaddress


@functools.lru_cache(maxsize=4096)
def client_network(address: str) -> str:
    """IPv4 as it is; of IPv6 the /64, since a customer has all of it."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
