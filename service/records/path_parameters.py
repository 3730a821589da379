"""Path parameters that name a decision. Importing this module makes their kinds known to the routers."""

from starlette.convertors import Convertor, register_url_convertor

from service.records.query import RECORD_PATTERN


class _RecordConvertor(Convertor[str]):
    """A path parameter that is a `record`."""

    regex = RECORD_PATTERN

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _IdentityConvertor(_RecordConvertor):
    """A path parameter that may contain slashes, and is not empty."""

    regex = ".+"


register_url_convertor("record", _RecordConvertor())
register_url_convertor("identity", _IdentityConvertor())

RECORD = "{record:record}"
"""The `record` of a decision."""

NAME = "{name:identity}"
"""The `record` of a decision, or the caller's `id`, which may contain slashes."""
