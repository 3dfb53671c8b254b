<?php

// Everybody may connect. Topics end in a number: even ones may be joined, odd ones not, after 4 milliseconds.

declare(strict_types=1);

use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

Worker::create()->serve(
    connect: static fn () => true,
    join: static function ($request, array $topics): bool {
        usleep(4000);

        return (int) substr($topics[0], -1) % 2 === 0;
    },
);
