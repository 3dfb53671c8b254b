<?php

declare(strict_types=1);

namespace RRPyWs\Goridge;

use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Exception\TimeoutException;
use RRPyWs\Exception\TransportException;

/**
 * A connection to a server that is opened when first needed, and kept for all calls, one at a time.
 *
 * The server may close it while nobody calls, for instance when it restarts. Before a call it is therefore looked at,
 * and replaced when it is closed. It belongs to the process that opened it: another process that came from it by a fork
 * opens one of its own, because replies of two processes on one socket would get to either.
 */
final class Connection
{
    /** Seconds, about thirty years: nanoseconds of what is longer are no integer. */
    private const LONGEST = 1e9;

    private readonly float $connectTimeout;
    private readonly float $timeout;
    private ?Relay $relay = null;
    private int $owner = 0;
    /** Whether a call has no reply yet; also after something was thrown in the middle of it, as handlers of signals do. */
    private bool $owesReply = false;

    /**
     * @param float $connectTimeout Seconds.
     * @param float $timeout Seconds for sending a call, and again for its reply.
     * @throws InvalidArgumentException Nobody listens at such an address, or a time-out is none.
     */
    public function __construct(public readonly Address $address, float $connectTimeout, float $timeout)
    {
        $address->target();
        $this->connectTimeout = self::seconds($connectTimeout);
        $this->timeout = self::seconds($timeout);
    }

    /**
     * Send a call. When a kept connection breaks and the server cannot have got all of it, it is sent once more on a new one.
     *
     * @return bool Whether it went over a kept connection: that may have been closed at the same moment.
     * @throws TransportException
     */
    public function send(Frame $call): bool
    {
        if ($this->relay !== null && !$this->isUsable()) {
            $this->close();
        }
        $kept = $this->relay !== null;
        $this->owesReply = true;
        try {
            $this->write($call);

            return $kept;
        } catch (TransportException $e) {
            if (!$kept || $e->mayHaveArrived || $e instanceof TimeoutException) {
                throw $e;
            }
        }
        $this->write($call);

        return false;
    }

    /**
     * Wait for the reply. After an exception the connection is closed.
     *
     * @throws TransportException
     */
    public function receive(): Frame
    {
        try {
            $reply = $this->relay?->receive() ?? throw new TransportException(
                "{$this->address->text} closed the connection instead of answering",
                mayHaveArrived: true,
            );
            $this->owesReply = false;

            return $reply;
        } catch (TransportException $e) {
            // A reply that comes later must not become the reply to the next call.
            $this->close();
            throw $e;
        }
    }

    /**
     * Whether a reply, or the end of the connection, has arrived.
     */
    public function isReadable(): bool
    {
        return $this->relay !== null && $this->relay->isReadable();
    }

    public function close(): void
    {
        $this->relay?->close();
        $this->relay = null;
    }

    /**
     * PHP takes some of what is refused here for "wait for ever", other functions for "not at all".
     */
    private static function seconds(float $timeout): float
    {
        // Written so that NAN is refused, too.
        if (!($timeout > 0)) {
            throw new InvalidArgumentException("A time-out must be a number of seconds above 0, got $timeout");
        }

        return \min($timeout, self::LONGEST);
    }

    private function isUsable(): bool
    {
        // A server never speaks first: what can be read is the end of the connection, or rubbish.
        return $this->owner === \getmypid() && !$this->owesReply && !$this->relay->isReadable();
    }

    private function write(Frame $frame): void
    {
        try {
            if ($this->relay === null) {
                $this->relay = Relay::connect($this->address, $this->connectTimeout, $this->timeout);
                $this->owner = \getmypid();
            }
            $this->relay->send($frame);
        } catch (TransportException $e) {
            $this->close();
            throw $e;
        }
    }
}
