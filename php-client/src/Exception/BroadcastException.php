<?php

declare(strict_types=1);

namespace RRPyWs\Exception;

/**
 * Root of everything this package throws; thrown itself when the server answers that it did not publish.
 */
class BroadcastException extends \RuntimeException
{
}
