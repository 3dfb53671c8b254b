<?php

// Everybody may connect, for a second, and join everything.

declare(strict_types=1);

use RRPyWs\Response;
use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

Worker::create()->serve(
    connect: static fn () => new Response(200, ['Content-Type' => 'application/vnd.rr-ws+json'], '{"expire": 1}'),
    join: static fn () => true,
);
