<?php

declare(strict_types=1);

namespace RRPyWs\Internal;

use RRPyWs\Exception\InvalidArgumentException;

/**
 * The arguments of a question about a history, found to be right.
 */
final class Query
{
    private const LARGEST_LIMIT = 0xFFFFFFFF;

    /**
     * @param string|null $since Null for the beginning.
     * @param int|null $limit Null for as many as the server allows.
     * @throws InvalidArgumentException
     */
    public function __construct(
        public readonly string $topic,
        public readonly ?string $since,
        public readonly ?int $limit,
        public readonly bool $reverse,
    ) {
        Strings::ofNames('topic', $topic);
        if ($since === '') {
            throw new InvalidArgumentException('A position must not be empty; null is the beginning of the history');
        }
        Strings::ofText('position', $since ?? '');
        if ($limit !== null && ($limit < 1 || $limit > self::LARGEST_LIMIT)) {
            throw new InvalidArgumentException("A limit must be a number of messages, got $limit");
        }
    }
}
