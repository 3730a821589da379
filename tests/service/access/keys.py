"""Files of tokens, and the headers that go with them."""

from collections.abc import Mapping
from pathlib import Path

from service.access.tokens import hash_token

Entries = Mapping[str, str]


def token_of(name: str) -> str:
    """The token that `write_tokens` makes for a name."""
    return f"lensgate_token-of-{name}"


def write_tokens(path: Path, entries: Entries) -> Path:
    """Write one token for each name; the value is the rest of its entry, such as `scopes = ["decide"]`."""
    heads = {name: f'[[token]]\nname = "{name}"\nsha256 = "{hash_token(token_of(name))}"' for name in entries}
    tables = (f"{heads[name]}\n{rest}\n" for name, rest in entries.items())
    path.write_text("\n".join(tables))
    path.chmod(0o600)
    return path


def bearer(name: str) -> dict[str, str]:
    """Return the Authorization header for the token with this name."""
    return {"Authorization": f"Bearer {token_of(name)}"}
