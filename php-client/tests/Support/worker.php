<?php

// A worker that does what the client's query says.

declare(strict_types=1);

use RRPyWs\Request;
use RRPyWs\Response;
use RRPyWs\Worker;

require __DIR__ . '/../../autoload.php';

$removeBuffers = static function (): bool {
    while (ob_get_level() > 0) {
        ob_end_clean();
    }

    return true;
};

Worker::create()->serve(
    connect: static fn (Request $request): mixed => match ($request->query()['do'] ?? 'allow') {
        'allow' => true,
        'deny' => false,
        'accept' => Response::accept(user: 42, info: ['name' => 'Ann'], expire: 3600, join: ['user.42'], allow: ['news.*']),
        'accept too long' => Response::accept(user: str_repeat('x', 129)),
        'redirect' => new Response(302, ['Location' => '/login', 'Set-Cookie' => ['a=1', 'b=2']], "see \x00\xFF other"),
        'throw' => throw new DomainException('no such user'),
        'fail' => intdiv(1, 0),
        'forget' => null,
        'print' => print "noise\n",
        'echo' => (bool) print "noise\n",
        'warn' => trigger_error('careful', E_USER_WARNING),
        'buffer' => ob_start() && (print 'kept back'),
        'swallow' => ob_start() && trigger_error('careful', E_USER_WARNING) && ob_end_clean(),
        'unbuffer' => $removeBuffers(),
        'header' => new Response(403, ['X-Bad' => "a\r\nb"]),
        'big' => new Response(403, [], str_repeat('x', 300_000)),
        'exit' => exit(3),
    },
    join: static fn (Request $request, array $topics): bool|Response => match ($topics) {
        ['news', 'chat'] => true,
        ['hidden'] => Response::acceptJoin(history: false),
        default => false,
    },
    page: static fn (Request $request): Response => match ($request->query()['do'] ?? '') {
        'parts' => new Response(200, [], ['one', 'two']),
        'endless' => new Response(200, [], (static function (): iterable {
            while (true) {
                yield 'more';
            }
        })()),
        'breaks' => new Response(200, [], (static function (): iterable {
            yield 'one';
            throw new DomainException('no more');
        })()),
        default => new Response(201, ['X-Form' => json_encode($request->form())], $request->body),
    },
);
