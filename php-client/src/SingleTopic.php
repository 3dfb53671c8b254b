<?php

declare(strict_types=1);

namespace RRPyWs;

/**
 * One topic that can be published to.
 */
final class SingleTopic extends Topic
{
    public function __construct(BroadcastInterface $broadcast, string $topic)
    {
        parent::__construct($broadcast, [$topic]);
    }

    public function getName(): string
    {
        return $this->topics[0];
    }
}
