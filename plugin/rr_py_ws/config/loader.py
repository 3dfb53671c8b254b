"""From a file, an environment and flags to a `Config`, in RoadRunner's order."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rr_py_ws.config.brokers import choose_default, resolve_brokers
from rr_py_ws.config.empty_variables import refuse_empty_variables
from rr_py_ws.config.models import (
    HTTP,
    RPC,
    Config,
    Endure,
    Logs,
    Metrics,
    Server,
    Status,
    WebSockets,
)
from rr_py_ws.config.overrides import expand, load_dotenv, override, with_environment
from rr_py_ws.config.section import Section
from rr_py_ws.config.values import shown, text
from rr_py_ws.config.yaml_file import read_tree
from rr_py_ws.errors import ConfigError

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
    """Read the configuration.

    Args:
        path: the file.
        workdir: directory of relative paths; by default the current directory.
        overrides: `key=value` texts, as `-o` takes them.
        dotenv: a file of variables; `DOTENV_PATH` wins over it.
        environ: variables, to which those of the dotenv file are added; by default the process's environment.

    Raises:
        ConfigError: something cannot be used. No other error is raised, whatever the file or the environment
            holds.
    """
    environ = os.environ if environ is None else environ
    directory = Path(workdir or ".").absolute()
    path = directory / path
    # Before the file is read: variables of the dotenv file replace values in it.
    if dotenv_path := environ.get("DOTENV_PATH") or dotenv:
        load_dotenv(directory / dotenv_path, environ)
    in_file = read_tree(path)
    empty: dict[str, str] = {}
    tree = with_environment(in_file, environ, empty)
    # After the variables, so that -o wins; what it sets is not expanded.
    for key in override(tree, overrides):
        empty.pop(key, None)
    _check_version(tree.get("version"))
    brokers = resolve_brokers(tree)
    redis = [section.key for section in brokers.values() if section.driver == "redis"]
    refuse_empty_variables(empty, tree, redis)
    websockets = _section(WebSockets, "websockets", tree)
    if websockets:
        default, brokers = choose_default(websockets.broker, brokers, tree)
        websockets = websockets.model_copy(update={"broker": default})
    server = _section(Server, "server", tree)
    if server:  # Texts of lists are expanded by now; `env` may be a list of maps, which are not.
        env = {name: expand(value, environ) for name, value in server.env.items()}
        server = server.model_copy(update={"env": env})
    return Config(
        path=path,
        directory=directory,
        tree=tree,
        rpc=_section(RPC, "rpc", tree),
        server=server,
        http=_section(HTTP, "http", tree),
        websockets=websockets,
        broadcast=brokers,
        logs=_section(Logs, "logs", tree) or Logs(),
        metrics=_section(Metrics, "metrics", tree),
        status=_section(Status, "status", tree),
        # RoadRunner reads this section before everything else, straight from the file: no variables, no `-o`.
        endure=_section(Endure, "endure", in_file) or Endure(),
    )


def _check_version(version: object) -> None:
    if version is None:
        return
    try:
        # Without quotes YAML makes 2.7 a number; `text` undoes that.
        known = _VERSION.fullmatch(text(version))
    except ValueError:
        known = None
    if not known:
        raise ConfigError("version", f"found {shown(version)}, accepted: 2.x or 3")


def _section(model: type[_Section], name: str, tree: Mapping[str, Any]) -> _Section | None:
    """Decode a section; absent and null are the same, an empty map is present."""
    found = tree.get(name)
    return None if found is None else model.from_file(name, found)
