<?php

declare(strict_types=1);

namespace RRPyWs\Testing;

use RRPyWs\BroadcastInterface;
use RRPyWs\Internal\Publication;
use RRPyWs\Topic;
use RRPyWs\TopicInterface;

/**
 * Stands for a Broadcast in tests of an application: needs no server, and knows what was published.
 *
 *     $broadcast = new FakeBroadcast();
 *     (new PlaceOrder($broadcast))(5);
 *     $broadcast->assertPublishedTo('orders', '{"id":5}');
 */
final class FakeBroadcast implements BroadcastInterface
{
    use Assertions;

    public function isAvailable(): bool
    {
        return $this->failure === null;
    }

    public function publish(string|iterable|\Stringable $topics, string|iterable|\Stringable $messages): void
    {
        $publication = Publication::broadcast($topics, $messages);
        if ($this->failure !== null) {
            $this->onFailure->handle($this->failure, $publication->topics);

            return;
        }
        foreach ($publication->messages as $message) {
            foreach ($publication->topics as $topic) {
                $this->publications[] = new FakePublication($topic, $message);
            }
        }
    }

    public function publishAsync(string|iterable|\Stringable $topics, string|iterable|\Stringable $messages): void
    {
        $this->publish($topics, $messages);
    }

    public function join(string|iterable|\Stringable $topics): TopicInterface
    {
        return Topic::of($this, $topics);
    }
}
