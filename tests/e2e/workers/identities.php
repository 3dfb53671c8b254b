<?php

// Says who clients are, as their query wants it; refuses each join that it is asked about, but for `asked` and `hidden`.

declare(strict_types=1);

use RRPyWs\Request;
use RRPyWs\Response;
use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

Worker::create()->serve(
    connect: static fn (Request $request): bool|Response => match ($request->query()['who'] ?? '') {
        'ann' => Response::accept(user: 42, info: ['name' => 'Ann'], join: ['user.42', 'all'], allow: ['news.*', 'chat']),
        'brief' => Response::accept(user: 'é', expire: 0.2),
        'nobody' => Response::accept(),
        'broken' => new Response(200, ['Content-Type' => 'application/vnd.rr-ws+json'], '{"expire":-1}'),
        default => true,
    },
    join: static fn (Request $request, array $topics): bool|Response => match ($topics) {
        ['asked'], ['news.1'] => true,
        ['hidden', 'news.1'] => Response::acceptJoin(history: ['hidden' => false]),
        ['hidden'] => Response::acceptJoin(history: false),
        default => false,
    },
);
