<?php

declare(strict_types=1);

namespace RRPyWs;

use RRPyWs\Exception\BroadcastException;

/**
 * Publishing to topics; what applications depend on, so that their tests can put something else in its place.
 */
interface BroadcastInterface
{
    /**
     * Whether the server answers and serves WebSockets. Never throws.
     */
    public function isAvailable(): bool;

    /**
     * Send each message to each topic, in this order, and wait until the server has accepted all of them.
     *
     * @param string|iterable<string|\Stringable>|\Stringable $topics
     * @param string|iterable<string|\Stringable>|\Stringable $messages
     * @throws BroadcastException
     */
    public function publish(string|iterable|\Stringable $topics, string|iterable|\Stringable $messages): void;

    /**
     * The same, but the server answers before it hands the messages on, and only logs when that fails.
     *
     * @param string|iterable<string|\Stringable>|\Stringable $topics
     * @param string|iterable<string|\Stringable>|\Stringable $messages
     * @throws BroadcastException
     */
    public function publishAsync(string|iterable|\Stringable $topics, string|iterable|\Stringable $messages): void;

    /**
     * Keep the topics to publish to them later. Only a name: nothing is sent, nothing is joined.
     *
     * @param string|iterable<string|\Stringable>|\Stringable $topics
     * @return TopicInterface A SingleTopic for one, a Group for several.
     * @throws BroadcastException
     */
    public function join(string|iterable|\Stringable $topics): TopicInterface;
}
