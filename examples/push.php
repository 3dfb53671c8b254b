<?php

// Publishes a message to a topic with a history, and prints its position there: php examples/push.php TOPIC MESSAGE [KEY]
// With a KEY it may be called again when nobody knows whether it has worked: the server takes the message once.

declare(strict_types=1);

use RRPyWs\Exception\BroadcastException;
use RRPyWs\Push;

require __DIR__ . '/../php-client/autoload.php';

if ($argc < 3) {
    fwrite(STDERR, "Usage: php {$argv[0]} TOPIC MESSAGE [KEY]\n");
    exit(2);
}

try {
    // The address comes from the environment's RR_RPC, else it is tcp://127.0.0.1:6001. Nobody is in a hurry here: by
    // default the time-out is below a second.
    $result = Push::create(timeout: 10.0)->publish($argv[1], $argv[2], idempotencyKey: $argv[3] ?? null);
} catch (BroadcastException $e) {
    fwrite(STDERR, $e->getMessage() . "\n");
    exit(1);
}
echo $result->position ?? 'no history', $result->duplicate ? ' (published before)' : '', "\n";
