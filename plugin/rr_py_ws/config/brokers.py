"""The brokers: the sections of `broadcast`, the default that `websockets.broker` names, options of drivers.

RoadRunner's rules changed with nearly every version. The union of them is accepted: `config` present, null or
absent; options beside `driver` (2.3.1 to 2.4.1); a top-level section named like the broker (2.5 on) or like
the driver (the documentation); names in any case. No file that works in one of the versions breaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from rr_py_ws.config import addresses, quantities, values
from rr_py_ws.config.section import Count, Duration, ExtensionSection, Flag, RRSection, Size, Text, decoded
from rr_py_ws.config.suggestion import did_you_mean
from rr_py_ws.config.values import shown
from rr_py_ws.errors import ConfigError

IMPLEMENTED_DRIVERS = ("memory", "redis")

_Timeout = Annotated[float, decoded(quantities.timeout)]
_Pause = Annotated[float, decoded(quantities.pause)]


class BrokerSection(BaseModel):
    """`broadcast.<name>`: one broker.

    Attributes:
        driver: in lower case; it need not be one of `IMPLEMENTED_DRIVERS`.
        options: the driver's, undecoded.
        key: where the options are in the file; empty when they are nowhere.
    """

    model_config = ConfigDict(frozen=True)

    driver: str
    options: dict[str, Any] = {}
    key: str = ""


class RedisTLS(ExtensionSection):
    """`tls`: the section, even an empty one, turns TLS on.

    Attributes:
        ca: file of the authorities that are trusted, PEM; empty: the system's. `root_ca`, the name that newer
            RoadRunner versions have for it, is taken, too.
        cert: file of the client certificate, PEM, for servers that ask for one.
        key: file of the private key of `cert`, PEM.
        server_name: name that the server's certificate must have; empty: the host of the server's address.
    """

    ca: Text = ""
    cert: Text = ""
    key: Text = ""
    server_name: Text = ""

    @model_validator(mode="before")
    @classmethod
    def _take_other_name(cls, found: Any) -> Any:
        if not isinstance(found, dict) or "root_ca" not in found:
            return found
        if found.get("ca") is not None:
            raise _conflict("root_ca", "found beside ca, of which it is another name")
        return {"ca" if key == "root_ca" else key: value for key, value in found.items() if key != "ca"}

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        # A key without a certificate would be ignored without a word.
        if bool(self.cert) != bool(self.key):
            raise _conflict(
                "key" if self.cert else "cert", "missing, TLS takes both cert and key, or neither"
            )
        return self


class RedisOptions(RRSection):
    """RoadRunner's options (RD pubsub/config.go @v2.16.0); from `tls` on, extensions.

    Attributes:
        addrs: `host:port` of one server, of nodes of a cluster or of sentinels; or the path of a unix socket.
        master_name: name of the master that the sentinels watch; empty: the addresses are not sentinels.
        db: database that is selected; channels are the same in all databases.
        dial_timeout: seconds that connecting may take.
        read_timeout: seconds that an answer may take; infinity is no limit.
        write_timeout: seconds that the answer to a publish may take; None: `read_timeout`.
        pool_timeout: seconds that a join may wait for a connection; None: a second more than `read_timeout`.
        min_retry_backoff: seconds of the first pause before connecting again.
        max_retry_backoff: seconds of the longest pause.
        prefix: text before each topic in the name of its channel.
        on_start: when Redis cannot be reached at the start, serve and keep trying, or refuse to start.
        sharded: publish to the shards of a cluster (Redis 7), instead of to all of its nodes.
        publish_queue: bytes of messages that Redis has not answered, with what waits for each answer; over it
            publishes are refused.
        exclusive: all subscribers are nodes with the same rules for histories, so that messages of topics
            with one need not be published as they are, too.
    """

    addrs: Annotated[tuple[str, ...], decoded(addresses.redis_addresses)] = ("127.0.0.1:6379",)
    master_name: Text = ""
    username: Text = ""
    password: Text = ""
    sentinel_password: Text = ""
    db: Count = 0
    dial_timeout: Duration = 5.0
    read_timeout: _Timeout = 3.0
    write_timeout: _Timeout | None = None
    pool_timeout: _Timeout | None = None
    min_retry_backoff: _Pause = 0.008
    max_retry_backoff: _Pause = 0.512
    tls: RedisTLS | None = None
    prefix: Text = ""
    on_start: Annotated[Literal["wait", "fail"], decoded(values.one_of("wait", "fail"))] = "wait"
    sharded: Flag = False
    publish_queue: Size = 64 * 1024 * 1024
    exclusive: Flag = False

    @model_validator(mode="after")
    def _check_addresses(self) -> Self:
        # Masters and nodes of a cluster are named by host and port, never by a path.
        sockets = any(address.startswith("/") for address in self.addrs)
        if sockets and (len(self.addrs) > 1 or self.master_name or self.sharded):
            raise _conflict("addrs", "a unix socket must be the only address, without master_name or sharded")
        if self.sharded and self.master_name:
            raise _conflict("sharded", "found true, but master_name means Sentinel, which has no shards")
        return self

    @property
    def cluster(self) -> bool:
        """Whether the addresses are nodes of a cluster; RoadRunner's rule: several, and no `master_name`."""
        return self.sharded or (len(self.addrs) > 1 and not self.master_name)

    @property
    def described(self) -> str:
        """Kind and addresses of the server, for a person; without passwords."""
        addresses = ", ".join(self.addrs)
        if self.master_name:
            return f"redis, master {self.master_name} by the sentinels at {addresses}"
        if self.cluster:
            return f"redis, {'sharded over the' if self.sharded else 'the'} cluster at {addresses}"
        return f"redis at {addresses}"


