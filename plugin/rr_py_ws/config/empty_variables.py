"""Variables without a value where a rule stands.

`allowed_origin: ["${APP_URL}"]` means one page. With an unset variable the text is empty, and an empty text
means any page to RoadRunner; in other keys no TLS, no limit, every address, or the server's own account. What
the file says plainly (`allowed_origin: ""`) counts; what a missing variable says is an error, also when the
variable has a default that is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from rr_py_ws.address import TCPAddress
from rr_py_ws.config.yaml_file import lookup, without_item
from rr_py_ws.errors import ConfigError

# Where these end with a dot, every key of the section is meant.
_RULES = (
    "http.ssl.",
    "http.trusted_subnets",
    "server.user",
    "server.group",
    "server.on_init.user",
    "websockets.allowed_origin",
    "websockets.authorize",
    "websockets.authorize_timeout",
    "websockets.client_address_header",
    "websockets.limits.",
    "websockets.ping.",
    "websockets.pool.supervisor.",
    "websockets.rpc.mode",
)
"""Keys that bound who may come in or what a peer may do."""
_REDIS_RULES = ("prefix", "tls.")
"""The same, among the options of a broker. Not user and password: without them Redis decides."""
_ADDRESSES = (
    "http.address",
    "metrics.address",
    "rpc.listen",
    "server.relay",
    "status.address",
    "websockets.address",
    "websockets.metrics.address",
    "websockets.rpc.listen",
    "websockets.status.address",
)
"""Keys where an empty host is every address of the machine; all of it empty is the default or an error."""


def empty_rules(
    empty: Mapping[str, str], tree: Mapping[str, object], redis_sections: Iterable[str]
) -> Iterator[ConfigError]:
    """Find variables without a value in keys where nothing would mean everything.

    Args:
        empty: key -> what to say of a variable in its value that stands for nothing.
        tree: the configuration, after the variables.
        redis_sections: keys of the sections with options of Redis.

    Returns:
        An error for each of them.
    """
    rules = [*_RULES, *(f"{section}.{option}" for section in redis_sections for option in _REDIS_RULES)]
    for key, said in empty.items():
        opens = key in _ADDRESSES and _is_every_address(str(lookup(tree, key)))
        if opens or any(key == rule or (rule[-1] == "." and key.startswith(rule)) for rule in rules):
            yield ConfigError(
                key,
                f"{said}, which would be no rule at all here;"
                " set it, or write the value (${NAME:-default} has a default, which must not be empty)",
            )


def with_cause(error: ConfigError, empty: Mapping[str, str]) -> ConfigError:
    """Add to an error what is not set, when that is what the value of its key was made of."""
    key = without_item(error.key)
    # The rules above say it themselves.
    if key not in empty or empty[key] in str(error):
        return error
    return ConfigError(error.key, f"{str(error).removeprefix(f'{error.key}: ')}; {empty[key]}")


def _is_every_address(text: str) -> bool:
    """Whether a listener would have every address; text that is no address at all is refused elsewhere."""
    host, colon, port = text.rpartition("://")[2].rpartition(":")
    return bool(colon and port) and TCPAddress(host.strip(" []"), 0).is_every
