<?php

declare(strict_types=1);

namespace RRPyWs;

use RRPyWs\Exception\BroadcastException;
use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Exception\ProtocolException;
use RRPyWs\Goridge\Address;
use RRPyWs\Goridge\Frame;
use RRPyWs\Goridge\Rpc;
use RRPyWs\Internal\PublishMessage;

/**
 * Publishes messages to the browsers that joined a topic, over the server's RPC address.
 *
 * One connection is kept and used for all calls; a process that forks must make its own Broadcast in each child.
 */
final class Broadcast implements BroadcastInterface
{
    private const DEFAULT_ADDRESS = 'tcp://127.0.0.1:6001';

    public function __construct(private readonly Rpc $rpc)
    {
    }

    /**
     * Nothing is connected yet; that happens with the first call.
     *
     * @param string|null $address `tcp://host:port` or `unix://path`; by default the environment's RR_RPC (the server
     *     sets it for its workers), else tcp://127.0.0.1:6001.
     * @param float $connectTimeout Seconds.
     * @param float $timeout Seconds for sending a call, and again for its reply.
     * @throws InvalidArgumentException
     */
    public static function create(?string $address = null, float $connectTimeout = 3.0, float $timeout = 10.0): self
    {
        $where = $address === null
            ? Address::fromEnvironment('RR_RPC', self::DEFAULT_ADDRESS)
            : Address::parse($address);

        return new self(new Rpc($where, $connectTimeout, $timeout));
    }

    public function isAvailable(): bool
    {
        try {
            $plugins = \json_decode($this->rpc->call('informer.List', 'true', Frame::JSON, harmless: true), true);
        } catch (BroadcastException) {
            return false;
        }

        return \is_array($plugins) && \in_array('websockets', $plugins, true);
    }

    public function publish(string|iterable|\Stringable $topics, string|iterable|\Stringable $messages): void
    {
        $this->send('broadcast.Publish', $topics, $messages);
    }

    public function publishAsync(string|iterable|\Stringable $topics, string|iterable|\Stringable $messages): void
    {
        $this->send('broadcast.PublishAsync', $topics, $messages);
    }

    public function join(string|iterable|\Stringable $topics): TopicInterface
    {
        $names = self::topics($topics);

        return match (\count($names)) {
            0 => throw new InvalidArgumentException('Unable to join 0 topics'),
            1 => new SingleTopic($this, $names[0]),
            default => new Group($this, $names),
        };
    }

    private function send(
        string $method,
        string|iterable|\Stringable $topics,
        string|iterable|\Stringable $messages,
    ): void {
        $names = self::topics($topics);
        if ($names === []) {
            throw new InvalidArgumentException('Unable to publish message to 0 topics');
        }
        $payloads = self::strings('message', $messages);
        if ($payloads === []) {
            throw new InvalidArgumentException('Unable to publish 0 messages');
        }
        $response = $this->rpc->call($method, PublishMessage::request($names, $payloads), Frame::PROTO);
        try {
            $ok = PublishMessage::isOk($response);
        } catch (ProtocolException $e) {
            throw new ProtocolException("{$this->rpc->address->text} answered with {$e->getMessage()}");
        }
        if (!$ok) {
            throw new BroadcastException("An error occurred while publishing message on {$this->rpc->address->text}");
        }
    }

    /**
     * @return list<string>
     */
    private static function topics(string|iterable|\Stringable $topics): array
    {
        $names = self::strings('topic', $topics);
        foreach ($names as $name) {
            // A protobuf string; the server would refuse the whole call with a text that names no topic.
            if (\preg_match('//u', $name) !== 1) {
                throw new InvalidArgumentException(\sprintf('A topic must be UTF-8, got bytes %s', \bin2hex($name)));
            }
        }

        return $names;
    }

    /**
     * @return list<string>
     */
    private static function strings(string $what, string|iterable|\Stringable $values): array
    {
        $strings = [];
        // An object that is both Stringable and iterable counts as a list, because only that loses nothing.
        foreach (\is_iterable($values) ? $values : [$values] as $value) {
            if (!\is_string($value) && !$value instanceof \Stringable) {
                throw new InvalidArgumentException(
                    \sprintf('A %s must be a string, got %s', $what, \get_debug_type($value)),
                );
            }
            $strings[] = (string) $value;
        }

        return $strings;
    }
}
