<?php

// A worker that uses the single steps, also out of turn; it answers with what that gave.

declare(strict_types=1);

use RRPyWs\Exception\WorkerException;
use RRPyWs\Worker;

require __DIR__ . '/../../autoload.php';

$worker = Worker::create();

try {
    $worker->respond(200);
} catch (WorkerException $tooEarly) {
}

$request = $worker->waitRequest();
try {
    $worker->waitRequest();
} catch (WorkerException $unanswered) {
}
$worker->respond(418, ['X-Method' => $request->method], "{$tooEarly->getMessage()}\n{$unanswered->getMessage()}");

$worker->waitRequest();
$worker->error('cannot say');
try {
    $worker->respond(200);
} catch (WorkerException $twice) {
}

$worker->waitRequest();
$worker->respond(200, [], $twice->getMessage());

exit($worker->waitRequest() === null ? 0 : 1);
