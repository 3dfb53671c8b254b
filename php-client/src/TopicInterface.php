<?php

declare(strict_types=1);

namespace RRPyWs;

use RRPyWs\Exception\BroadcastException;

/**
 * One or more topics that can be published to.
 */
interface TopicInterface
{
    /**
     * @param string|iterable<string|\Stringable>|\Stringable $messages
     * @throws BroadcastException
     */
    public function publish(string|iterable|\Stringable $messages): void;

    /**
     * @param string|iterable<string|\Stringable>|\Stringable $messages
     * @throws BroadcastException
     */
    public function publishAsync(string|iterable|\Stringable $messages): void;
}
