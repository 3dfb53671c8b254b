"""Secrets are masked wherever a part of the configuration is shown."""

from __future__ import annotations

import pytest

from rr_py_ws.masking import command_line, mask_arguments, mask_command, mask_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://guest:HIDDEN@host:5672/", "amqp://***@host:5672/"),
        ("nats://HIDDEN@host", "nats://***@host"),
        ("user:HIDDEN/@@tcp(127.0.0.1:3306)/db", "***@tcp(127.0.0.1:3306)/db"),
        ("DATABASE_URL=user:HIDDEN@tcp(h)/db", "DATABASE_URL=***@tcp(h)/db"),
        ("https://u:HIDDEN@h/p?x=1&key=HIDDEN&y=2", "https://***@h/p?x=1&key=***&y=2"),
        ("/?sig=HIDDEN&X-Amz-Signature=HIDDEN#a", "/?sig=***&X-Amz-Signature=***"),
        ("mysql:host=h;password=HIDDEN;charset=u", "mysql:host=h;password=***;charset=u"),
        ("host=h password='HIDDEN HIDDEN' dbname=d", "host=h password=*** dbname=d"),
        ("host=h password = HIDDEN dbname=d", "host=h password = *** dbname=d"),
        ("Server=h;Pwd=HIDDEN;Database=d", "Server=h;Pwd=***;Database=d"),
        ("AccountName=a;AccountKey=HIDDEN==;E=x", "AccountName=a;AccountKey=***;E=x"),
        ('{"password": "HIDDEN", "a": 1}', '{"password": ***, "a": 1}'),
        ('{"a": {"api_key":"HI, DDEN"}}', '{"a": {"api_key":***}}'),
        ('{\\"password\\": \\"HIDDEN\\"}', '{\\"password\\": ***}'),
        ("Authorization: Bearer HIDDEN", "Authorization: ***"),
        ("Authorization=Basic%20HIDDEN,api-key=HIDDEN", "Authorization=***"),
        ("x-api-key:HIDDEN", "x-api-key:***"),
        ("Cookie: a=HIDDEN; b=HIDDEN", "Cookie: ***"),
        ("send Bearer HIDDEN there", "send Bearer *** there"),
        ("-----BEGIN PRIVATE KEY-----\nHIDDEN", "***"),
    ],
)
def test_a_secret_in_a_text_is_masked(text: str, shown: str) -> None:
    assert mask_text(text) == shown
    assert mask_text(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("php w.php --password=HIDDEN -v", "php w.php --password=*** -v"),
        ("php w.php --password HIDDEN -v", "php w.php --password *** -v"),
        ("php w.php -token HIDDEN", "php w.php -token ***"),
        ("php w.php --password=HIDDEN;HIDDEN&HIDDEN -v", "php w.php --password=*** -v"),
        ("php w.php --api-key --HIDDEN", "php w.php --api-key ***"),
        ("php w.php '--token=HIDDEN HIDDEN' -v", "php w.php '--token=***' -v"),
        ("php -d mysqli.default_pw=HIDDEN w.php", "php -d mysqli.default_pw=*** w.php"),
        ("mysql -p HIDDEN -h x", "mysql -p *** -h x"),
        ("mysql -pHIDDEN db", "mysql -p*** db"),
        ("redis-cli -h x -a HIDDEN ping", "redis-cli -h x -a *** ping"),
        ("curl -u me:HIDDEN http://h", "curl -u me:*** http://h"),
        ("curl --user=me:HIDDEN http://h", "curl --user=me:*** http://h"),
        ('curl -H "X-Api-Key: HIDDEN" http://h', 'curl -H "X-Api-Key: ***" http://h'),
        ('curl -H "Authorization: Basic HIDDEN" http://h', 'curl -H "Authorization: ***" http://h'),
        ("env DB_PASSWORD=HIDDEN APP_KEY=base64:HIDDEN= php", "env DB_PASSWORD=*** APP_KEY=*** php"),
        ("env DATABASE_URL=pgsql://a:HIDDEN@h/d php", "env DATABASE_URL=pgsql://***@h/d php"),
        ("sh -c \"mysql --password='HI DDEN' x\"", 'sh -c "mysql --password=*** x"'),
        ("php w.php --dsn mysql://a:HIDDEN@h/d", "php w.php --dsn ***"),
    ],
)
def test_a_secret_in_a_command_is_masked(text: str, shown: str) -> None:
    assert mask_command(text) == shown
    assert mask_command(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "php -d memory_limit=1G worker.php --port 8080 --env=prod",
        "http://auth-token:8080/path?page=2",
        "tcp://secret:6001",
        "token:6379",
        "/var/www/app/secret/worker.php",
        'Basic realm="members"',
        "a@b.example",
        "0.0.0.0:${PORT:-8080}",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask_command(text) == text


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["php", "w.php", "--password", "HIDDEN HIDDEN", "-v"], ["php", "w.php", "--password", "***", "-v"]),
        (["mysql", "-p", 'HI"DDEN', "db"], ["mysql", "-p", "***", "db"]),
        (["curl", "-u", "me:HIDDEN HIDDEN"], ["curl", "-u", "me:***"]),
        (["curl", "-H", "Authorization: Bearer HIDDEN"], ["curl", "-H", "Authorization: ***"]),
        (["env", "DB_PASSWORD=HIDDEN HIDDEN", "php"], ["env", "DB_PASSWORD=***", "php"]),
        (["/usr/bin/redis-cli", "-a", "HIDDEN", "ping"], ["/usr/bin/redis-cli", "-a", "***", "ping"]),
        (["sh", "-c", "mysql -p HIDDEN x"], ["sh", "-c", "mysql -p *** x"]),
        (["a", "--pin-token", 1234, {}], ["a", "--pin-token", "***", {}]),
        (["php", "--password", ""], ["php", "--password", ""]),
    ],
)
def test_a_secret_in_a_list_of_arguments_is_masked(arguments: list[object], shown: list[object]) -> None:
    assert mask_arguments(arguments) == shown


@pytest.mark.parametrize(
    "text",
    ["password=" * 9, "a://b@c " * 9, "@" + "=a:" * 9, "=a:" * 9 + "@", "redis-cli -a x " * 9, "-p -p " * 9],
)
def test_a_text_of_any_length_takes_a_time_in_proportion(text: str) -> None:
    """Those of a file are shown in errors; each of these took the square."""
    assert "***" in mask_command(text * 400)


def test_a_command_that_was_split_at_its_blanks_is_masked() -> None:
    line = "curl -H Authorization: Bearer HIDDEN -H x-api-key: HIDDEN"
    assert "HIDDEN" not in command_line(line.split())
    assert command_line(["php", "worker.php"]) == "php worker.php"
