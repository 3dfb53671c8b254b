<?php

// Asks a session, which is a file in the working directory: gone is logged out.

declare(strict_types=1);

use RRPyWs\Request;
use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

$loggedIn = static function (Request $request): bool {
    clearstatcache();

    return is_file(basename($request->cookies['session'] ?? 'none'));
};

Worker::create()->serve(connect: $loggedIn, join: $loggedIn);
