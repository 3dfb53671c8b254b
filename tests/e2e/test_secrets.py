"""Secrets of every kind pass through a server whose log is as talkative as can be."""

from __future__ import annotations

import base64
import json
import signal
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from e2e.client import Connect
from support.process import Servers
from support.redis_servers import RedisServer

IN_THE_FILE = ("PASSWORD-of-redis", "SECRET-of-php", "ARGUMENT-of-php")
IN_REQUESTS = ("TOKEN-in-the-query", "COOKIE-of-a-user", "BEARER-of-a-user")


def test_secrets_are_neither_logged_nor_told(servers: Servers, connect: Connect, tmp_path: Path) -> None:
    """The password is wrong, so that Redis is talked about; clients come, are refused, and talk nonsense."""
    redis = RedisServer(tmp_path, "--requirepass", "another one")
    redis.start()
    try:
        password, secret, argument = IN_THE_FILE
        server = servers.start(
            "session.php",
            "-d",
            server={
                "env": [{"APP_KEY": secret}],
                "command": ["php", "workers/session.php", "--password", argument, f"--dsn=x:{argument}@h"],
                "on_init": {"command": f"false -p {argument}"},
            },
            broadcast={
                "default": {"driver": "redis", "config": {"addrs": [redis.address], "password": password}}
            },
        )
        token, cookie, bearer = IN_REQUESTS
        headers = {"Cookie": f"sid={cookie}", "Authorization": f"Bearer {bearer}"}
        for path in (f"/ws?token={token}", f"/nowhere?token={token}"):
            with pytest.raises(InvalidStatus):
                connect(server, path, headers=headers)
        server.log.wait_for("invalid username-password pair")
        told = base64.b64decode(json.loads(server.call("rpc.Config", "true"))).decode()
        assert json.loads(told)["broadcast"]["default"]["config"]["password"] == "***"
        explained = server.cli("check", "-c", ".rr.yaml").stdout
        assert "broker default: redis" in explained
        told += server.call("informer.Workers", '"websockets"')
        explained += server.cli("check", "-c", ".rr.yaml", "--json").stdout
        file = server.directory / ".rr.yaml"
        file.write_text(file.read_text().replace(password, f"{password}-2").replace(secret, f"{secret}-2"))
        server.signal(signal.SIGHUP)
        server.log.wait_for("broadcast.default.options.password")
        server.tolerated += ["redis", "on_init failed"]
    finally:
        redis.kill()
    everything = told + explained + str(server.log) + str(server.out)
    assert [found for found in (*IN_THE_FILE, *IN_REQUESTS) if found in everything] == []
