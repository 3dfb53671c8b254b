<?php

// Decides who may connect and who may join a topic. Started by rr-py-ws: `server.command` in .rr.yaml.

declare(strict_types=1);

use RRPyWs\Request;
use RRPyWs\Worker;

require __DIR__ . '/../php-client/autoload.php';

Worker::create()->serve(
    // Your check goes here: look at $request->cookies, $request->header('Authorization'), $request->query() ...
    // True lets the client in, false refuses it with 403, a Response says more.
    connect: static fn (Request $request): bool => true,

    // Here too: one topic that this client may not have refuses the whole join.
    join: static function (Request $request, array $topics): bool {
        $private = array_filter($topics, static fn (string $topic): bool => str_starts_with($topic, 'private-'));

        return $private === [] || ($request->query()['token'] ?? null) === 'secret';
    },
);
