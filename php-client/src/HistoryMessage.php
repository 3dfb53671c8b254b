<?php

declare(strict_types=1);

namespace RRPyWs;

/**
 * A message in the history of a topic.
 */
final class HistoryMessage
{
    /**
     * @param int $timeMs When it was published: milliseconds since 1970.
     * @param list<string> $exclude Whom it is not for.
     */
    public function __construct(
        public readonly string $payload,
        public readonly string $position,
        public readonly int $timeMs,
        public readonly array $exclude = [],
    ) {
    }
}
