<?php

declare(strict_types=1);

namespace RRPyWs\Internal;

use RRPyWs\Exception\InvalidArgumentException;

/**
 * The arguments of a publish, found to be right.
 */
final class Publication
{
    private const MAX_PUSHED = 512;
    private const MAX_EXCLUDED = 16;
    private const LONGEST_ID = 64;
    private const LONGEST_KEY = 128;

    /**
     * @param non-empty-list<string> $topics
     * @param non-empty-list<string> $messages
     * @param list<string> $exclude
     * @param string $idempotencyKey Empty for none.
     */
    private function __construct(
        public readonly array $topics,
        public readonly array $messages,
        public readonly array $exclude = [],
        public readonly string $idempotencyKey = '',
        public readonly bool $skipHistory = false,
    ) {
    }

    /**
     * Those of a Broadcast.
     *
     * @throws InvalidArgumentException
     */
    public static function broadcast(string|iterable|\Stringable $topics, string|iterable|\Stringable $messages): self
    {
        $names = Strings::ofText('topic', $topics);
        if ($names === []) {
            throw new InvalidArgumentException('Unable to publish message to 0 topics');
        }
        $payloads = Strings::of('message', $messages);
        if ($payloads === []) {
            throw new InvalidArgumentException('Unable to publish 0 messages');
        }

        return new self($names, $payloads);
    }

    /**
     * Those of a Push. The server would refuse the whole call.
     *
     * @throws InvalidArgumentException
     */
    public static function push(
        string|iterable|\Stringable $topics,
        string|iterable|\Stringable $messages,
        string|iterable|\Stringable $exclude,
        ?string $idempotencyKey,
        bool $skipHistory,
    ): self {
        $what = self::broadcast($topics, $messages);
        Strings::ofNames('topic', $what->topics);
        if (\count($what->topics) * \count($what->messages) > self::MAX_PUSHED) {
            throw new InvalidArgumentException(\sprintf(
                'Unable to publish %d messages to %d topics at once: at most %d in all',
                \count($what->messages),
                \count($what->topics),
                self::MAX_PUSHED,
            ));
        }

        return new self(
            $what->topics,
            $what->messages,
            self::excluded($exclude),
            self::key($idempotencyKey, \count($what->messages)),
            $skipHistory,
        );
    }

    /**
     * The idempotency key of one of the messages; empty for none.
     *
     * The server knows keys by topic, so several messages to one topic cannot share theirs.
     */
    public function keyOf(int $index): string
    {
        return $this->idempotencyKey === '' ? '' : self::numbered($this->idempotencyKey, $index);
    }

    /**
     * @return list<string>
     */
    private static function excluded(string|iterable|\Stringable $exclude): array
    {
        $ids = Strings::ofText('client to exclude', $exclude);
        if (\count($ids) > self::MAX_EXCLUDED) {
            throw new InvalidArgumentException(
                \sprintf('At most %d clients can be excluded, got %d', self::MAX_EXCLUDED, \count($ids)),
            );
        }
        foreach ($ids as $id) {
            // Characters, not bytes.
            if (\preg_match('/^.{1,' . self::LONGEST_ID . '}$/Dsu', $id) !== 1) {
                throw new InvalidArgumentException(
                    \sprintf("A client to exclude must have 1 to %d characters, got '%s'", self::LONGEST_ID, $id),
                );
            }
        }

        return $ids;
    }

    private static function key(?string $key, int $messages): string
    {
        if ($key === null) {
            return '';
        }
        $length = \strlen(self::numbered($key, $messages - 1));
        if ($key === '' || $length > self::LONGEST_KEY) {
            throw new InvalidArgumentException(
                \sprintf('An idempotency key must have 1 to %d bytes, got %d', self::LONGEST_KEY, $length),
            );
        }

        return Strings::ofText('key', $key)[0];
    }

    private static function numbered(string $key, int $index): string
    {
        return $index === 0 ? $key : "$key#$index";
    }
}
