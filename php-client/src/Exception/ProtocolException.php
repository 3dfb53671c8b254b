<?php

declare(strict_types=1);

namespace RRPyWs\Exception;

/**
 * The other side sent bytes that are not what was agreed on.
 */
final class ProtocolException extends TransportException
{
    public function __construct(string $message)
    {
        parent::__construct($message, mayHaveArrived: true);
    }
}
