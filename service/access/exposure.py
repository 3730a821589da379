"""Who can reach the service, and that somebody has thought of it."""

from service.access.origin import AllowedHosts, is_loopback
from service.errors import SettingsError
from service.settings import Settings


def check_exposure(settings: Settings) -> None:
    """Refuse to listen where others come in, without tokens, unless told so.

    Raises:
        SettingsError: that is how it is set; the text says what to do.
    """
    if is_loopback(settings.host) or settings.tokens is not None or settings.allow_unauthenticated:
        return
    raise SettingsError(
        f"LENSGATE_HOST={settings.host} can be reached from other machines, and nobody would be asked for a token: "
        "make one with `lensgate tokens add NAME --scopes decide --file tokens.toml` and set LENSGATE_TOKENS to the "
        "file, or set LENSGATE_ALLOW_UNAUTHENTICATED=true where something in front decides who comes in"
    )


def allowed_hosts(settings: Settings) -> AllowedHosts | None:
    """Return the names to serve browsers under; None where tokens are asked for and no names are set.

    A page of another name has no token to send, and the cookie of a session goes to its own name alone.
    """
    if settings.tokens is not None and not settings.allowed_hosts:
        return None
    names = [name.strip() for name in settings.allowed_hosts.split(",")]
    addresses_pass = not is_loopback(settings.host) or settings.allow_unauthenticated or settings.tokens is not None
    return AllowedHosts([*filter(None, names), settings.host], addresses_pass=addresses_pass)
