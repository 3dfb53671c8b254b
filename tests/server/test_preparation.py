"""Point 10: what a start needs is tried before the loop runs, by `serve` and `check` alike; nothing asks."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rr_py_ws.cli.entry import run
from rr_py_ws.config import load_config
from rr_py_ws.server.preparation import prepare, try_addresses
from support.ports import free_port
from support.program import environment
from support.tls import make_certificate
from support.waiting import DEADLINE

Write = Callable[..., Path]

BASE: dict[str, Any] = {
    "rpc": {"listen": "tcp://127.0.0.1:6001"},
    "http": {"address": "127.0.0.1:8080", "middleware": ["websockets"]},
    "websockets": {"broker": "main", "authorize": "none"},
    "broadcast": {"main": {"driver": "memory", "config": {}}},
    "logs": {"mode": "production", "level": "error"},
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the sections as `.rr.yaml` of the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(**sections: Any) -> Path:
        path = tmp_path / ".rr.yaml"
        path.write_text(json.dumps(BASE | sections))
        return path

    return write


def encrypted(directory: Path, form: str) -> str:
    """A private key with a passphrase, in PKCS#8 or in OpenSSL's older form."""
    make = ["openssl", "genrsa", "-passout", "pass:secret", "-aes256"]
    old = ["-traditional"] if form == "traditional" else []
    path = directory / "locked.key"
    subprocess.run([*make, *old, "-out", str(path), "2048"], check=True, capture_output=True)
    return str(path)


