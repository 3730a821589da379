"""Refuse to listen on a non-loopback address without authentication unless explicitly allowed."""

from service.access.origin import AllowedHosts, is_loopback
from service.errors import SettingsError
from service.settings import Settings


def check_exposure(settings: Settings) -> None:
    """Check that a service reachable from other machines has authentication, or explicit permission without.

    Raises:
        SettingsError: it has neither; the text names the settings to change.
    """
    if is_loopback(settings.host) or settings.tokens is not None or settings.allow_unauthenticated:
        return
    raise SettingsError(
        f"LENSGATE_HOST={settings.host} is reachable from other machines, but authentication is off: "
        "create a token with `lensgate tokens add NAME --scopes decide --file tokens.toml` and set LENSGATE_TOKENS to "
        "the file, or set LENSGATE_ALLOW_UNAUTHENTICATED=true if a proxy authenticates all requests"
    )


def allowed_hosts(settings: Settings) -> AllowedHosts | None:
    """Return the host names that browsers may use; None (any name) with tokens and without configured names.

    With tokens, DNS rebinding is harmless: a page under another name has neither a token nor the session cookie.
    """
    if settings.tokens is not None and not settings.allowed_hosts:
        return None
    addresses_pass = not is_loopback(settings.host) or settings.allow_unauthenticated or settings.tokens is not None
    return AllowedHosts([*settings.listed_hosts, settings.host], addresses_pass=addresses_pass)
