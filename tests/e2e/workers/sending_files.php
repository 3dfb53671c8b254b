<?php

// Pages that name a file for the server to send; `/headers` shows what the request had instead.

declare(strict_types=1);

use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

$worker = Worker::create();
while (($request = $worker->waitRequest()) !== null) {
    if (parse_url($request->uri, PHP_URL_PATH) === '/headers') {
        $worker->respond(200, ['Content-Type' => 'application/json'], json_encode($request->headers));
    } else {
        $worker->respond(200, ['X-Sendfile' => getcwd() . '/large.bin', 'Content-Type' => 'video/mp4'], 'not sent');
    }
}
