"""What the processes of one server say to each other, in goridge frames with two options: kind and number.

=========  =======================  ============================================================
kind       number                   payload
=========  =======================  ============================================================
CALL       of the call              method and arguments; a RESULT or an ERROR with the number follows
CANCEL     of the call              nobody wants its result any more
RESULT     of the call              a value
ERROR      of the call              kind, public text and text of an exception
TELL       0                        method and arguments; nothing follows
BATCH      of the broker            publications, in order; of most topic and payload are enough
=========  =======================  ============================================================

Payloads are values of Python in the form of `marshal`, which is read and written in C. The peer is a process
of the same program, forked from the same parent; nobody else can reach a link. So what comes is trusted, as
memory is. Values are plain: None, numbers, texts, bytes, tuples, lists and dicts of these.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any

from rr_py_ws import errors
from rr_py_ws.errors import BrokerError, WorkerError
from rr_py_ws.metrics import Distribution, Histogram, Metric, Sample
from rr_py_ws.wire.goridge import Flag, Frame, encode_header
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.recovery import OFF, Missed, Recovery

MAX_PAYLOAD = 2**32 - 1
_RAW = int(Flag.RAW)
_FORM = 2
"""Version of marshal's form: later ones look for objects that are there twice, which takes longer."""
_MISTAKE = "another process of the server has failed"
_NOTHING_ELSE = (None, 0.0, ())
"""Position, time and exclusions of most publications."""
_new = tuple.__new__  # makes a NamedTuple in half the time of a call of its class


class Kind(IntEnum):
    """The first option of a frame."""

    CALL = 0
    CANCEL = 1
    RESULT = 2
    ERROR = 3
    TELL = 4
    BATCH = 5


_CALL, _TELL, _BATCH = int(Kind.CALL), int(Kind.TELL), int(Kind.BATCH)


def encode(kind: int, number: int, value: Any = None) -> bytes:
    """Encode anything but a batch."""
    payload = marshal.dumps(value, _FORM)
    return encode_header(_RAW, (kind, number), len(payload)) + payload


def encode_call(number: int, method: str, args: Sequence[object]) -> bytes:
    """Encode a call."""
    return encode(_CALL, number, (method, *args))


def encode_tell(method: str, args: Sequence[object]) -> bytes:
    """Encode a call that is not answered."""
    return encode(_TELL, 0, (method, *args))


def encode_batch(broker: int, publications: Iterable[Publication]) -> bytes:
    """Encode publications."""
    # A tuple of its own class is nothing for marshal, and one call for all takes half the time.
    plain = [one[:2] if one[2] is None and not one[3] and not one[4] else tuple(one) for one in publications]
    return encode(_BATCH, broker, plain)


def decode(frame: Frame) -> tuple[int, int, Any]:
    """Decode a frame into kind, number and value; that of a batch is a list of publications."""
    kind, number = frame.options
    value = marshal.loads(frame.payload)
    if kind == _BATCH:
        return (
            kind,
            number,
            [_new(Publication, found + _NOTHING_ELSE if len(found) == 2 else found) for found in value],
        )
    return kind, number, value


def encode_error(number: int, error: BaseException) -> bytes:
    """Encode what a call has raised instead of a result."""
    return encode(Kind.ERROR, number, pack_error(error))


def pack_error(error: BaseException) -> tuple[str, str, str]:
    """Make a plain value of an exception."""
    name, text = type(error).__name__, str(error)
    if isinstance(error, BrokerError):
        return name, error.public, text
    if isinstance(error, WorkerError | TimeoutError):
        return name, text, text
    return name, _MISTAKE, f"{_MISTAKE}: {name}: {text}"


def unpack_error(found: tuple[str, str, str]) -> Exception:
    """Return the exception again; one that is neither a broker's nor a worker's becomes a broker's."""
    name, public, text = found
    if name == "TimeoutError":
        return TimeoutError(text)
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, WorkerError):
        return kind(text)
    error = BrokerError(text)
    error.public = public
    return error


Plain = Any
"""A value that can be encoded."""


def pack_publications(publications: Iterable[Publication]) -> list[Plain]:
    """Make plain values of publications."""
    return [tuple(publication) for publication in publications]


def unpack_publications(found: Iterable[Plain]) -> list[Publication]:
    """Return the publications again."""
    return [Publication(*one) for one in found]


def pack_recoveries(recoveries: dict[str, Recovery]) -> Plain:
    """Make a plain value of what becomes of a join with history."""
    return {
        topic: (position, pack_publications(replay), reason)
        for topic, (position, replay, reason) in recoveries.items()
    }


def unpack_recoveries(found: Plain) -> dict[str, Recovery]:
    """Return it again."""
    return {
        topic: OFF if reason == "off" else Recovery(position, Missed(unpack_publications(replay)), reason)
        for topic, (position, replay, reason) in found.items()
    }


def pack_metrics(metrics: Iterable[Metric]) -> list[Plain]:
    """Make plain values of metrics."""
    return [_pack_metric(metric) for metric in metrics]


def unpack_metrics(found: Iterable[Plain]) -> list[Metric]:
    """Return the metrics again."""
    return [_unpack_metric(*one) for one in found]


def _pack_metric(metric: Metric) -> Plain:
    kind: str
    values: Plain
    if isinstance(metric, Sample):
        kind, values = metric.kind, dict(metric.values)
    else:
        kind = "histogram"
        values = {
            labels: (tuple(one.bounds), one.buckets, one.total) for labels, one in metric.values.items()
        }
    return kind, metric.name, metric.text, metric.labels, values, metric.prefix


def _unpack_metric(
    kind: Any, name: str, text: str, labels: tuple[str, ...], values: Plain, prefix: str
) -> Metric:
    if kind != "histogram":
        return Sample(name, kind, text, labels, values, prefix)
    distributions = {}
    for key, (bounds, buckets, total) in values.items():
        distributions[key] = distribution = Distribution(bounds)
        distribution.buckets, distribution.total = buckets, total
    return Histogram(name, text, labels, distributions, prefix)
