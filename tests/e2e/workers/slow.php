<?php

// Takes its time for a connection; joins are answered at once.

declare(strict_types=1);

use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

Worker::create()->serve(
    connect: static function (): bool {
        usleep(20_000);

        return true;
    },
    join: static fn () => true,
);