def _conflict(key: str, problem: str) -> PydanticCustomError:
    context: dict[str, Any] = {"key": key}
    return PydanticCustomError("conflict", problem, context)


def redis_options(name: str, section: BrokerSection) -> RedisOptions:
    """Decode the options of a section with the driver `redis`.

    Raises:
        ConfigError: an option is wrong.
    """
    return RedisOptions.from_file(redis_key(name, section), section.options)


def redis_key(name: str, section: BrokerSection) -> str:
    """Where the options of a broker are in the file, or would be."""
    return section.key or f"broadcast.{name}.config"


def resolve_brokers(tree: dict[str, Any], errors: list[ConfigError]) -> dict[str, BrokerSection]:
    """Read every section of `broadcast`.

    Args:
        tree: the whole file; a `broadcast` that is no map is removed.
        errors: gets an error for each section that is not a map or has no driver; it counts as in memory.
    """
    sections = tree.get("broadcast")
    if sections is None:
        return {}
    if not isinstance(sections, dict):
        errors.append(ConfigError("broadcast", f"found {shown(sections)}, accepted: a map of brokers"))
        del tree["broadcast"]
        return {}
    brokers = {}
    for name, section in sections.items():
        try:
            brokers[name] = _broker(name, section, tree)
        except ConfigError as error:
            errors.append(error)
            brokers[name] = BrokerSection(driver="memory")
    return brokers


def _broker(name: str, section: object, tree: Mapping[str, Any]) -> BrokerSection:
    key = f"broadcast.{name}"
    if not isinstance(section, dict):
        raise ConfigError(
            key, f"found {shown(section)}, accepted: a map with the key driver; check the indentation"
        )
    driver = section.get("driver")
    if not driver or not isinstance(driver, str):
        found = f"found {shown(driver)}" if driver else "missing"
        raise ConfigError(f"{key}.driver", f"{found}, accepted: {', '.join(IMPLEMENTED_DRIVERS)}")
    # The names of sections are in lower case already, that of the driver is a value.
    driver = driver.lower()
    options = section.get("config")
    if options is not None and not isinstance(options, dict):
        raise ConfigError(f"{key}.config", f"found {shown(options)}, accepted: a map of the driver's options")
    beside = {option: value for option, value in section.items() if option not in ("driver", "config")}
    if options is not None:  # An empty `config` counts too: RoadRunner looks no further.
        if (
            beside.get("tls") is not None
        ):  # it would not be obeyed, and what is published would go in the clear
            raise ConfigError(f"{key}.tls", f"belongs below {key}.config, where the other options are")
        return BrokerSection(driver=driver, options=options, key=f"{key}.config")
    if beside:
        return BrokerSection(driver=driver, options=beside, key=key)
    for place in (name, driver):
        if isinstance(options := tree.get(place), dict):
            return BrokerSection(driver=driver, options=options, key=place)
    return BrokerSection(driver=driver)


def is_of_2_3_0(tree: Mapping[str, Any]) -> bool:
    """Whether a file is one of RoadRunner 2.3.0: it names no broker, and has `pubsubs` or no `broadcast`."""
    websockets = tree["websockets"]
    return not websockets.get("broker") and ("pubsubs" in websockets or tree.get("broadcast") is None)


def choose_default(
    named: str, brokers: Mapping[str, BrokerSection], tree: Mapping[str, Any]
) -> tuple[str, dict[str, BrokerSection]]:
    """Find the default broker.

    The broker of a file of RoadRunner 2.3.0 is `memory`, in memory.

    Args:
        named: `websockets.broker`; empty when the file has none.
        brokers: the sections of `broadcast`.
        tree: the whole file.

    Returns:
        The name in lower case, and all brokers, of which the default is one.

    Raises:
        ConfigError: `websockets.broker` is missing or names no section.
    """
    name = named.lower()
    # Such a file has no section for it, so that one is made.
    if is_of_2_3_0(tree) or tree.get("broadcast") is None:
        name = name or "memory"
        return name, {name: BrokerSection(driver="memory"), **brokers}
    if name in brokers:
        return name, dict(brokers)
    found = f"found {shown(named)}{did_you_mean(name, brokers)}" if name else "missing"
    accepted = ", ".join(brokers) if brokers else "a section of broadcast, which has none"
    raise ConfigError("websockets.broker", f"{found}, accepted: {accepted}")
