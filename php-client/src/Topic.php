<?php

declare(strict_types=1);

namespace RRPyWs;

use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Internal\Strings;

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

    /**
     * @param string|iterable<string|\Stringable>|\Stringable $topics
     * @return TopicInterface A SingleTopic for one, a Group for several.
     * @throws InvalidArgumentException
     */
    public static function of(BroadcastInterface $broadcast, string|iterable|\Stringable $topics): TopicInterface
    {
        $names = Strings::ofText('topic', $topics);

        return match (\count($names)) {
            0 => throw new InvalidArgumentException('Unable to join 0 topics'),
            1 => new SingleTopic($broadcast, $names[0]),
            default => new Group($broadcast, $names),
        };
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
