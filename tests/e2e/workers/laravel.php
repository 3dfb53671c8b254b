<?php

// Answers as a Laravel application's own controller does: 200 with a JSON body and cookies, 403 for a refusal, one
// topic at a time.

declare(strict_types=1);

use RRPyWs\Request;
use RRPyWs\Response;
use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

function page(int $status, array $data): Response
{
    $headers = [
        'Content-Type' => 'application/json',
        'Set-Cookie' => ['XSRF-TOKEN=abc; path=/', 'laravel_session=def; httponly'],
        'Connection' => 'close',
        'Upgrade' => 'h2c',
    ];

    return new Response($status, $headers, json_encode($data));
}

Worker::create()->serve(
    connect: static fn (Request $request) => page(200, ['connected' => true]),
    join: static function (Request $request, array $topics) {
        [$channel] = $topics;
        $guarded = preg_match('~^(private|presence)-~', $channel) === 1;
        if ($guarded && ($request->cookies['laravel_session'] ?? '') !== 'user 5') {
            return page(403, ['message' => 'This action is unauthorized.']);
        }

        return page(200, ['channel_data' => ['user_id' => 5]]);
    },
);
