<?php

// Publishes, forks, and publishes from both processes with the same object: php fork.php ADDRESS

declare(strict_types=1);

use RRPyWs\Broadcast;

require __DIR__ . '/../../autoload.php';

$broadcast = Broadcast::create($argv[1]);
$broadcast->publish('a', 'first');
$child = pcntl_fork();
if ($child === 0) {
    $broadcast->publish('a', 'of the child');
    exit(0);
}
$broadcast->publish('a', 'of the parent');
pcntl_waitpid($child, $status);
exit(pcntl_wexitstatus($status));
