<?php

// Answers as Spiral's WebsocketsMiddleware and AuthorizationMiddleware do: by the path, with patterns for topics.

declare(strict_types=1);

use RRPyWs\Request;
use RRPyWs\Response;
use RRPyWs\Worker;

require __DIR__ . '/../../../php-client/autoload.php';

$server = static fn (Request $request): bool => ($request->query()['token'] ?? '') !== 'expired';
$patterns = [
    '~^channel-(?<id>[^/.]+)$~iu' => static fn (string $id): bool => true,
    '~^user\.(?<id>[^/.]+)$~iu' => static fn (string $id, Request $request): bool
        => ($request->cookies['session'] ?? '') === "of-user-$id",
];

$mayJoin = static function (string $topic, Request $request) use ($patterns): bool {
    foreach ($patterns as $pattern => $callback) {
        if (preg_match($pattern, $topic, $match)) {
            return $callback($match['id'], $request);
        }
    }

    return false;
};

$worker = Worker::create();
while (($request = $worker->waitRequest()) !== null) {
    $ours = parse_url($request->uri, PHP_URL_PATH) === getenv('RR_BROADCAST_PATH');
    $allowed = match (true) {
        !$ours => null,
        ($request->attributes['ws:joinServer'] ?? null) !== null => $server($request),
        is_string($request->attributes['ws:joinTopics'] ?? null) => array_filter(
            explode(',', $request->attributes['ws:joinTopics']),
            static fn (string $topic): bool => !$mayJoin($topic, $request),
        ) === [],
        default => false,
    };
    $worker->respond(match ($allowed) { true => 200, false => 403, null => 404 }, ['X-Powered-By' => 'Spiral']);
}
