<?php

// Answers as a Symfony application does whose firewall sends strangers to the login page, and whose controller
// throws when something is wrong.

declare(strict_types=1);

use RRPyWs\Request;
use RRPyWs\Response;
use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

Worker::create()->serve(
    connect: static fn (Request $request) => match ($request->cookies['PHPSESSID'] ?? '') {
        'known' => new Response(200),
        'broken' => throw new LogicException('An exception has been thrown during the rendering of a template'),
        default => new Response(302, ['Location' => '/login'], '<!DOCTYPE html><html><body>Redirecting'),
    },
    join: static fn (Request $request, array $topics) => match ($topics) {
        ['news'] => new Response(200),
        ['broken'] => throw new LogicException('A circular reference has been detected'),
        default => new Response(302, ['Location' => '/login']),
    },
);
