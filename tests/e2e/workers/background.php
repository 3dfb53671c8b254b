<?php

// Starts something in the background for each client, as applications do, and leaves it alone.

declare(strict_types=1);

use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

Worker::create()->serve(
    connect: static function (): bool {
        exec('setsid sleep 3600 > /dev/null 2>&1 &');

        return true;
    },
    join: static fn () => true,
);
