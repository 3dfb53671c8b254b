from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from rr_py_ws.config import Config, masked_json

Load = Callable[..., Config]


def test_the_whole_tree_is_shown(load: Load) -> None:
    config = load(
        "HTTP: {Address: ':$PORT', middleware: [a]}\nother: {n: 1, none: , yes: true}", environ={"PORT": "1"}
    )
    assert json.loads(masked_json(config)) == {
        "http": {"address": ":1", "middleware": ["a"]},
        "other": {"n": 1, "none": None, "yes": True},
    }


@pytest.mark.parametrize(
    "text",
    [
        "redis: {password: HIDDEN}",
        "redis: {sentinel_password: HIDDEN}",
        "kv: {a: {config: {Passwd: HIDDEN}}}",
        "new_relic: {license_key: HIDDEN}",
        "sqs: {secret: HIDDEN, session_token: HIDDEN}",
        "a: {api_key: HIDDEN, private-key: HIDDEN, credentials: {user: HIDDEN}}",
        "server: {env: {app_key: HIDDEN, db_pass: HIDDEN, MAIL_AUTH: HIDDEN, DATABASE_DSN: HIDDEN}}",
        "server: {env: [{APP_KEY: HIDDEN}, {DB_PASSWORD: HIDDEN}]}",
        "amqp: {addr: 'amqp://guest:HIDDEN@127.0.0.1:5672/'}",
        "a: ['redis://HIDDEN@host:1']",
        "a: 'redis://user:p/@HIDDEN@host:1'",
        "a: 'user:HIDDEN@tcp(127.0.0.1:3306)/db'",
        "a: 'https://host/?x=1&access_token=HIDDEN&y=2'",
        'http: {ssl: {key: "-----BEGIN RSA PRIVATE KEY-----\\nHIDDEN\\n-----END RSA PRIVATE KEY-----"}}',
    ],
)
def test_a_secret_is_not_shown(load: Load, text: str) -> None:
    shown = masked_json(load(text))
    assert b"HIDDEN" not in shown
    assert b"***" in shown


@pytest.mark.parametrize(
    "text",
    [
        "http: {ssl: {key: server.key, cert: server.crt}}",
        "websockets: {authorize: none}",
        "server: {env: {APP_ENV: prod, AUTHOR: me}}",
        "redis: {addrs: ['localhost:6379'], password: ''}",
        "rpc: {listen: 'tcp://127.0.0.1:6001'}",
        "amqp: {routing_key: test}",
        "a: 'https://host/?page=2'",
    ],
)
def test_what_is_no_secret_is_shown(load: Load, text: str) -> None:
    assert b"***" not in masked_json(load(text))


def test_the_rest_of_a_url_is_shown(load: Load) -> None:
    config = load("a: 'amqp://u:p@host:5672/vhost'\nb: '/?token=x&page=2'")
    assert json.loads(masked_json(config)) == {"a": "amqp://***@host:5672/vhost", "b": "/?token=***&page=2"}


def test_numbers_that_json_does_not_have_become_null(load: Load) -> None:
    assert masked_json(load("a: [.inf, .nan, 1.5]")) == b'{"a":[null,null,1.5]}'
