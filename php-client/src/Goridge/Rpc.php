<?php

declare(strict_types=1);

namespace RRPyWs\Goridge;

use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Exception\ProtocolException;
use RRPyWs\Exception\ServiceException;
use RRPyWs\Exception\TimeoutException;
use RRPyWs\Exception\TransportException;

/**
 * Calls of the server's methods, one at a time, over a connection that is opened when first needed and kept.
 *
 * The server may close that connection while nobody calls, for instance when it restarts. Before a call a kept
 * connection is therefore looked at, and replaced when it is closed. When a kept connection breaks within a call, the
 * call is made once more on a new one, but only if that can not run it twice: the server cannot have got all of it, or
 * the method changes nothing.
 */
final class Rpc
{
    private const MAX_SEQUENCE = 0xFFFFFFFF;

    private ?Relay $relay = null;
    private int $sequence = 0;

    /**
     * @param float $connectTimeout Seconds.
     * @param float $timeout Seconds for sending a call, and again for its reply.
     */
    public function __construct(
        public readonly Address $address,
        private readonly float $connectTimeout = 3.0,
        private readonly float $timeout = 10.0,
    ) {
        $address->target();
    }

    /**
     * @param int $codec Frame::JSON or Frame::PROTO, what the body is written in.
     * @param bool $harmless Whether the method may run twice.
     * @return string The body of the reply.
     * @throws InvalidArgumentException The call is too big.
     * @throws ServiceException The server answered with an error.
     * @throws TransportException
     */
    public function call(string $method, string $body, int $codec, bool $harmless = false): string
    {
        $this->sequence = $this->sequence % self::MAX_SEQUENCE + 1;
        $request = new Frame($method . $body, $codec, [$this->sequence, \strlen($method)]);
        if ($this->relay?->isReadable()) {
            // A server never speaks first: what can be read is the end of the connection, or rubbish.
            $this->disconnect();
        }
        $kept = $this->relay !== null;
        try {
            $reply = $this->exchange($request);
        } catch (TimeoutException | ProtocolException $e) {
            throw $e;
        } catch (TransportException $e) {
            if (!$kept || ($e->mayHaveArrived && !$harmless)) {
                throw $e;
            }
            $reply = $this->exchange($request);
        }
        $result = \substr($reply->payload, $reply->options[1]);
        if ($reply->has(Frame::ERROR)) {
            throw new ServiceException("$method failed on {$this->address->text}: $result");
        }

        return $result;
    }

    private function exchange(Frame $request): Frame
    {
        try {
            $this->relay ??= Relay::connect($this->address, $this->connectTimeout, $this->timeout);
            $this->relay->send($request);

            return $this->checked($this->relay->receive());
        } catch (TransportException $e) {
            // A reply that comes later must not become the reply to the next call.
            $this->disconnect();
            throw $e;
        }
    }

    private function checked(?Frame $reply): Frame
    {
        $server = $this->address->text;
        if ($reply === null) {
            throw new TransportException("$server closed the connection instead of answering", mayHaveArrived: true);
        }
        if (\count($reply->options) !== 2 || $reply->options[1] > \strlen($reply->payload)) {
            throw new ProtocolException("$server sent a frame that is no reply");
        }
        if ($reply->options[0] !== $this->sequence) {
            throw new ProtocolException(
                \sprintf('%s answered call %d instead of %d', $server, $reply->options[0], $this->sequence),
            );
        }

        return $reply;
    }

    private function disconnect(): void
    {
        $this->relay?->close();
        $this->relay = null;
    }
}
