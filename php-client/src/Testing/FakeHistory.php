<?php

declare(strict_types=1);

namespace RRPyWs\Testing;

use RRPyWs\History;
use RRPyWs\HistoryMessage;
use RRPyWs\Internal\Query;

/**
 * What FakePush keeps of one topic: everything, until it is cleared.
 *
 * @internal
 */
final class FakeHistory
{
    /** @var list<HistoryMessage> */
    private array $messages = [];
    private int $top = 0;
    /** The newest that was cleared. */
    private int $cleared = 0;

    /**
     * @param list<string> $exclude
     */
    public function append(string $message, array $exclude): string
    {
        $this->top++;
        $this->messages[] = new HistoryMessage(
            $message,
            $this->position(),
            (int) (\microtime(true) * 1000),
            $exclude,
        );

        return $this->position();
    }

    public function read(Query $query): History
    {
        $after = $query->since === null ? $this->cleared : self::offset($query->since);
        $reason = match (true) {
            $after === null => History::EPOCH,
            $after > $this->top => History::AHEAD,
            $after < $this->cleared => History::TRIMMED,
            default => '',
        };
        $found = $reason === History::EPOCH || $reason === History::AHEAD
            ? []
            : \array_slice($this->messages, \max(0, $after - $this->cleared));
        $found = $query->reverse ? \array_reverse($found) : $found;
        if ($query->limit !== null && \count($found) > $query->limit) {
            $found = \array_slice($found, 0, $query->limit);
            $reason = $reason === '' ? History::LIMIT : $reason;
        }

        return new History($found, $this->position(), $reason === '', $reason);
    }

    public function clear(): string
    {
        $this->messages = [];
        $this->cleared = $this->top;

        return $this->position();
    }

    private function position(): string
    {
        return "fake.$this->top";
    }

    private static function offset(string $position): ?int
    {
        return \preg_match('/^fake\.(\d{1,18})$/D', $position, $match) === 1 ? (int) $match[1] : null;
    }
}
