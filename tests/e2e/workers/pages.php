<?php

// Pages for tests: what was asked for, files, parts, failures. Everybody may connect and join.

declare(strict_types=1);

use RRPyWs\Request;
use RRPyWs\Response;
use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

$json = static fn (array $value): Response => new Response(
    200,
    ['Content-Type' => 'application/json'],
    json_encode($value, JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE),
);
$mirror = static fn (Request $request): Response => $json(get_object_vars($request));
// Waits until a file is there, which a test makes.
$await = static function (Request $request): void {
    while (!file_exists($request->query()['for'])) {
        usleep(2000);
        clearstatcache();
    }
};
$parts = static function (Request $request) use ($await): iterable {
    yield 'first ';
    $await($request);
    yield 'second ';
    yield 'third';
};
$endless = static function (Request $request): iterable {
    try {
        while (true) {
            yield str_repeat('x', 10_000);
        }
    } finally {
        touch($request->query()['then']);
    }
};
$sums = static function (array $files) use (&$sums): array {
    return isset($files['tmpName'])
        ? $files + ['md5' => md5_file($files['tmpName'])]
        : array_map($sums, $files);
};
$dies = static function (): iterable {
    yield 'half of it';
    posix_kill(getmypid(), SIGKILL);
};

Worker::create()->serve(
    connect: static fn (): bool => true,
    join: static fn (): bool => true,
    page: static fn (Request $request): Response => match (parse_url($request->uri, PHP_URL_PATH)) {
        '/hello' => new Response(200, ['Content-Type' => 'text/plain'], 'hello'),
        '/length' => $json(['length' => strlen($request->body), 'md5' => md5($request->body)]),
        '/files' => $json($sums($request->uploads)),
        '/late-files' => (touch($request->query()['begun']) && ($await($request) ?? true)
            && file_put_contents($request->query()['then'], json_encode($sums($request->uploads))))
            ? new Response() : new Response(500),
        '/status' => new Response((int) $request->query()['code'], ['X-Many' => ['a', 'b']], 'body'),
        '/html' => new Response(200, [], '<!DOCTYPE html><p>hello'),
        '/trailers' => new Response(200, ['Trailer' => 'X-Sum', 'X-Sum' => '42'], 'summed'),
        '/large' => new Response(200, [], str_repeat('0123456789', (int) $request->query()['tens'])),
        '/await' => ($await($request) ?? new Response(200, [], 'done')),
        '/parts' => new Response(200, ['Content-Type' => 'text/plain'], $parts($request)),
        '/endless' => new Response(200, [], $endless($request)),
        '/dies' => exit(3),
        '/dies-in-parts' => new Response(200, [], $dies()),
        '/throws' => throw new DomainException('secret'),
        '/pid' => new Response(200, [], (string) getmypid()),
        default => $mirror($request),
    },
);
