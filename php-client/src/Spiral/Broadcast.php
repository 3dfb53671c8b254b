<?php

declare(strict_types=1);

namespace RRPyWs\Spiral;

use RRPyWs\BroadcastInterface as Publisher;
use RRPyWs\Exception\BroadcastException as OwnException;
use RRPyWs\Exception\InvalidArgumentException as OwnInvalidArgumentException;
use Spiral\RoadRunner\Broadcast\BroadcastInterface;
use Spiral\RoadRunner\Broadcast\Exception\BroadcastException;
use Spiral\RoadRunner\Broadcast\Exception\InvalidArgumentException;
use Spiral\RoadRunner\Broadcast\TopicInterface;

/**
 * Publishes for code that depends on spiral/roadrunner-broadcast, over a connection that outlives a restart of the
 * server; bind `Spiral\RoadRunner\Broadcast\BroadcastInterface` to it.
 */
final class Broadcast implements BroadcastInterface
{
    public function __construct(private readonly Publisher $broadcast)
    {
    }

    public function publish($topics, $messages): void
    {
        try {
            $this->broadcast->publish($topics, $messages);
        } catch (OwnInvalidArgumentException $e) {
            throw new InvalidArgumentException($e->getMessage(), (int) $e->getCode(), $e);
        } catch (OwnException $e) {
            throw new BroadcastException($e->getMessage(), (int) $e->getCode(), $e);
        }
    }

    /** Version 2.0 asks; it is in the interface there. */
    public function isAvailable(): bool
    {
        return $this->broadcast->isAvailable();
    }

    public function join($topics): TopicInterface
    {
        $names = \is_iterable($topics) ? [...$topics] : [$topics];
        if ($names === []) {
            throw new InvalidArgumentException('Unable to join 0 topics');
        }

        return new class ($this, $names) implements TopicInterface {
            /** @param list<string> $topics */
            public function __construct(private readonly Broadcast $broadcast, private readonly array $topics)
            {
            }

            public function publish($messages): void
            {
                $this->broadcast->publish($this->topics, $messages);
            }
        };
    }
}