def told(*args: str, cwd: Path) -> list[str]:
    """Run the program with a terminal; it must end by itself. Returns what it wrote there, line by line."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "rr_py_ws", *args]
    terminal = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    program = subprocess.Popen(command, cwd=cwd, start_new_session=True, env=environment(), **terminal)
    os.close(theirs)
    try:
        assert program.wait(DEADLINE) == 1
        written = b""
        while True:
            try:
                written += os.read(ours, 65536)
            except OSError:  # Linux says so when the other end is closed
                return written.decode().splitlines()
    finally:
        program.kill()
        program.wait()
        os.close(ours)


@pytest.mark.parametrize(
    ("command", "place", "form"),
    [
        ("serve", "http", "pkcs8"),
        ("serve", "redis", "traditional"),
        ("check", "http", "traditional"),
        ("check", "redis", "pkcs8"),
    ],
)
def test_an_encrypted_key_is_named_and_nobody_is_asked_for_a_passphrase(
    write: Write, tmp_path: Path, command: str, place: str, form: str
) -> None:
    key, cert = encrypted(tmp_path, form), str(make_certificate(tmp_path))
    if place == "http":
        write(http={"ssl": {"cert": cert, "key": key}})
        name = "http.ssl.key"
    else:
        options = {"tls": {"ca": cert, "cert": cert, "key": key}}
        write(broadcast={"main": {"driver": "redis", "config": options}})
        name = "broadcast.main.config.tls.key"
    lines = told(command, cwd=tmp_path)
    [line] = [line for line in lines if "is encrypted" in line]
    assert f"{name}: {key!r} is encrypted, accepted: a key without a passphrase" in line
    assert not any("pass phrase" in line.lower() for line in lines)
    if command == "serve":
        assert len(lines) == 1


def junk(tmp_path: Path) -> str:
    (tmp_path / "junk.pem").write_text("no certificate")
    return str(tmp_path / "junk.pem")


CASES: list[tuple[dict[str, Any], str]] = [
    (
        {"http": {"ssl": {"cert": "{junk}", "key": "{junk}"}}},
        "http.ssl.cert: cannot use '{junk}' with the key '{junk}': TLS: ",
    ),
    (
        {"http": {"ssl": {"cert": "{pem}", "key": "{junk}"}}},
        "http.ssl.cert: cannot use '{pem}' with the key '{junk}': TLS: [SSL] PEM lib (_ssl.c:",
    ),
    (
        {"server": {"command": "${NO_SUCH_PHP} x.php"}, "websockets": {"broker": "main"}},
        "server.command: cannot start ' x.php': '' is not a program: not found, or not executable;"
        " ${NO_SUCH_PHP} is not set",
    ),
    (
        {
            "http": {
                "ssl": {
                    "cert": "{pem}",
                    "key": "{pem}",
                    "root_ca": "{junk}",
                    "client_auth_type": "require_and_verify_client_cert",
                }
            }
        },
        "http.ssl.root_ca: cannot use '{junk}': TLS: ",
    ),
    (
        {"broadcast": {"main": {"driver": "redis", "config": {"tls": {"ca": "{junk}"}}}}},
        "broadcast.main.config.tls.ca: cannot use '{junk}': TLS: ",
    ),
    (
        {"broadcast": {"main": {"driver": "redis", "config": {"tls": {"cert": "{junk}", "key": "{pem}"}}}}},
        "broadcast.main.config.tls.cert: cannot use '{junk}' with the key '{pem}': TLS: ",
    ),
    (
        {"server": {"command": "no-such-program x.php"}, "websockets": {"broker": "main"}},
        "server.command: cannot start 'no-such-program x.php': 'no-such-program' is not a program",
    ),
    (
        {"server": {"command": "sh x", "user": "no-such-user"}, "websockets": {"broker": "main"}},
        "server.command: cannot start 'sh x': there is no account 'no-such-user' (key user)",
    ),
    (
        {"server": {"command": "php8.2-none -v"}, "websockets": {"broker": "main"}},
        "server.command: cannot start 'php8.2-none -v': 'php8.2-none' is not a program",
    ),
    (
        {"server": {"command": "php -d a=b missing.php x.php"}, "websockets": {"broker": "main"}},
        "server.command: cannot start 'php -d a=b missing.php x.php': 'missing.php' is not a file in ",
    ),
    (
        {"server": {"command": "php artisan serve"}, "websockets": {"broker": "main"}},
        "server.command: cannot start 'php artisan serve': 'artisan' is not a file in ",
    ),
    (
        {
            "server": {
                "command": "sh x",
                "on_init": {"command": "no-such-program", "exit_on_error": True},
            },
            "websockets": {"broker": "main"},
        },
        "server.on_init: cannot start 'no-such-program': 'no-such-program' is not a program",
    ),
    (
        {
            "server": {
                "command": "sh x",
                "on_init": {"command": "true", "user": "no-such-user", "exit_on_error": True},
            },
            "websockets": {"broker": "main"},
        },
        "server.on_init: cannot start 'true': there is no account 'no-such-user' (key user)",
    ),
    (
        {"rpc": {"listen": "unix://junk.pem"}},
        "rpc.listen: cannot listen on unix://junk.pem: the file exists and is not a socket",
    ),
    (
        {"rpc": {"listen": f"unix:///tmp/{'x' * 108}"}},
        f"rpc.listen: cannot listen on unix:///tmp/{'x' * 108}: the path is longer than 107 bytes",
    ),
    (
        {"metrics": {"address": "127.0.0.1:8080"}},
        "metrics.address: cannot listen on 127.0.0.1:8080: http.address has this address, too",
    ),
    (
        {"status": {"address": "[::]:6001"}},
        "status.address: cannot listen on [::]:6001: rpc.listen has this address, too",
    ),
    (
        {
            "server": {"command": "sh x", "relay": "tcp://:6001"},
            "websockets": {"broker": "main"},
        },
        "server.relay: cannot listen on tcp://:6001: rpc.listen has this address, too",
    ),
    (
        {"rpc": {"listen": "unix://nowhere/rpc.sock"}},
        "rpc.listen: cannot listen on unix://nowhere/rpc.sock: there is no directory nowhere",
    ),
    (
        {"logs": {"output": "nowhere/rr.log"}},
        "logs: cannot open the log file 'nowhere/rr.log': No such file or directory",
    ),
    (
        {"logs": {"channels": {"rpc": {"output": "junk.pem/rr.log"}}}},
        "logs: cannot open the log file 'junk.pem/rr.log': Not a directory",
    ),
]


@pytest.mark.parametrize(("sections", "problem"), CASES, ids=[problem.split(":")[0] for _, problem in CASES])
def test_check_and_serve_say_the_same_of_what_cannot_be_used(
    write: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    sections: dict[str, Any],
    problem: str,
) -> None:
    names = {"{junk}": junk(tmp_path), "{pem}": str(make_certificate(tmp_path))}
    text = json.dumps(sections)
    for name, path in names.items():
        text, problem = text.replace(name, path), problem.replace(name, path)
    loaded = load_config(write(**json.loads(text)), environ={})
    assert [str(found)[: len(problem)] for found in prepare(loaded).problems] == [problem]
    assert run(["check"]) == 1
    report = capsys.readouterr().out.splitlines()
    error, end = report[report.index("errors") + 1 :][:2]
    assert end == "" and error.startswith(f"  line 1: {problem}")
    assert run(["serve"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path}/.rr.yaml:1: {problem}")


@pytest.mark.parametrize(
    "command", ["php -r exit(1);", "sh artisan", "sh worker.php", ["php", "here.php", "no.php"]]
)
def test_what_cannot_be_told_from_the_command_is_left_to_php(
    write: Write, tmp_path: Path, command: str | list[str]
) -> None:
    (tmp_path / "here.php").touch()
    path = write(server={"command": command}, websockets={"broker": "main"})
    assert prepare(load_config(path, environ={})).problems == []


@pytest.mark.parametrize(
    ("sections", "problems"),
    [
        (
            {"http": {"ssl": {"cert": "pipe", "key": "pipe"}}},
            {"http.ssl.cert": "which is not a file", "http.ssl.key": "which is not a file"},
        ),
        ({"http": {"ssl": {"cert": "no.pem"}}}, {"http.ssl.key": "missing", "http.ssl.cert": "not a file"}),
        (
            {"broadcast": {"main": {"driver": "redis", "config": {"tls": {"ca": "pipe"}}}}},
            {"broadcast.main.config.tls.ca": "which is not a file"},
        ),
    ],
)
def test_what_is_no_file_is_not_opened(
    write: Write, tmp_path: Path, sections: dict[str, Any], problems: dict[str, str]
) -> None:
    """To open a pipe waits for somebody who writes, for ever; and one mistake is said once."""
    os.mkfifo(tmp_path / "pipe")
    found = prepare(load_config(write(**sections))).problems
    assert {problem.key for problem in found} == set(problems)
    assert all(text in str(problem) for problem in found for text in [problems[problem.key]])


LONG = "x" * 300


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"http": {"ssl": {"cert": LONG, "key": LONG}}}, "which cannot be looked at: File name too long"),
        ({"http": {"middleware": ["static"], "static": {"dir": LONG}}}, "which cannot be looked at: "),
        ({"server": {"command": f"php {LONG}"}}, f"{LONG}' cannot be looked at: File name too long"),
    ],
)
def test_what_cannot_even_be_looked_at_is_named_with_the_reason(
    write: Write, sections: dict[str, Any], problem: str
) -> None:
    """As what is in a directory that is another account's."""
    assert any(problem in str(found) for found in prepare(load_config(write(**sections))).problems)


