<?php

// Prints what was published to a topic, all of it or after a position: php examples/history.php TOPIC [POSITION]

declare(strict_types=1);

use RRPyWs\Exception\BroadcastException;
use RRPyWs\Push;

require __DIR__ . '/../php-client/autoload.php';

if ($argc < 2) {
    fwrite(STDERR, "Usage: php {$argv[0]} TOPIC [POSITION]\n");
    exit(2);
}

$since = $argv[2] ?? null;
try {
    $push = Push::create(timeout: 10.0);
    do {
        $page = $push->history($argv[1], since: $since);
        foreach ($page as $message) {
            $since = $message->position;
            echo "$since\t", date('c', intdiv($message->timeMs, 1000)), "\t$message->payload\n";
        }
        if (!$page->complete && $page->reason !== $page::LIMIT) {
            fwrite(STDERR, "not all of it: $page->reason\n");
        }
    } while (count($page) > 0 && $since !== $page->position);
} catch (BroadcastException $e) {
    fwrite(STDERR, $e->getMessage() . "\n");
    exit(1);
}
