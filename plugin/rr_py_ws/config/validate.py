"""What a configuration needs to be served, beyond being well-formed."""

from __future__ import annotations

from collections.abc import Iterator

from rr_py_ws.config.brokers import IMPLEMENTED_DRIVERS, redis_options
from rr_py_ws.config.models import Config
from rr_py_ws.config.values import shown
from rr_py_ws.config.yaml_file import lookup
from rr_py_ws.errors import ConfigError


def validate_for_serve(config: Config) -> None:
    """Refuse a configuration that cannot be served.

    Raises:
        ConfigError: the first of its problems.
    """
    for problem in problems(config):
        raise problem


def problems(config: Config) -> Iterator[ConfigError]:
    """Everything that keeps this configuration from being served; `check` and `serve` both go by it."""
    websockets = config.websockets
    if websockets is None:
        yield ConfigError("websockets", "missing, so there is nothing to serve; see docs/configuration.md")
        return
    driver = config.broadcast[websockets.broker].driver
    if driver not in IMPLEMENTED_DRIVERS:
        yield ConfigError(
            f"broadcast.{websockets.broker}.driver",
            f"found {shown(driver)}, accepted by this version: {', '.join(IMPLEMENTED_DRIVERS)}",
        )
    yield from _redis(config)
    # With an address of its own, `http` is not looked at.
    if not websockets.address:
        yield from _http(config)
    server = config.server
    if websockets.authorize == "php" and not (server and server.command):
        yield ConfigError(
            "server.command",
            "missing, accepted: the command of a PHP worker, or `authorize: none` under websockets",
        )
    limits = websockets.limits
    if (
        limits.max_refusal_size > limits.refusal_memory
    ):  # such a refusal would be cut as soon as it is written
        yield ConfigError(
            "websockets.limits.max_refusal_size",
            f"found {limits.max_refusal_size} bytes,"
            f" accepted: at most `refusal_memory`, {limits.refusal_memory}",
        )
    if server and server.on_init and not server.on_init.command:
        yield ConfigError("server.on_init.command", "missing, accepted: a command")


def _redis(config: Config) -> Iterator[ConfigError]:
    for name, section in config.broadcast.items():
        if section.driver != "redis":
            continue
        try:
            tls = redis_options(name, section).tls
        except ConfigError as error:
            yield error
            continue
        # pydantic yields pairs of name and value; all but one of them name files.
        for key, file in tls or ():
            if key != "server_name":
                yield from _file(config, f"{section.key}.tls.{key}", file)


def _http(config: Config) -> Iterator[ConfigError]:
    ssl = config.http.ssl if config.http else None
    if ssl and (ssl.cert or ssl.key):
        for name, file in (("cert", ssl.cert), ("key", ssl.key)):
            if not file:
                yield ConfigError(f"http.ssl.{name}", "missing, TLS needs both cert and key")
            yield from _file(config, f"http.ssl.{name}", file)
        yield from _file(config, "http.ssl.root_ca", ssl.root_ca)
    # Serving without TLS what was meant to have it would be worse than not starting.
    elif lookup(config.tree, "http.ssl.acme") is not None:
        yield ConfigError("http.ssl.acme", "not supported, accepted: files in http.ssl.cert and http.ssl.key")
    elif not config.http or not config.http.address:
        yield ConfigError("http.address", "missing, accepted: host:port here or in websockets.address")


def _file(config: Config, key: str, file: str) -> Iterator[ConfigError]:
    """Report a file that does not exist; an empty text means that the key names none."""
    if file and not (config.directory / file).is_file():
        yield ConfigError(key, f"found {shown(file)}, which is not a file in {config.directory}")