@pytest.mark.parametrize(
    "sections",
    [
        {"logs": {"output": LONG}},
        {"logs": {"file_logger_options": {"log_output": f"{LONG}/{LONG}"}}},
        {"rpc": {"listen": f"unix://{LONG}"}},
        {"rpc": {"listen": f"unix://{LONG}/rpc"}},
    ],
)
def test_no_path_is_an_unexpected_error(write: Write, sections: dict[str, Any]) -> None:
    prepare(load_config(write(**sections)))


def test_addresses_that_only_look_alike_are_no_problem(write: Write) -> None:
    path = write(
        http={"address": "127.0.0.1:8080"},
        metrics={"address": "127.0.0.2:8080"},
        status={"address": "[::1]:8080"},
        rpc={"listen": "tcp://127.0.0.1:0"},
        websockets={"broker": "main", "authorize": "none", "address": "127.0.0.1:0"},
    )
    assert prepare(load_config(path, environ={})).problems == []


def test_addresses_are_tried_together(write: Write, tmp_path: Path) -> None:
    """Point 10: that two names are one address is seen only when both are listened on."""
    port = free_port()
    loaded = load_config(
        write(
            http={"address": f"127.0.0.1:{port}"},
            metrics={"address": f"localhost:{port}"},
            status={"address": f"127.0.0.1:{port}"},
            rpc={"listen": "unix://rpc.sock"},
        ),
        environ={},
    )
    assert [problem.key for problem in prepare(loaded).problems] == ["status.address"]
    assert [problem.key for problem in try_addresses(loaded)] == ["metrics.address"]
    assert not (tmp_path / "rpc.sock").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
