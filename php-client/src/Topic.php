<?php

declare(strict_types=1);

namespace RRPyWs;

/**
 * What SingleTopic and Group have in common.
 */
abstract class Topic implements TopicInterface
{
    /**
     * @param non-empty-list<string> $topics
     */
    public function __construct(
        private readonly BroadcastInterface $broadcast,
        protected readonly array $topics,
    ) {
    }

    public function publish(string|iterable|\Stringable $messages): void
    {
        $this->broadcast->publish($this->topics, $messages);
    }

    public function publishAsync(string|iterable|\Stringable $messages): void
    {
        $this->broadcast->publishAsync($this->topics, $messages);
    }
}
