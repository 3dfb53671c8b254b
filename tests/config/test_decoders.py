"""What holds for every decoder of a value."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rr_py_ws.config import addresses, quantities, values

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize(
    "decode",
    [
        quantities.compression_level,
        quantities.count,
        quantities.duration,
        quantities.interval,
        quantities.mebibytes,
        quantities.patience,
        quantities.pause,
        quantities.positive_count,
        quantities.positive_duration,
        quantities.size,
        quantities.timeout,
        quantities.error_status,
        addresses.address,
        values.boolean,
        addresses.dsn,
        values.environment,
        values.file_mode,
        addresses.listen_dsn,
        addresses.networks,
        values.one_of("a", "b"),
        addresses.origins,
        addresses.redis_addresses,
        addresses.relay,
        values.sections,
        values.switch,
        values.text,
        values.text_list,
        addresses.url_path,
    ],
)
@settings(deadline=None)
@given(found=anything)
def test_a_decoder_raises_value_error_and_nothing_else(
    decode: Callable[[object], object], found: object
) -> None:
    try:
        decode(found)
    except ValueError as error:
        assert str(error).startswith("accepted: ")
