<?php

// Boots slowly: not before the file `open` is in the working directory.

declare(strict_types=1);

use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

fwrite(STDERR, "booting\n");
while (!is_file('open')) {
    usleep(10_000);
    clearstatcache();
}

Worker::create()->serve(connect: static fn () => true, join: static fn () => true);
