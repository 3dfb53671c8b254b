"""PHP workers: processes that answer who may connect and join, and requests for pages."""

from __future__ import annotations

RR_VERSION = "2.11.4"
"""The RoadRunner release whose workers these are."""
