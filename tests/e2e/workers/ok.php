<?php

// Everybody may connect, and join everything (rr-e2e-tests php_test_files/worker-ok.php).

declare(strict_types=1);

use RRPyWs\Response;
use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

Worker::create()->serve(
    connect: static fn () => new Response(200, [], 'hello'),
    join: static fn () => new Response(200, [], 'hello'),
);
