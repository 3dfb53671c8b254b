"""Where those who behave are."""

from __future__ import annotations

from zlib import crc32

TOPICS = 200


def topic(number: int) -> str:
    """One of them."""
    return f"healthy-{number}"


def any_topic(number: int) -> str:
    """The topic of a publish with this number: any, so that some come again at once and others late."""
    return topic(crc32(b"%d" % number) % TOPICS)
