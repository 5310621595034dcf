"""Under which names the page is served, and from which pages a browser may send to it."""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from diffdepth_jax.errors import UserError

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_HERE = ("localhost", "127.0.0.1", "::1")
_EVERYWHERE = ("0.0.0.0", "::")


def _host_of(authority: str) -> str | None:
    """Returns the host of `host:port` in lower case and without brackets; None if malformed."""
    try:
        parts = urlsplit(f"//{authority}")
        _ = parts.port  # ValueError: not a number
    except ValueError:
        return None
    plain = parts.netloc == authority and "@" not in authority
    return parts.hostname.removesuffix(".") if plain and parts.hostname else None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether this machine alone reaches a server that listens at this address."""
    host = host.strip("[]").lower()
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


class Hosts:
    """The names and addresses of the page.

    A foreign web page can point a name of its own at this machine (DNS rebinding). The browser
    then takes the foreign page and ours for one site. So names count only if they are listed. An
    address cannot be pointed elsewhere; with `host` 0.0.0.0 or :: every address counts.

    Attributes:
      listed: the names that the operator allowed.
    """

    def __init__(self, host: str, listed: Iterable[str] = ()) -> None:
        """Takes the address that the server listens at, and further names.

        Raises:
          UserError: a name is none, such as an address with https:// or a port.
        """
        self.listed = frozenset(name.strip().lower().removesuffix(".") for name in listed)
        for name in self.listed:
            if not _NAME.fullmatch(name):
                raise UserError(
                    f"allowed_hosts {name!r}: give names such as depth.example.org,"
                    " without https://, port or path"
                )
        host = host.strip("[]").lower()
        self._any_address = host in _EVERYWHERE
        self._known = self.listed | {*_HERE, host}

    def serves(self, authority: str) -> bool:
        """Whether the page answers to this `Host` header."""
        host = _host_of(authority)
        return host in self._known or (self._any_address and host is not None and _is_address(host))

    def sends(self, origin: str, authority: str) -> bool:
        """Whether a page of this `Origin` may send requests to this `Host`.

        It may if it is the page itself. A reverse proxy can replace `Host`; so pages of listed
        names may too.
        """
        parts = origin.partition("://")
        if parts[0] not in ("http", "https"):
            return False
        return parts[2] == authority or _host_of(parts[2]) in self.listed