@pytest.mark.parametrize("closed", ["program", "script"])
def test_the_account_of_workers_must_be_able_to_run_them(write: Write, closed: str) -> None:
    """Point 10: root may read everything, the account of the workers may not."""
    directory = Path(tempfile.mkdtemp())  # which this account may search, other than pytest's
    try:
        directory.chmod(0o755)
        program, script = directory / "php", directory / "worker.php"
        program.write_text("#!/bin/sh")
        script.touch()
        program.chmod(0o700 if closed == "program" else 0o755)
        script.chmod(0o600 if closed == "script" else 0o644)
        server = {"command": [str(program), str(script)], "user": "nobody"}
        path = write(server=server, websockets={"broker": "main"})
        [problem] = prepare(load_config(path, environ={})).problems
        right = f"(key user) may not execute {str(program)!r}"
        if closed == "script":
            right = f"may not read {str(script)!r}"
        assert str(problem).endswith(f": nobody {right}")
        assert os.geteuid() == 0
        program.chmod(0o755)
        script.chmod(0o644)
        assert prepare(load_config(path, environ={})).problems == []
    finally:
        shutil.rmtree(directory)


def test_what_on_init_may_install_need_not_be_there_yet(write: Write) -> None:
    server = {"command": "./made-later x", "on_init": {"command": "true"}}
    path = write(server=server, websockets={"broker": "main"})
    assert prepare(load_config(path, environ={})).problems == []


def test_log_files_are_not_made_by_the_trial(write: Write, tmp_path: Path) -> None:
    options = {"log_output": "made/deep/rr.log"}
    loaded = load_config(write(logs={"output": "rr.log", "file_logger_options": options}), environ={})
    assert prepare(loaded).problems == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [".rr.yaml"]


def test_addresses_are_tried_with_bind_only(write: Write, tmp_path: Path) -> None:
    """A server that runs is in the way, which is no reason to call its file wrong."""
    ports = {name: free_port() for name in ("rpc", "http", "metrics", "status")}
    path = write(
        rpc={"listen": "unix://rpc.sock"},
        **{name: {"address": f"127.0.0.1:{ports[name]}"} for name in ("http", "metrics", "status")},
    )

    def check(*flags: str) -> tuple[int, list[str]]:
        command = [sys.executable, "-m", "rr_py_ws", "check", "--json", "-c", str(path), *flags]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE, env=environment()
        )
        found = json.loads(done.stdout)["findings"]
        return done.returncode, [finding["text"] for finding in found if finding["kind"] == "error"]

    assert check("--bind") == (0, [])
    assert not (tmp_path / "rpc.sock").exists()
    command = [sys.executable, "-m", "rr_py_ws", "serve"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, env=environment()) as server:
        try:
            assert server.stdout is not None
            assert b"server started" in server.stdout.readline()
            assert check() == (0, [])
            code, errors = check("--bind")
        finally:
            server.terminate()
    assert code == 1
    assert [error.split()[0] for error in errors] == [
        "rpc.listen:",
        "http.address:",
        "metrics.address:",
        "status.address:",
    ]
    assert all("in use by another process" in error for error in errors)
