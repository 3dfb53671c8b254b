<?php

// Everybody may connect, and join everything, but for attackers: `?page` is refused with a page of 1 MiB, `?stderr`
// after a hundred thousand lines on stderr, `?headers` with thousands of headers, and `?die` ends the worker.

declare(strict_types=1);

use RRPyWs\Request;
use RRPyWs\Response;
use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

$page = str_repeat('0123456789abcde ', 1 << 16);
$lines = str_repeat("x\n", 1000);
$headers = [];
for ($i = 0; $i < 20_000; $i++) {
    $headers["X-$i"] = 'a';
}

Worker::create()->serve(
    connect: static function (Request $request) use ($page, $lines, $headers): bool|Response {
        if ($request->rawQuery === 'page') {
            return new Response(403, [], $page);
        }
        if ($request->rawQuery === 'stderr') {
            for ($i = 0; $i < 100; $i++) {
                fwrite(STDERR, $lines);
            }

            return false;
        }

        if ($request->rawQuery === 'headers') {
            return new Response(403, $headers, '');
        }
        if ($request->rawQuery === 'die') {
            posix_kill(getmypid(), SIGKILL);
        }

        return true;
    },
    join: static fn (): bool => true,
);
