<?php

declare(strict_types=1);

namespace RRPyWs;

use RRPyWs\Exception\BroadcastException;

/**
 * What became of a publish.
 */
final class PublishResult
{
    /** Where the last message is in the history of the first topic; null when it is in none. */
    public readonly ?string $position;

    /** Whether all of it was published before, with the same idempotency key. */
    public readonly bool $duplicate;

    /**
     * @param list<Published> $published For each message, for each topic. Empty when it failed.
     * @param BroadcastException|null $failure Why it failed; only of publishers that do not throw.
     */
    public function __construct(
        public readonly array $published,
        public readonly ?BroadcastException $failure = null,
    ) {
        $this->position = $published === [] ? null : $this->positionIn($published[0]->topic);
        $new = \array_filter($published, static fn (Published $one): bool => !$one->duplicate);
        $this->duplicate = $published !== [] && $new === [];
    }

    /**
     * Where the last message is in the history of this topic; null when it is in none.
     */
    public function positionIn(string $topic): ?string
    {
        $position = null;
        foreach ($this->published as $one) {
            if ($one->topic === $topic) {
                $position = $one->position;
            }
        }

        return $position;
    }
}
