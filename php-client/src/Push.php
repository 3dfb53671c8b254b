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
use RRPyWs\Internal\PushMessage;
use RRPyWs\Internal\Query;
use RRPyWs\Internal\Strings;

/**
 * Publishes messages to topics that have a history, and reads it, over the server's RPC address.
 *
 * RoadRunner has no such service; Broadcast works with both.
 */
final class Push implements PushInterface
{
    private readonly OnFailure $onFailure;

    /**
     * @param Rpc $rpc May be shared with a Broadcast: one connection for both.
     * @param string $broker A section under `broadcast`; empty for the one that the server's WebSockets have.
     * @param Failure|string $failure What publish() does when it fails; also `throw`, `log` or `silent`.
     * @param LoggerInterface|null $logger Of psr/log, for `log`; PHP's error log without one.
     * @throws InvalidArgumentException
     */
    public function __construct(
        private readonly Rpc $rpc,
        private readonly string $broker = '',
        Failure|string $failure = Failure::Throw,
        ?LoggerInterface $logger = null,
    ) {
        Strings::ofText('broker', $broker);
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
        float $connectTimeout = 0.5,
        float $timeout = 0.8,
        string $broker = '',
        Failure|string $failure = Failure::Throw,
        ?LoggerInterface $logger = null,
    ): self {
        return new self(new Rpc(Address::ofRpc($address), $connectTimeout, $timeout), $broker, $failure, $logger);
    }

    public function publish(
        string|iterable|\Stringable $topics,
        string|iterable|\Stringable $messages,
        string|iterable|\Stringable $exclude = [],
        ?string $idempotencyKey = null,
        bool $skipHistory = false,
    ): PublishResult {
        $publication = Publication::push($topics, $messages, $exclude, $idempotencyKey, $skipHistory);
        try {
            $response = $this->call(
                'push.Publish',
                PushMessage::publish($publication, $this->broker),
                // With a key the server finds out that it has had the call.
                harmless: $publication->idempotencyKey !== '',
            );

            return new PublishResult($this->decoded(PushMessage::published(...), $response));
        } catch (BroadcastException $e) {
            $this->onFailure->handle($e, $publication->topics);

            return new PublishResult([], $e);
        }
    }

    public function history(string $topic, ?string $since = null, ?int $limit = null, bool $reverse = false): History
    {
        $request = PushMessage::history(new Query($topic, $since, $limit, $reverse), $this->broker);

        return $this->decoded(PushMessage::page(...), $this->call('push.History', $request, harmless: true));
    }

    public function clearHistory(string $topic): ?string
    {
        [$name] = Strings::ofNames('topic', $topic);
        $request = PushMessage::clear($name, $this->broker);

        return $this->decoded(PushMessage::cleared(...), $this->call('push.ClearHistory', $request, harmless: false));
    }

    private function call(string $method, string $request, bool $harmless): string
    {
        return $this->rpc->call($method, $request, Frame::PROTO, $harmless);
    }

    /**
     * @template T
     * @param callable(string): T $decode
     * @return T
     */
    private function decoded(callable $decode, string $response): mixed
    {
        try {
            return $decode($response);
        } catch (ProtocolException $e) {
            throw new ProtocolException("{$this->rpc->address->text} answered with {$e->getMessage()}");
        }
    }
}
