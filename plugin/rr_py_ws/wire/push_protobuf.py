"""Messages of proto/push.proto by Google's library; `push_service` loads this when a call needs it."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from rr_py_ws.errors import RPCError
from rr_py_ws.wire.pb import push_pb2


def decode_message(kind: str, body: bytes) -> Any:
    """Decode a message.

    Args:
        kind: its name in proto/push.proto.
        body: the encoded message.

    Raises:
        RPCError: it cannot be decoded.
    """
    try:
        return getattr(push_pb2, kind).FromString(body)
    except DecodeError:
        raise RPCError(f"the body is not a push.v1.{kind} in protobuf") from None


def encode_message(kind: str, fields: dict[str, Any]) -> bytes:
    """Encode a message of these fields."""
    return bytes(getattr(push_pb2, kind)(**fields).SerializeToString())
