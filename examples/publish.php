<?php

// Publishes messages to everybody who joined a topic: php examples/publish.php TOPIC MESSAGE...

declare(strict_types=1);

use RRPyWs\Broadcast;
use RRPyWs\Exception\BroadcastException;

require __DIR__ . '/../php-client/autoload.php';

if ($argc < 3) {
    fwrite(STDERR, "Usage: php {$argv[0]} TOPIC MESSAGE...\n");
    exit(2);
}

try {
    // The address comes from the environment's RR_RPC, else it is tcp://127.0.0.1:6001.
    Broadcast::create()->publish($argv[1], array_slice($argv, 2));
} catch (BroadcastException $e) {
    fwrite(STDERR, $e->getMessage() . "\n");
    exit(1);
}
