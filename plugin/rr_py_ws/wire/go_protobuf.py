"""Why a protobuf argument of `Publish` cannot be decoded, in the words of Go's library.

Python's library only says that it cannot. Go's has two texts, and says the one for what comes first.
"""

from __future__ import annotations

from collections.abc import Collection

MOST = 16 * 1024
"""Bytes, at most, of what is looked through in this way."""
_INVALID = "goridge_read_request_body: proto: cannot parse invalid wire-format data"
_INVALID_UTF8 = "goridge_read_request_body: string field contains invalid UTF-8"
_MESSAGES = 1  # the number of the only field of a request
_VARINT, _FIXED64, _BYTES, _GROUP, _END, _FIXED32 = range(6)
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_MAX_NUMBER = 2**29 - 1


def explain(body: bytes, texts: Collection[int]) -> str:
    """Return the text for a body that cannot be decoded.

    Args:
        body: the encoded request.
        texts: the numbers of the fields of a message that are texts.
    """
    if len(body) > MOST:
        return _INVALID
    try:
        at = 0
        while at < len(body):
            start, end, is_message = _field(body, at, _MESSAGES)
            if is_message:
                _check_texts(body[start:end], texts)
            at = end
    except UnicodeDecodeError:
        return _INVALID_UTF8
    except (IndexError, ValueError):
        pass
    return _INVALID


def _check_texts(message: bytes, texts: Collection[int]) -> None:
    at = 0
    while at < len(message):
        start, at, is_text = _field(message, at, *texts)
        if is_text:
            message[start:at].decode()


def _field(body: bytes, at: int, *wanted: int) -> tuple[int, int, bool]:
    """Return where the content of a field begins and ends, and whether it is bytes of a wanted number.

    Raises:
        ValueError or IndexError: it is no field.
    """
    number, kind, at = _tag(body, at)
    if kind == _BYTES:
        length, at = _varint(body, at)
        end = at + length
    elif kind == _GROUP:
        end = _end_of_group(body, at, number)
    elif kind == _VARINT:
        end = _varint(body, at)[1]
    else:
        end = at + _FIXED[kind] if kind in _FIXED else len(body) + 1
    if end > len(body):
        raise ValueError("no such kind, or more than there is")
    return at, end, kind == _BYTES and number in wanted


def _end_of_group(body: bytes, at: int, number: int) -> int:
    """Return where a group ends, with all that are in it."""
    is_open = [number]
    while is_open:
        inner, kind, after = _tag(body, at)
        if kind == _GROUP:
            is_open.append(inner)
        elif kind == _END:
            if inner != is_open.pop():
                raise ValueError("the end of another group")
        else:
            after = _field(body, at)[1]
        at = after
    return at


def _tag(body: bytes, at: int) -> tuple[int, int, int]:
    tag, at = _varint(body, at)
    if not 0 < tag >> 3 <= _MAX_NUMBER:
        raise ValueError("no field has this number")
    return tag >> 3, tag & 7, at


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    if byte >= 0x80 or value >= 2**64:
        raise ValueError("more than 64 bits")
    return value, at
