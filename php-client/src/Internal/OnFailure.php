<?php

declare(strict_types=1);

namespace RRPyWs\Internal;

use Psr\Log\LoggerInterface;
use RRPyWs\Exception\BroadcastException;
use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Failure;

/**
 * Does what a publisher is to do when a publish has failed.
 */
final class OnFailure
{
    private const SHOWN_TOPICS = 3;

    private readonly Failure $mode;

    /**
     * @throws InvalidArgumentException There is no such mode.
     */
    public function __construct(Failure|string $mode, private readonly ?LoggerInterface $logger)
    {
        $this->mode = $mode instanceof Failure ? $mode : Failure::tryFrom($mode) ?? throw new InvalidArgumentException(
            "Wrong failure mode '$mode': expected throw, log or silent",
        );
    }

    /**
     * @param non-empty-list<string> $topics
     * @throws BroadcastException
     */
    public function handle(BroadcastException $e, array $topics): void
    {
        // Who passes an argument that nothing can be done with is told, whatever the server does.
        if ($this->mode === Failure::Throw || $e instanceof InvalidArgumentException) {
            throw $e;
        }
        if ($this->mode === Failure::Log) {
            // On one line, whatever is in the names of topics.
            $line = \addcslashes(
                \sprintf('Unable to publish to %s: %s', self::names($topics), $e->getMessage()),
                "\0..\37\177",
            );
            if ($this->logger === null) {
                \error_log($line);
            } else {
                $this->logger->error($line, ['topics' => $topics, 'exception' => $e]);
            }
        }
    }

    /**
     * @param non-empty-list<string> $topics
     */
    private static function names(array $topics): string
    {
        $shown = \implode(', ', \array_slice($topics, 0, self::SHOWN_TOPICS));
        $others = \count($topics) - self::SHOWN_TOPICS;

        return $shown . ($others > 0 ? " and $others more" : '');
    }
}
