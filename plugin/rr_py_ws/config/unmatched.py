"""Rules of a file that can match nobody: surely mistakes, which `check` and the start both tell."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rr_py_ws.config.models import Config
from rr_py_ws.config.suggestion import did_you_mean
from rr_py_ws.config.values import shown

CHANNELS = ("app", "broadcast", "metrics", "rpc", "server", "status", "websockets")
"""The channels of the log that this program writes to."""
_OTHER_CHANNELS = (
    "amqp beanstalk boltdb centrifuge fileserver grpc http informer jobs kafka kv lock memcached memory nats "
    "otel reload resetter service sqs static tcp temporal"
)
_ORIGIN = re.compile(
    r"null|(?!wss?:)([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?"
)
_DEFAULT_PORTS = {("http", "80"), ("https", "443")}
_FILLERS = (
    *("", "a", "8", "s", "p", "https", "a:8", ":8", "1]", "::1]", "1]:8", "::1]:8", "/a", "//a", "://a"),
    *("s://a", "https://a", "http://a", "https://a:8", "http://a:8", "https://[::1", "https://[::1]"),
)
"""What a star may stand for; of each kind of text one."""


def unmatched_rules(config: Config) -> Iterator[tuple[str, str]]:
    """Name the key of each rule that can match nobody, and say why."""
    if websockets := config.websockets:
        for index, value in enumerate(websockets.allowed_origin):
            if not _can_be_an_origin(value):
                item = f"websockets.allowed_origin[{index}]"
                yield item if item in config.places else "websockets.allowed_origin", _no_origin(value)
        if special := re.search("[?#%]", websockets.path):
            yield (
                "websockets.path",
                f"{shown(websockets.path)} matches no request:"
                f" the path is compared without its query and decoded, so it has no {special[0]}",
            )
    http = config.http
    if http and http.trusted_subnets and "proxy_ip_parser" not in http.middleware:
        yield "http.trusted_subnets", "ignored, http.middleware does not list proxy_ip_parser"
    ssl = http.ssl if http else None
    if config.tls and ssl and ssl.root_ca and not ssl.asks_for_certificates:
        yield (
            "http.ssl.root_ca",
            f"nobody is asked for a certificate, client_auth_type is {ssl.client_auth_type}",
        )
    for name in config.logs.channels:
        if name not in CHANNELS and name not in _OTHER_CHANNELS.split():
            meant = did_you_mean(name, CHANNELS)
            yield f"logs.channels.{name}", f"nothing is logged there{meant}"


def _can_be_an_origin(value: str) -> bool:
    """Whether the `Origin` of some page matches a value of `allowed_origin`."""
    if value == "*":
        return True
    prefix, star, suffix = value.lower().partition("*")
    if star and "." in prefix and "://" not in prefix:  # `example.*`; no scheme begins like a host
        return False
    return any(map(_is_origin, (f"{prefix}{filler}{suffix}" for filler in (_FILLERS if star else ("",)))))


def _is_origin(text: str) -> bool:
    """Whether a browser sends this as the origin of a page."""
    found = _ORIGIN.fullmatch(text)
    return found is not None and (found[1], found[3]) not in _DEFAULT_PORTS


def _no_origin(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    host = (rest if separator else value).split("/")[0]
    scheme = scheme if separator and scheme.lower() not in ("ws", "wss") else "https"
    better = (f"{scheme}://{text}" for text in (host, re.sub(":[0-9]+$", "", host)))
    meant = next((f", did you mean {text}?" for text in better if _can_be_an_origin(text)), "")
    return (
        f"{shown(value)} matches no page; browsers send scheme://host, a port"
        f" only if it is not the default one, and no path{meant}"
    )
