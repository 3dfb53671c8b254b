<?php

declare(strict_types=1);

namespace RRPyWs;

/**
 * Several topics that can be published to at once.
 */
final class Group extends Topic
{
    /**
     * @return non-empty-list<string>
     */
    public function getNames(): array
    {
        return $this->topics;
    }
}
