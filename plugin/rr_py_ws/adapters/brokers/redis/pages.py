"""Answers to who reads a history without being in its topic."""

from __future__ import annotations

from rr_py_ws.adapters.brokers.redis.store import Kept
from rr_py_ws.core.history import Page, Query
from rr_py_ws.wire.position import StreamPosition
from rr_py_ws.wire.publication import Publication
from rr_py_ws.wire.recovery import Reason


def make_page(topic: str, query: Query, since: StreamPosition | None, kept: Kept) -> Page:
    """Answer a query with what was read for it."""
    newest, entries = kept.newest, list(kept.entries)
    reason: Reason = "limit" if kept.is_cut else ""
    if query.since:
        if since is None or since.epoch != newest.epoch:
            return Page((), str(newest), "epoch")
        if since.offset > newest.offset:
            return Page((), str(newest), "ahead")
        first = entries[0].offset if entries else newest.offset + 1
        if first == since.offset + 1 and kept.before != since.nonce and since.nonce and kept.before:
            return Page((), str(newest), "epoch")
        if first > since.offset + 1 and not kept.is_cut:
            reason = "trimmed"
    if entries and entries[-1].offset < newest.offset:
        reason = reason or "limit"
    if query.newest_first:
        entries.reverse()
    publications = [
        Publication(
            topic,
            entry.payload,
            str(StreamPosition(newest.epoch, entry.offset, entry.nonce)),
            entry.time,
            entry.exclude,
        )
        for entry in entries
    ]
    return Page(publications, str(newest), reason)
