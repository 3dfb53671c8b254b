"""From a file, an environment and flags to a `Config`, in RoadRunner's order."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rr_py_ws.config.brokers import BrokerSection, choose_default, is_of_2_3_0, resolve_brokers
from rr_py_ws.config.dotenv import load_dotenv
from rr_py_ws.config.empty_variables import empty_rules, with_cause
from rr_py_ws.config.http import HTTP
from rr_py_ws.config.logs import Logs
from rr_py_ws.config.models import RPC, Config, Endure, Metrics, Status, WebSockets
from rr_py_ws.config.overrides import expand, override, with_environment
from rr_py_ws.config.section import Section
from rr_py_ws.config.shared_file import included_files, refuse_roadrunner_1, without_replaced
from rr_py_ws.config.values import shown, text
from rr_py_ws.config.watching import Reload
from rr_py_ws.config.workers import Server
from rr_py_ws.config.yaml_file import lookup, merge, place_of, read_tree, remove, without_section
from rr_py_ws.errors import ConfigError, Place, all_of

_VERSION = re.compile(r"(2(\.[0-9]+){0,2}|3(\.0){0,2})")
_Section = TypeVar("_Section", bound=Section)


def resolve_workdir(config_path: str | Path, workdir: str | Path | None) -> tuple[Path, Path]:
    """Change the directory as RoadRunner 2.10 and later do.

    With `-w` to that directory, and the file is relative to it; without `-w` to the file's directory.

    Returns:
        The file's absolute path, and the directory, which is now the current one.

    Raises:
        ConfigError: the directory does not exist or cannot be entered.
    """
    try:
        # The order matters: with -w the path of the file is relative to the new directory.
        if workdir:
            os.chdir(workdir)
        path = Path(config_path).absolute()
        if not workdir:
            os.chdir(path.parent)
        return path, Path.cwd()
    except OSError as error:
        flag, directory = ("-w", workdir) if workdir else ("-c", Path(config_path).parent)
        raise ConfigError(flag, f"cannot change to {directory}: {error.strerror}") from None


def load_config(
    path: str | Path,
    *,
    workdir: str | Path | None = None,
    overrides: Sequence[str] = (),
    dotenv: str | Path | None = None,
    environ: MutableMapping[str, str] | None = None,
) -> Config:
    """Read a configuration that can be used: `read_config` with its arguments, in which nothing is wrong.

    Raises:
        ConfigError: something cannot be used. No other error is raised, whatever the file or the environment
            holds.
    """
    config, errors = read_config(path, workdir=workdir, overrides=overrides, dotenv=dotenv, environ=environ)
    if errors:
        raise all_of(errors)
    return config


def read_config(
    path: str | Path,
    *,
    workdir: str | Path | None = None,
    overrides: Sequence[str] = (),
    dotenv: str | Path | None = None,
    environ: MutableMapping[str, str] | None = None,
) -> tuple[Config, list[ConfigError]]:
    """Read the configuration as far as it can be used, and find everything that is wrong.

    Args:
        path: the file.
        workdir: directory of relative paths; by default the current directory.
        overrides: `key=value` texts, as `-o` takes them.
        dotenv: a file of variables; `DOTENV_PATH` wins over it.
        environ: variables, to which those of the dotenv file are added; by default the process's environment.

    Returns:
        The configuration without what is wrong, and an error for each of that.

    Raises:
        ConfigError: a file or a flag cannot be read at all.
    """
    environ = os.environ if environ is None else environ
    directory = Path(workdir or ".").absolute()
    path = directory / path
    # Before the file is read: variables of the dotenv file replace values in it.
    if dotenv_path := environ.get("DOTENV_PATH") or dotenv:
        load_dotenv(directory / dotenv_path, environ)
    places: dict[str, Place] = {}
    in_file = read_tree(path, places)
    refuse_roadrunner_1(path, in_file)
    if isinstance(name := in_file.get("envfile"), str) and name:
        load_dotenv(path.parent / name, environ)
    for name in included_files(in_file, environ):
        included: dict[str, Place] = {}
        sections = read_tree(directory / name, included)
        for section in sections:  # which replace those of the file
            places = without_section(places, section)
        in_file |= sections
        places |= included
    empty: dict[str, str] = {}
    tree = with_environment(in_file, environ, empty, places=places)
    # After the variables, so that -o wins; what it sets is not expanded.
    for key in override(tree, overrides):
        empty.pop(key, None)
        places = without_section(places, key) | {key: Place("-o")}
    errors: list[ConfigError] = []
    config = _decode(Config(path=path, directory=directory, tree=tree, unset=empty), in_file, environ, errors)
    # Of two errors about a key, the first says why.
    first = {error.key: with_cause(error, empty) for error in reversed(errors)}
    errors = [first.pop(error.key) for error in errors if error.key in first]
    for error in errors:
        error.place = error.place or place_of(places, error.key)
        config.unset.pop(error.key, None)
        if error.key != "websockets.broker":  # in its place, there is another one
            remove(config.tree, error.key)
    return config.model_copy(update={"places": places}), errors


def _decode(
    read: Config, in_file: dict[str, Any], environ: Mapping[str, str], errors: list[ConfigError]
) -> Config:
    """Decode the sections.

    Args:
        read: the files, variables and flags; what is wrong in its tree is removed.
        in_file: the files alone.
        environ: the variables.
        errors: gets everything that is wrong.
    """
    tree, empty = read.tree, read.unset
    _check_version(tree.get("version"), errors)
    brokers = resolve_brokers(tree, errors)
    redis = [section.key for section in brokers.values() if section.driver == "redis"]
    for error in list(empty_rules(empty, tree, redis)):
        errors.append(error)
        remove(tree, error.key)
    websockets = _section(WebSockets, "websockets", tree, errors)
    needed = without_replaced(tree, websockets)
    if websockets:
        default, brokers = _default_broker(websockets.broker, brokers, tree, errors)
        said = lookup(tree, "websockets.select_broker") is not None
        selects = websockets.select_broker if said else is_of_2_3_0(tree)
        websockets = websockets.model_copy(update={"broker": default, "select_broker": selects})
    server = _section(Server, "server", needed, errors)
    if server:  # Texts of lists are expanded by now; `env` may be a list of maps, which are not.
        env = {name: expand(value, environ) for name, value in server.env.items()}
        server = server.model_copy(update={"env": env})
    return Config(
        path=read.path,
        directory=read.directory,
        tree=tree,
        unset=empty,
        rpc=_section(RPC, "rpc", needed, errors),
        server=server,
        http=_section(HTTP, "http", needed, errors),
        websockets=websockets,
        broadcast=brokers,
        logs=_section(Logs, "logs", tree, errors) or Logs(),
        metrics=_section(Metrics, "metrics", needed, errors),
        status=_section(Status, "status", needed, errors),
        reload=_section(Reload, "reload", tree, errors),
        # RoadRunner reads this section before everything else, straight from the file: no variables, no `-o`.
        endure=_section(Endure, "endure", in_file, errors) or Endure(),
    )


def _check_version(version: object, errors: list[ConfigError]) -> None:
    if version is None:
        return
    try:
        # Without quotes YAML makes 2.7 a number; `text` undoes that.
        known = _VERSION.fullmatch(text(version))
    except ValueError:
        known = None
    if not known:
        errors.append(ConfigError("version", f"found {shown(version)}, accepted: 2.x or 3"))


def _default_broker(
    named: str, brokers: dict[str, BrokerSection], tree: dict[str, Any], errors: list[ConfigError]
) -> tuple[str, dict[str, BrokerSection]]:
    """Find the default broker; in place of one that is not there, any."""
    try:
        return choose_default(named, brokers, tree)
    except ConfigError as error:
        errors.append(error)
    default = next(iter(brokers), "memory")
    merge(tree, ("websockets", "broker"), default)
    return default, {default: BrokerSection(driver="memory"), **brokers}


def _section(
    model: type[_Section], name: str, tree: dict[str, Any], errors: list[ConfigError]
) -> _Section | None:
    """Decode a section; absent and null are the same, an empty map is present."""
    found = tree.get(name)
    return None if found is None else model.from_file_in_part(name, found, errors)
