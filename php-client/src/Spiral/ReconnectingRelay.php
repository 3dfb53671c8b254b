<?php

declare(strict_types=1);

namespace RRPyWs\Spiral;

use RRPyWs\Exception\BroadcastException;
use RRPyWs\Goridge\Address;
use RRPyWs\Goridge\Connection;
use RRPyWs\Goridge\Frame as OwnFrame;
use Spiral\Goridge\Exception\TransportException as GoridgeException;
use Spiral\Goridge\Frame;
use Spiral\Goridge\RelayInterface;

/**
 * A relay for `Spiral\Goridge\RPC\RPC` (spiral/goridge 3, roadrunner-php/goridge 4) that outlives a restart of the
 * server. Their own never connect again: a queue worker that publishes would fail until it is started anew.
 *
 *     new RPC(ReconnectingRelay::create());
 *
 * A connection that has ended is replaced before the next call, which nobody notices. A call that was under way fails,
 * because the server may have carried it out; the call after it works. What is thrown is goridge's TransportException,
 * which is a RelayException, too.
 */
final class ReconnectingRelay implements RelayInterface
{
    private readonly Connection $connection;

    /**
     * @param float $connectTimeout Seconds.
     * @param float $timeout Seconds for sending a call, and again for its reply.
     */
    public function __construct(Address $address, float $connectTimeout = 3.0, float $timeout = 10.0)
    {
        $this->connection = new Connection($address, $connectTimeout, $timeout);
    }

    /**
     * @param string|null $address As for RRPyWs\Broadcast::create().
     */
    public static function create(?string $address = null, float $connectTimeout = 3.0, float $timeout = 10.0): self
    {
        return new self(Address::ofRpc($address), $connectTimeout, $timeout);
    }

    public function send(Frame $frame): void
    {
        try {
            $this->connection->send(new OwnFrame(
                (string) $frame->payload,
                $frame->flags,
                \array_values($frame->options),
                $frame->byte10 ?? 0,
            ));
        } catch (BroadcastException $e) {
            throw new GoridgeException($e->getMessage(), (int) $e->getCode(), $e);
        }
    }

    public function waitFrame(): Frame
    {
        try {
            $frame = $this->connection->receive();
        } catch (BroadcastException $e) {
            throw new GoridgeException($e->getMessage(), (int) $e->getCode(), $e);
        }

        return new Frame($frame->payload, $frame->options, $frame->flags);
    }

    /** Only version 4 asks. */
    public function hasFrame(): bool
    {
        return $this->connection->isReadable();
    }
}
