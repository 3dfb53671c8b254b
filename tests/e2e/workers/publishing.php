<?php

// Greets whoever joins, by publishing to the topic `lobby`: a worker that uses RPC while it is asked.

declare(strict_types=1);

use RRPyWs\Broadcast;
use RRPyWs\Request;
use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

$broadcast = Broadcast::create();

Worker::create()->serve(
    connect: static fn () => true,
    join: static function (Request $request, array $topics) use ($broadcast): bool {
        $broadcast->publish('lobby', 'joins ' . implode(' and ', $topics));

        return true;
    },
);
