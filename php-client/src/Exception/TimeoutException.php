<?php

declare(strict_types=1);

namespace RRPyWs\Exception;

/**
 * The server did not take the request, or did not answer it, in time.
 */
final class TimeoutException extends TransportException
{
}
