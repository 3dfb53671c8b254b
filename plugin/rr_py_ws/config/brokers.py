"""Which broker a name means: the sections of `broadcast`, and the one that `websockets.broker` chooses.

RoadRunner's rules changed with nearly every version. What is accepted here is their union: `config` present,
null or absent; options beside `driver` (2.3.1 to 2.4.1); a top-level section named like the broker (2.5 on)
or like the driver (the documentation); names in any case. No file that works in one of the versions breaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rr_py_ws.config.models import IMPLEMENTED_DRIVERS, BrokerSection, WebSockets
from rr_py_ws.config.values import shown
from rr_py_ws.errors import ConfigError

_DRIVERS = ", ".join(IMPLEMENTED_DRIVERS)


def resolve_brokers(tree: Mapping[str, Any]) -> dict[str, BrokerSection]:
    """Read every section of `broadcast`.

    Raises:
        ConfigError: one of them is no map, or has no driver.
    """
    sections = tree.get("broadcast")
    if sections is None:
        return {}
    if not isinstance(sections, dict):
        raise ConfigError("broadcast", f"found {shown(sections)}, accepted: a map of brokers")
    return {name: _broker(name, section, tree) for name, section in sections.items()}


def _broker(name: str, section: object, tree: Mapping[str, Any]) -> BrokerSection:
    key = f"broadcast.{name}"
    if not isinstance(section, dict):
        raise ConfigError(
            key, f"found {shown(section)}, accepted: a map with the key driver; check the indentation"
        )
    driver = section.get("driver")
    if not driver:
        raise ConfigError(f"{key}.driver", f"missing, accepted: {_DRIVERS}")
    if not isinstance(driver, str):
        raise ConfigError(f"{key}.driver", f"found {shown(driver)}, accepted: {_DRIVERS}")
    driver = driver.lower()
    options = section.get("config")
    if options is not None and not isinstance(options, dict):
        raise ConfigError(f"{key}.config", f"found {shown(options)}, accepted: a map of the driver's options")
    if options is not None:
        return BrokerSection(driver=driver, options=options, key=f"{key}.config")
    if beside := {option: value for option, value in section.items() if option not in ("driver", "config")}:
        return BrokerSection(driver=driver, options=beside, key=key)
    for place in (name, driver):
        if isinstance(options := tree.get(place), dict):
            return BrokerSection(driver=driver, options=options, key=place)
    return BrokerSection(driver=driver)


def choose_default(
    websockets: WebSockets, brokers: Mapping[str, BrokerSection], tree: Mapping[str, Any]
) -> tuple[str, dict[str, BrokerSection]]:
    """Return the name of the default broker, in lower case, and all brokers, of which it is one.

    A file of RoadRunner 2.3.0 names no broker (it has `pubsubs`, or no `broadcast` at all): its broker is
    `memory`, in memory.

    Raises:
        ConfigError: `websockets.broker` is missing or names no section.
    """
    name = websockets.broker.lower()
    if not name and ("pubsubs" in tree["websockets"] or tree.get("broadcast") is None):
        return "memory", {"memory": BrokerSection(driver="memory"), **brokers}
    if name in brokers:
        return name, dict(brokers)
    found = f"found {shown(websockets.broker)}" if name else "missing"
    accepted = ", ".join(brokers) if brokers else "a section of broadcast, which has none"
    raise ConfigError("websockets.broker", f"{found}, accepted: {accepted}")
