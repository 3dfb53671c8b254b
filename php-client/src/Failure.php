<?php

declare(strict_types=1);

namespace RRPyWs;

/**
 * What happens when a message cannot be published.
 *
 * An argument that can never be published, such as no topics, is an InvalidArgumentException in any case.
 */
enum Failure: string
{
    /** The exception goes to the caller. */
    case Throw = 'throw';
    /** It goes to the logger, else to PHP's error log; the caller goes on. */
    case Log = 'log';
    /** The caller goes on. */
    case Silent = 'silent';
}
