from collections.abc import Mapping, Sequence

from rr_py_ws.core.flush import Batch
from rr_py_ws.core.ports import Subscriber
from rr_py_ws.wire.publication import Publication

def encode_push(publication: Publication, /) -> bytes: ...
def flush(batches: Sequence[Batch], /) -> list[tuple[Subscriber, int, int]]: ...
def read_calls(
    data: bytes,
    at: int,
    oks: Mapping[bytes, tuple[bytes, bytes]],
    most: int,
    units: int,
    price: int,
    longest: int,
    /,
) -> list[tuple[bytes, bytes, Publication, int]]: ...
def read_small_frame(data: bytes, /) -> bytes | None: ...
