"""What publishing costs PHP itself, with the client of this repository."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

from bench.generator import HOST, Generator, LoadError, topic_name
from bench.measure import Effort, Line, Scenario, Start, running
from bench.servers import php_client, scratch

_CLIENTS = 10
_PER_SECOND = 2000
_SIZE = 100
_PUBLISHER = r"""
[, $client, $address, $topic, $count, $size] = $argv;
require "$client/autoload.php";
$broadcast = RRPyWs\Broadcast::create($address);
function used(): int
{
    $used = getrusage();
    return ($used['ru_utime.tv_sec'] + $used['ru_stime.tv_sec']) * 1000000
        + $used['ru_utime.tv_usec'] + $used['ru_stime.tv_usec'];
}
[$began, $before] = [hrtime(true), used()];
for ($n = 0; $n < $count; $n++) {
    $broadcast->publish($topic, str_pad(sprintf('%010d:', $n), (int) $size, 'x'));
}
echo json_encode([(used() - $before) / $count, (hrtime(true) - $began) / 1e3 / $count]);
"""


async def publishing(starts: Sequence[Start], effort: Effort) -> AsyncIterator[Line]:
    """One PHP process publishes, a call after another; a few clients get everything."""
    count = int(_PER_SECOND * effort.seconds)
    own = Line("publish from PHP, CPU of PHP", "us")
    server_cpu = Line("- CPU of the server", "us")
    between = Line("- from one to the next", "us wall")
    with running(starts[:1]) as (server,), scratch() as directory:
        content = directory / "content"
        content.write_bytes(b"x" * _SIZE)
        for _ in range(effort.rounds):
            async with Generator() as generator:
                await generator.connect(server.ws_port, _CLIENTS, size=_SIZE, content=content)
                before = server.cpu()
                await generator.expect(count)
                figures = await _publish_from_php(server.rpc_port, count)
                await generator.receive(patience=20)
            server_cpu.add([(server.cpu() - before) / 1e3 / count])
            for line, figure in zip((own, between), figures, strict=True):
                line.add([figure])
    for line in (own, server_cpu, between):
        yield line


async def _publish_from_php(port: int, count: int) -> tuple[float, float]:
    """Microseconds of PHP's CPU time, and of time, for each of so many messages."""
    arguments = (str(php_client()), f"tcp://{HOST}:{port}", topic_name(0), str(count), str(_SIZE))
    process = await asyncio.create_subprocess_exec(
        *("php", "-d", "display_errors=stderr", "-r", _PUBLISHER, "--", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise LoadError("PHP could not publish")
    cpu, between = json.loads(output)
    return cpu, between


SCENARIOS: dict[str, Scenario] = {"php-publish": publishing}
