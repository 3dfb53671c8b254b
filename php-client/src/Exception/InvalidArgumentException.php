<?php

declare(strict_types=1);

namespace RRPyWs\Exception;

/**
 * The caller's argument cannot be used; nothing was sent.
 */
final class InvalidArgumentException extends BroadcastException
{
}
