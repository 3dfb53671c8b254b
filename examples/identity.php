<?php

// Decides who may connect and join, and says who the clients are: `server.command: "php examples/identity.php"`.

declare(strict_types=1);

use RRPyWs\Request;
use RRPyWs\Response;
use RRPyWs\Worker;

require __DIR__ . '/../php-client/autoload.php';

// Yours come from a session, or from a token that you check.
$users = [
    'token-of-ann' => ['id' => 1, 'name' => 'Ann', 'seconds' => 3600],
    'token-of-bob' => ['id' => 2, 'name' => 'Bob', 'seconds' => 1],
];

Worker::create()->serve(
    connect: static function (Request $request) use ($users): bool|Response {
        $token = $request->query()['token'] ?? null;
        $user = is_string($token) ? $users[$token] ?? null : null;

        return $user === null ? false : Response::accept(
            user: $user['id'],
            info: ['name' => $user['name']],
            // Then the server closes the connection, with code 4001, and the client comes back with a new token.
            expire: $user['seconds'],
            // What is published to this topic arrives without a join.
            join: "user.{$user['id']}",
            // The client may join these, and PHP is not asked. Also its own, as the JavaScript client does.
            allow: ['news.*', "user.{$user['id']}"],
        );
    },

    // Asked about all others. Support is for everybody, and what was said there before is for nobody.
    join: static fn (Request $request, array $topics): bool|Response => match ($topics) {
        ['support'] => Response::acceptJoin(history: false),
        ['chat'] => true,
        default => false,
    },
);
