"""What the history of a topic is called in Redis.

A channel is the topic in bytes, with the prefix of the section. In a cluster all its keys have its slot.
"""

from __future__ import annotations

from binascii import crc_hqx
from hashlib import blake2b

SLOTS = 16384
RESERVED = b"rrws:"
"""No topic may begin so: its messages would be taken for marks."""
_MOST_KNOWN = 4096


def tag_of(channel: bytes) -> bytes:
    """The part of a name that decides its slot (Redis cluster specification, "Hash tags")."""
    _, opened, rest = channel.partition(b"{")
    tag, closed, _ = rest.partition(b"}")
    return tag if opened and closed and tag else channel


def slot_of(channel: bytes) -> int:
    """The slot of a channel."""
    return crc_hqx(tag_of(channel), 0) % SLOTS


class HistoryNames:
    """The names that belong to one channel.

    Attributes:
        stream: the key of the messages.
        meta: the key of the hash with epoch and counter.
        marks: the channel of what is told of each message.
    """

    __slots__ = ("_rest", "marks", "meta", "stream")

    def __init__(self, channel: bytes) -> None:
        self._rest = b"{%s}:%s" % (tag_of(channel), channel)
        self.stream = b"rrws:h:" + self._rest
        self.meta = b"rrws:m:" + self._rest
        self.marks = b"rrws:k:" + self._rest

    def once(self, key: str) -> bytes:
        """The key that says what was published under an idempotency key."""
        # A digest: of fixed length, so that no key of one topic can be another topic's key.
        digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return b"rrws:i:%s:%s" % (self._rest, digest.encode())


def is_in_one_slot(channel: bytes) -> bool:
    """Whether the keys of a channel have its slot; a tag with `}` cannot be repeated."""
    return b"}" not in tag_of(channel)
