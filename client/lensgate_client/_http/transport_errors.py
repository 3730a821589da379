"""Convert errors of httpx to errors of the gate."""

import re

import httpx

from lensgate_client._http.environment import describe_proxy, origin
from lensgate_client.errors import DeadlineExceeded, GateError, GateUnreachable, UnexpectedAnswer, single_line

_MAX_REASON = 300

_REMEDIES = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not trusted: SSL_CERT_FILE names the file of its CA",
    # Either of them, by the version of OpenSSL.
    "WRONG_VERSION_NUMBER": "the port does not take TLS: use http://",
    "RECORD_LAYER_FAILURE": "the port does not take TLS: use http://",
}
"""What to do about failures of a TLS handshake that do not pass by themselves."""

_LOST_CONNECTION = re.compile("disconnected|closed connection")
"""Messages of httpcore and h11 for a connection that closed within a response; others are protocol violations."""


def transport_error(error: httpx.RequestError, proxy: httpx.Proxy | None = None) -> GateError:
    """Convert an error of httpx; distinguish whether the gate may have received the request.

    `proxy` is that of the environment, to which all connections go.
    """
    reason = single_line(str(error), _MAX_REASON)
    text = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.ProxyError():
            if proxy is not None:
                text += f", {describe_proxy(proxy)}"
            remedy = next((remedy for fault, remedy in _REMEDIES.items() if fault in reason), "is it running?")
            return GateUnreachable(f"cannot connect to the gate at {origin(error.request.url)}, {remedy} ({text})")
        case httpx.TimeoutException():
            return DeadlineExceeded(f"the gate did not respond in time ({text})")
        case httpx.RemoteProtocolError() if not _LOST_CONNECTION.search(reason):
            return UnexpectedAnswer(f"the response is not HTTP ({text})")
        case httpx.NetworkError() | httpx.RemoteProtocolError():
            return GateUnreachable(f"the connection to the gate was lost before its response ({text})", is_lost=True)
        case _:
            return UnexpectedAnswer(f"the request cannot be sent to the gate ({text})")
