<?php

declare(strict_types=1);

namespace ChatExample;

/**
 * A request that is not carried out; the message is for the person who made it.
 */
final class Refusal extends \RuntimeException
{
    public function __construct(public readonly int $status, string $message)
    {
        parent::__construct($message);
    }
}
