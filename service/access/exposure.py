"""Who can reach the service, and that somebody has thought of it."""

from service.access.origin import is_loopback
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


def expects_loopback(settings: Settings) -> bool:
    """Whether only this machine's programs and browsers should come, none of which is asked for a token."""
    return is_loopback(settings.host) and settings.tokens is None and not settings.allow_unauthenticated
