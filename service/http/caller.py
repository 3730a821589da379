"""Name the caller of a request."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from starlette.types import Scope

from service.http.scope_state import Caller, request_state


def name_caller(scope: Scope) -> str:
    """Return the name of the token, or the address where tokens are not in use; of IPv6 its /64 network."""
    return name_principal(request_state(scope).principal, (scope.get("client") or ("",))[0])


def name_principal(principal: Caller | None, host: str) -> str:
    """Return the name of the token, or that of the address `host`."""
    if principal is not None and not principal.is_anonymous:
        return f"token {principal.name}"
    return _name_address(host)


@lru_cache(4096)
def _name_address(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return f"address {host}"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return f"network {int(address) >> 64:x}"
    return f"address {host}"
