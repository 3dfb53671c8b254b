<?php

declare(strict_types=1);

namespace RRPyWs\Exception;

/**
 * The server answered a call with an error.
 */
final class ServiceException extends BroadcastException
{
}
