<?php

declare(strict_types=1);

namespace RRPyWs\Testing;

/**
 * A message that was published to one topic of a fake.
 */
final class FakePublication
{
    /**
     * @param list<string> $exclude
     */
    public function __construct(
        public readonly string $topic,
        public readonly string $message,
        public readonly array $exclude = [],
        public readonly ?string $idempotencyKey = null,
        public readonly bool $skipHistory = false,
    ) {
    }
}
