<?php

declare(strict_types=1);

namespace RRPyWs\Exception;

/**
 * A worker's methods were called out of turn; going on would give a client the answer meant for another one.
 */
final class WorkerException extends BroadcastException
{
}
