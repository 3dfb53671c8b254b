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
        "sqs: {key: HIDDEN, secret: HIDDEN, session_token: HIDDEN}",
        "a: {api_key: HIDDEN, private-key: HIDDEN, credentials: {user: HIDDEN}}",
        "server: {env: {app_key: HIDDEN, db_pass: HIDDEN, MAIL_AUTH: HIDDEN, DATABASE_DSN: HIDDEN}}",
        "server: {env: [{APP_KEY: HIDDEN}, {DB_PASSWORD: HIDDEN}]}",
        "amqp: {addr: 'amqp://guest:HIDDEN@127.0.0.1:5672/'}",
        "a: ['redis://HIDDEN@host:1']",
        "a: 'redis://user:p/@HIDDEN@host:1'",
        "a: 'user:HIDDEN@tcp(127.0.0.1:3306)/db'",
        "a: 'https://host/?x=1&access_token=HIDDEN&y=2'",
        "server: {command: 'php worker.php --password=HIDDEN'}",
        "server: {command: [php, worker.php, --password, HIDDEN]}",
        "server: {command: ['env DB_PASSWORD=HIDDEN php worker.php']}",
        "server: {on_init: {command: 'mysql -p HIDDEN'}}",
        "http: {pool: {command: 'env APP_KEY=HIDDEN php worker.php'}}",
        "service: {a: {command: 'bin/a -token HIDDEN', env: [{KEY: HIDDEN}]}}",
        "service: {a: {env: ['APP_KEY=HIDDEN']}}",
        "http: {headers: {request: {Authorization: 'Basic HIDDEN', X-Api-Key: HIDDEN, X-Key: HIDDEN}}}",
        "http: {headers: {response: [{Set-Cookie: 'sid=HIDDEN'}]}}",
        "http: {static: {response: {X-Auth: HIDDEN}}}",
        "otel: {headers: {uptrace-dsn: 'https://HIDDEN@h', x-honeycomb-team: HIDDEN}}",
        "otel: {headers: 'api-key=HIDDEN'}",
        "server: {env: {OTEL_EXPORTER_OTLP_HEADERS: 'api-key=HIDDEN', DSN: 'h;pwd=HIDDEN'}}",
        "kv: {a: {config: {dsn: 'host=h password=HIDDEN'}}}",
        "mail: {auth: HIDDEN}",
        "mail: {auth: {user: me, pass: HIDDEN}}",
        "kafka: {sasl: {mechanism: plain, pass: HIDDEN}}",
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
        "server: {command: 'php -d memory_limit=1G worker.php', on_init: {command: [php, artisan, migrate]}}",
        "http: {headers: {cors: {allow_credentials: true}, request: {X-Forwarded-Proto: https}}}",
        "mail: {auth: {user: me}}",
    ],
)
def test_what_is_no_secret_is_shown(load: Load, text: str) -> None:
    assert b"***" not in masked_json(load(text))


def test_the_rest_of_a_url_is_shown(load: Load) -> None:
    config = load("a: 'amqp://u:p@host:5672/vhost'\nb: '/?token=x&page=2'")
    assert json.loads(masked_json(config)) == {"a": "amqp://***@host:5672/vhost", "b": "/?token=***&page=2"}


def test_numbers_that_json_does_not_have_become_null(load: Load) -> None:
    assert masked_json(load("a: [.inf, .nan, 1.5]")) == b'{"a":[null,null,1.5]}'
