<?php

// Everybody may connect, but not with the query `token=expired`. Topics that may not be joined are lines of the file
// `refused` in the working directory.

declare(strict_types=1);

use RRPyWs\Request;
use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

Worker::create()->serve(
    connect: static fn (Request $request): bool => ($request->query()['token'] ?? '') !== 'expired',
    join: static function (Request $request, array $topics): bool {
        $refused = @file('refused', FILE_IGNORE_NEW_LINES) ?: [];

        return array_intersect($topics, $refused) === [];
    },
);
