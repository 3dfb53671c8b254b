<?php

// Does what the client asks for: `?do=403` in the URL when it connects or asks for a page, the topic `do.403` when it joins;
// `?do=bytes-1000` is a refusal with so long a body.

declare(strict_types=1);

use RRPyWs\Request;
use RRPyWs\Response;
use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

function obey(string $what): Response
{
    switch ($what) {
        case 'throw':
            throw new RuntimeException('the database is away');
        case 'exit':
            exit(3);
        case 'fatal':
            ini_set('memory_limit', '8M');
            str_repeat('x', 1 << 28);
            break;
        case 'noise':
            fwrite(STDOUT, "Warning: a library writes to stdout\n");
            break;
        case 'echo':
            echo "harmless output\n";
            break;
        case 'sleep':
            echo 'sleeping: ' . getmypid() . "\n";
            sleep(3600);
            break;
        case 'redirect':
            return new Response(302, ['Location' => '/login', 'Set-Cookie' => ['a=1', 'b=2']]);
    }

    if (str_starts_with($what, 'bytes-')) {
        return new Response(403, [], str_repeat('x', (int) substr($what, 6)));
    }

    return ctype_digit($what)
        ? new Response((int) $what, ['X-Reason' => ['one', 'two'], 'Content-Type' => 'text/plain'], "PHP says $what")
        : new Response();
}

Worker::create()->serve(
    connect: static fn (Request $request) => obey($request->query()['do'] ?? ''),
    join: static fn (Request $request, array $topics) => obey(
        str_starts_with($topics[0], 'do.') ? substr($topics[0], 3) : '',
    ),
    page: static fn (Request $request) => obey($request->query()['do'] ?? ''),
);
