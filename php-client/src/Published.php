<?php

declare(strict_types=1);

namespace RRPyWs;

/**
 * One message that was published to one topic.
 */
final class Published
{
    /**
     * @param string|null $position Where it is in the history of the topic; null when it is in none.
     * @param bool $duplicate Whether it was published before, with the same idempotency key; it was not sent again.
     */
    public function __construct(
        public readonly string $topic,
        public readonly ?string $position,
        public readonly bool $duplicate = false,
    ) {
    }
}
