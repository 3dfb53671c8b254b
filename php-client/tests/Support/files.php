<?php

// Publishes with 1,100 files open, and says what becomes of it: php files.php ADDRESS

declare(strict_types=1);

use RRPyWs\Broadcast;
use RRPyWs\Exception\TimeoutException;
use RRPyWs\Exception\TransportException;

require __DIR__ . '/../../autoload.php';

$files = array_map(static fn () => fopen('/dev/null', 'r'), range(1, 1100));
$publish = static function (Broadcast $broadcast, string $message): string {
    try {
        $broadcast->publish('a', $message);

        return 'published';
    } catch (TimeoutException) {
        return 'late';
    } catch (TransportException $e) {
        return str_contains($e->getMessage(), 'closed the connection') ? 'closed' : $e->getMessage();
    }
};

$broadcast = Broadcast::create($argv[1]);
$results = [];
foreach (['first', str_repeat('x', 8 << 20), 'unanswered', 'after that'] as $message) {
    $results[] = $publish($broadcast, $message);
}
unset($broadcast);
$results[] = $publish(Broadcast::create($argv[1], timeout: 0.2), 'late');
echo implode(' ', $results);
