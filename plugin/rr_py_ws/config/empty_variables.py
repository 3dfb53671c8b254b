"""Variables without a value where a rule stands.

`allowed_origin: ["${APP_URL}"]` means one page. With an unset variable the text is empty, and an empty text
means any page to RoadRunner; in other keys no TLS, no limit, every address, or the server's own account. What
the file says plainly (`allowed_origin: ""`) counts; what a missing variable says is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from rr_py_ws.config.yaml_file import lookup
from rr_py_ws.errors import ConfigError

_RULES = (
    "http.ssl.*",
    "http.trusted_subnets",
    "server.user",
    "server.group",
    "server.on_init.user",
    "websockets.allowed_origin",
    "websockets.authorize",
    "websockets.authorize_timeout",
    "websockets.limits.*",
    "websockets.ping.*",
    "websockets.pool.supervisor.*",
    "websockets.rpc.mode",
)
"""Keys that bound who may come in or what a peer may do, as patterns."""
_REDIS_RULES = ("prefix", "tls.*")
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


def refuse_empty_variables(
    empty: Mapping[str, str], tree: Mapping[str, object], redis_sections: Iterable[str]
) -> None:
    """Refuse variables without a value in keys where nothing would mean everything.

    Args:
        empty: key -> a variable in its value that is unset or empty, and has no default.
        tree: the configuration, after the variables.
        redis_sections: keys of the sections with options of Redis.

    Raises:
        ConfigError: the first of them.
    """
    rules = [*_RULES, *(f"{section}.{option}" for section in redis_sections for option in _REDIS_RULES)]
    for key, variable in empty.items():
        opens = key in _ADDRESSES and str(lookup(tree, key)).rpartition("://")[2].startswith(":")
        if opens or any(fnmatchcase(key, rule) for rule in rules):
            raise ConfigError(
                key,
                f"the variable {variable} is unset or empty, which would be no rule at all here;"
                " set it, or write the value (${NAME:-default} has a default)",
            )
