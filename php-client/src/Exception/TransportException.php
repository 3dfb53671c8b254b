<?php

declare(strict_types=1);

namespace RRPyWs\Exception;

/**
 * The server could not be reached, or the connection to it broke.
 */
class TransportException extends BroadcastException
{
    /**
     * @param bool $mayHaveArrived Whether the server may have got the whole request, and so may have acted on it.
     *     False means that it cannot have: calling again can not publish twice.
     */
    public function __construct(string $message, public readonly bool $mayHaveArrived)
    {
        parent::__construct($message);
    }
}
