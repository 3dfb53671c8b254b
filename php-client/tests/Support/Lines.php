<?php

declare(strict_types=1);

namespace RRPyWs\Tests\Support;

/**
 * Reads what a child process prints, line by line, and gives up after a while instead of hanging.
 */
final class Lines
{
    private const PATIENCE = 20;

    /**
     * @param resource $stream
     */
    public static function next($stream): string
    {
        $read = [$stream];
        $none = [];
        if (\stream_select($read, $none, $none, self::PATIENCE) !== 1) {
            throw new \LogicException('The child process says nothing');
        }

        return \rtrim((string) \fgets($stream), "\n");
    }
}
