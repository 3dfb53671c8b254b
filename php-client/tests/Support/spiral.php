<?php

// The shape of spiral/goridge 3 and spiral/roadrunner-broadcast, as far as RRPyWs\Spiral uses them; they are no
// dependencies. Version 4 adds RelayInterface::hasFrame(); BroadcastInterface has isAvailable() in version 2.0 only.

declare(strict_types=1);

namespace Spiral\Goridge {
    interface RelayInterface
    {
        public function waitFrame(): Frame;

        public function send(Frame $frame): void;

        public function hasFrame(): bool;
    }

    final class Frame
    {
        public int $byte10 = 0;
        public int $byte11 = 0;

        public function __construct(public ?string $payload, public array $options = [], public int $flags = 0)
        {
        }
    }
}

namespace Spiral\Goridge\Exception {
    class RelayException extends \RuntimeException
    {
    }

    class TransportException extends RelayException
    {
    }
}

namespace Spiral\RoadRunner\Broadcast {
    interface TopicInterface
    {
        public function publish($messages): void;
    }

    interface BroadcastInterface
    {
        public function publish($topics, $messages): void;

        public function join($topics): TopicInterface;

        public function isAvailable(): bool;
    }
}

namespace Spiral\RoadRunner\Broadcast\Exception {
    class BroadcastException extends \RuntimeException
    {
    }

    class InvalidArgumentException extends BroadcastException
    {
    }
}
