"""`docs/migration.md` names every difference that a comparison with RoadRunner 2.11.4 has shown.

The comparison was 843 wire scenarios, configurations, starts and workers, beside a real RoadRunner. Here is
each kind of difference, and words that its line has.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "migration.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ")]

KEPT = {
    # on the wire
    "other requests on the port": "http.md",
    "a head that announces a body": "announces a body",
    "subprotocols": "`rr.json` `rr.binary`",
    "large heads": "limits.max_head_size 431",
    "a frame in the same packet as the handshake": "same packet",
    "refused connections are closed": "refused upgrade stays open",
    "topics with a comma": "comma allow_commas",
    "PHP's 1xx as a refusal": "status 100 101 103 199 400",
    "PHP's answers that make RoadRunner panic": "status 0 99 1000 panic 400",
    "id": "`id` reason",
    "a text that is no UTF-8": "UTF-8 1007",
    "limits of topics": "limits.max_topics max_topics_per_command max_topic_length",
    "large messages": "1009 limits.max_message_size",
    "pings": "pings are answered",
    "fragments": "fragments are assembled",
    "violations of RFC 6455": "unmasked reserved bits opcodes 1002",
    "the close handshake": "close handshake in both directions",
    "invalid close frames": "wrong code or reason 1002 1007",
    "a TCP reset": "TCP reset",
    "a stranger leaves": "leave of one client",
    "order": "order of messages",
    "gob": "gob is refused",
    "the service of 2.3.0": "`websockets.Publish` served",
    "calls that end RoadRunner": "options method name informer.List protobuf",
    "informer and resetter without http": "`informer.List` `resetter.List` `http`",
    "rpc.Version and rpc.Config": "`rpc.Version` `rpc.Config` RR_VERSION",
    "status without the section": "`status` section always there",
    "strict JSON in commands": "JSON laxly strict JSON raw control characters `01`",
    "a payload of NULs": "payload of NULs",
    "malformed HTTP": "malformed head",
    "paths that are no URL": "`%zz` HTTP/2 preface `*`",
    "HEAD": "HEAD 405 without a body",
    "Expect": "`Expect` 417",
    "obs-fold": "obs-fold refused",
    "an empty line before the request": "empty line RFC 9112",
    "status 418": "418 Teapot",
    "NUL in a header of PHP": "NUL space",
    "framing headers of PHP": "`Content-Length` `Transfer-Encoding`",
    "refusals in chunks": "2 KiB chunks",
    "HTTP/1.0": "HTTP/1.0 `HTTP/1.1`",
    "a repeated key with null": "repeated key null last one counts",
    "an escape that is cut off": "escape cut off",
    "texts of decoders": "texts errors decoders 16 KiB",
    "a repeated key in RPC": "key twice RPC last one counts",
    "names in MessagePack": "MessagePack `Messages` any case",
    "the command of informer.Workers": "`informer.Workers` `command`",
    "RPC connections": "`limits.max_rpc_connections` 1,024",
    "joins without topics": "join without topics PHP",
    "@join before the subscription": "`@join` after it exists",
    "slow clients": "slow client 1013",
    "heartbeat": "ping every",
    # configuration, start, stop
    "trusted_subnets with a single address": "`trusted_subnets` single address",
    "localhost": "`http.address: localhost` `rpc.listen: tcp://localhost",
    "*:port": '`http.address: "*:8080"`',
    "TLS without HTTP/2": "TLS `h2` `http/1.1`",
    "broker in upper case": "`broker: Default`",
    "config missing or null": "without `config` `config: null`",
    "middleware not listed": "`http.middleware` always serves",
    "version": '`version: 2.7` `version: "3"`',
    "a list of origins": "`websockets.allowed_origin` list",
    "the place of proxy_ip_parser": "`proxy_ip_parser` after `websockets`",
    "who is believed": "`Forwarded` `X-Forwarded-For` from the right",
    "several sections of broadcast": "every section of `broadcast` runs",
    "RR_WEBSOCKETS_PATH": "`RR_WEBSOCKETS_PATH` 404",
    "SIGTERM and SIGINT": "SIGTERM SIGINT 1001",
    "metrics and health": "no metrics of WebSockets",
    # workers
    "a worker that answers with an error": "worker answers with an error kept",
    "a worker that asks to be replaced": 'replaced `{"stop":true}` three',
    "the loss of all workers": "loss of all workers backoff",
    "streamed answers": "several frames refused reason",
    "the environment of workers": "environment `RR_VERSION`",
}


@pytest.mark.parametrize("difference", KEPT)
def test_each_difference_that_stays_has_a_line(difference: str) -> None:
    """The table is complete against the list of what differed."""
    words = re.findall(r"`[^`]*`?|\S+", KEPT[difference])
    assert [row for row in ROWS if all(word.strip("`") in row for word in words)], words


def test_each_line_has_its_reason() -> None:
    """A table of differences: there, here, why."""
    differences = [row for row in ROWS if not row.startswith(("| RoadRunner", "| ---"))]
    assert len(differences) >= len(KEPT)
    for row in differences:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 3 and all(cells), row


def test_publishers_with_many_connections_find_the_key() -> None:
    """Point 24: MultiRPC keeps 50 for each PHP process; 1,024 are soon used up."""
    [place] = [paragraph for paragraph in PAGE.split("\n\n") if "MultiRPC" in paragraph]
    assert "websockets.limits.max_rpc_connections" in place and "LimitNOFILE" in place and "50" in place


def test_the_client_of_roadrunner_1_is_named() -> None:
    """Point 25: the newest version on npm speaks another protocol."""
    [place] = [paragraph for paragraph in PAGE.split("\n\n") if "@spiralscout/websockets" in paragraph]
    assert '{"topic":"join","payload":["news"]}' in place and '{"command":"join","topics":["news"]}' in place
