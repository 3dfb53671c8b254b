<?php

// Everybody may connect, and join nothing (rr-e2e-tests php_test_files/worker-deny.php).

declare(strict_types=1);

use RRPyWs\Response;
use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

Worker::create()->serve(
    connect: static fn () => new Response(200),
    join: static fn () => new Response(401),
);
