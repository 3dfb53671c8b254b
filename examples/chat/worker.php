<?php

// The chat's PHP: who may connect and join, and the pages. The server starts it as a worker for either, by
// `server.command` in .rr.yaml; what a request asks for tells which of the three callbacks answers it.

declare(strict_types=1);

use ChatExample\Chat;
use ChatExample\Files;
use RRPyWs\Broadcast;
use RRPyWs\Request;
use RRPyWs\Worker;

require __DIR__ . '/../../php-client/autoload.php';
require __DIR__ . '/Chat.php';
require __DIR__ . '/Files.php';
require __DIR__ . '/Refusal.php';

$chat = new Chat(
    Broadcast::create(),
    new Files(getenv('CHAT_FILES') ?: __DIR__ . '/files'),
    password: getenv('CHAT_PASSWORD') ?: 'open sesame',
);

Worker::create()->serve(
    // Everybody may look at the page, so everybody may connect; what counts is what they may join.
    connect: static fn (Request $request): bool => true,

    // One topic that this client may not have refuses the whole join. What nobody knows is refused, too.
    join: static fn (Request $request, array $topics): bool => array_diff($topics, $chat->topics($request)) === [],

    page: $chat->page(...),
);
