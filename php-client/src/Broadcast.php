<?php

declare(strict_types=1);

namespace RRPyWs;

use Psr\Log\LoggerInterface;
use RRPyWs\Exception\BroadcastException;
use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Exception\ProtocolException;
use RRPyWs\Goridge\Address;
use RRPyWs\Goridge\Frame;
use RRPyWs\Goridge\Rpc;
use RRPyWs\Internal\OnFailure;
use RRPyWs\Internal\Publication;
use RRPyWs\Internal\PublishMessage;

/**
 * Publishes messages to the browsers that joined a topic, over the server's RPC address.
 *
 * One connection is kept and used for all calls; a process that came from a fork opens its own.
 */
final class Broadcast implements BroadcastInterface
{
    private readonly OnFailure $onFailure;

    /**
     * @param Rpc $rpc May be shared with a Push: one connection for both.
     * @param Failure|string $failure What publish() and publishAsync() do when they fail; also `throw`, `log` or `silent`.
     * @param LoggerInterface|null $logger Of psr/log, for `log`; PHP's error log without one.
     * @throws InvalidArgumentException
     */
    public function __construct(
        private readonly Rpc $rpc,
        Failure|string $failure = Failure::Throw,
        ?LoggerInterface $logger = null,
    ) {
        $this->onFailure = new OnFailure($failure, $logger);
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
    public static function create(
        ?string $address = null,
        float $connectTimeout = 3.0,
        float $timeout = 10.0,
        Failure|string $failure = Failure::Throw,
        ?LoggerInterface $logger = null,
    ): self {
        return new self(new Rpc(Address::ofRpc($address), $connectTimeout, $timeout), $failure, $logger);
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
        return Topic::of($this, $topics);
    }

    private function send(
        string $method,
        string|iterable|\Stringable $topics,
        string|iterable|\Stringable $messages,
    ): void {
        $publication = Publication::broadcast($topics, $messages);
        $request = PublishMessage::request($publication->topics, $publication->messages);
        try {
            $this->accepted($this->rpc->call($method, $request, Frame::PROTO));
        } catch (BroadcastException $e) {
            $this->onFailure->handle($e, $publication->topics);
        }
    }

    private function accepted(string $response): void
    {
        try {
            $ok = PublishMessage::isOk($response);
        } catch (ProtocolException $e) {
            throw new ProtocolException("{$this->rpc->address->text} answered with {$e->getMessage()}");
        }
        if (!$ok) {
            throw new BroadcastException("An error occurred while publishing message on {$this->rpc->address->text}");
        }
    }
}
