<?php

declare(strict_types=1);

namespace RRPyWs\Goridge;

use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Exception\ProtocolException;
use RRPyWs\Exception\ServiceException;
use RRPyWs\Exception\TimeoutException;
use RRPyWs\Exception\TransportException;

/**
 * Calls of the server's methods, one at a time, over one connection.
 *
 * When a kept connection breaks within a call, the call is made once more on a new one, but only if that can not run it
 * twice: the server cannot have got all of it, or the method changes nothing when it runs again.
 */
final class Rpc
{
    private const MAX_SEQUENCE = 0xFFFFFFFF;

    private readonly Connection $connection;
    private int $sequence = 0;

    /**
     * @param float $connectTimeout Seconds.
     * @param float $timeout Seconds for sending a call, and again for its reply.
     * @throws InvalidArgumentException Nobody listens at such an address, or a time-out is none.
     */
    public function __construct(public readonly Address $address, float $connectTimeout = 3.0, float $timeout = 10.0)
    {
        $this->connection = new Connection($address, $connectTimeout, $timeout);
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
        $call = new Frame($method . $body, $codec, [$this->sequence, \strlen($method)]);
        $kept = $this->connection->send($call);
        try {
            $reply = $this->connection->receive();
        } catch (TransportException $e) {
            if (!$kept || !$harmless || $e instanceof TimeoutException || $e instanceof ProtocolException) {
                throw $e;
            }
            $this->connection->send($call);
            $reply = $this->connection->receive();
        }
        $this->check($reply);
        $result = \substr($reply->payload, $reply->options[1]);
        if ($reply->has(Frame::ERROR)) {
            throw new ServiceException("$method failed on {$this->address->text}: $result");
        }

        return $result;
    }

    private function check(Frame $reply): void
    {
        try {
            $server = $this->address->text;
            if (\count($reply->options) !== 2 || $reply->options[1] > \strlen($reply->payload)) {
                throw new ProtocolException("$server sent a frame that is no reply");
            }
            if ($reply->options[0] !== $this->sequence) {
                throw new ProtocolException(
                    \sprintf('%s answered call %d instead of %d', $server, $reply->options[0], $this->sequence),
                );
            }
        } catch (ProtocolException $e) {
            // Nobody knows what comes next.
            $this->connection->close();
            throw $e;
        }
    }
}
