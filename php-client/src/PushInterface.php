<?php

declare(strict_types=1);

namespace RRPyWs;

use RRPyWs\Exception\BroadcastException;
use RRPyWs\Exception\InvalidArgumentException;

/**
 * Publishing to topics that have a history; what applications depend on, so that their tests can put something else in
 * its place.
 */
interface PushInterface
{
    /**
     * Send each message to each topic, in this order, and wait until the server has accepted all of them.
     *
     * @param string|iterable<string|\Stringable>|\Stringable $topics
     * @param string|iterable<string|\Stringable>|\Stringable $messages
     * @param string|iterable<string|\Stringable>|\Stringable $exclude Clients that do not get it, by what they call
     *     themselves (`me`) or by their connection id: who has sent it, for instance. At most 16.
     * @param string|null $idempotencyKey Names this publish: the server takes one with the same key only once within
     *     5 minutes, so that it can be repeated when nobody knows whether it has arrived. At most 128 bytes. Of several
     *     messages each has a key of its own: `key`, `key#1`, `key#2` ...
     * @param bool $skipHistory Whether it is only for those who are there now.
     * @throws InvalidArgumentException
     * @throws BroadcastException
     */
    public function publish(
        string|iterable|\Stringable $topics,
        string|iterable|\Stringable $messages,
        string|iterable|\Stringable $exclude = [],
        ?string $idempotencyKey = null,
        bool $skipHistory = false,
    ): PublishResult;

    /**
     * Read what was published to a topic, oldest first.
     *
     * @param string|null $since Only what came after this position.
     * @param int|null $limit At most so many; null: as many as the server allows.
     * @param bool $reverse Newest first.
     * @throws BroadcastException Whatever publishers do when they fail.
     */
    public function history(string $topic, ?string $since = null, ?int $limit = null, bool $reverse = false): History;

    /**
     * Forget what was published to a topic.
     *
     * @return string|null The position of the newest message that was ever published; null when the topic has no history.
     * @throws BroadcastException Whatever publishers do when they fail.
     */
    public function clearHistory(string $topic): ?string;
}
