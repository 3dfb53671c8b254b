<?php

declare(strict_types=1);

namespace RRPyWs;

/**
 * Messages of a topic's history. It never passes a part off as the whole: see `complete`.
 *
 * @implements \IteratorAggregate<int, HistoryMessage>
 */
final class History implements \IteratorAggregate, \Countable
{
    /** There are more messages; ask again since the position of the last one. */
    public const LIMIT = 'limit';
    /** Messages after the position that was asked for are not kept any more. */
    public const TRIMMED = 'trimmed';
    /** The position is of another history: the server that kept it has lost it. No messages. */
    public const EPOCH = 'epoch';
    /** The position is beyond the newest. No messages. */
    public const AHEAD = 'ahead';
    /** The topic has no history. No messages. */
    public const OFF = 'off';

    /**
     * @param list<HistoryMessage> $messages
     * @param string|null $position Of the newest message that was ever published; null when the topic has no history.
     * @param bool $complete Whether these are all messages that were asked for.
     * @param string $reason Why not: one of the constants; empty when they are.
     */
    public function __construct(
        public readonly array $messages,
        public readonly ?string $position,
        public readonly bool $complete,
        public readonly string $reason = '',
    ) {
    }

    public function getIterator(): \ArrayIterator
    {
        return new \ArrayIterator($this->messages);
    }

    public function count(): int
    {
        return \count($this->messages);
    }
}
