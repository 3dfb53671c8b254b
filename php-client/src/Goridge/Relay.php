<?php

declare(strict_types=1);

namespace RRPyWs\Goridge;

use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Exception\ProtocolException;
use RRPyWs\Exception\TimeoutException;
use RRPyWs\Exception\TransportException;

/**
 * An open connection that frames go over: a socket, or a pair of pipes.
 */
final class Relay
{
    private const CHUNK = 1024 * 1024;
    /** Microseconds. */
    private const LOOK_EVERY = 200;

    /**
     * @param resource $in
     * @param resource $out
     * @param string $name What error messages call the other side.
     * @param float|null $timeout Seconds that one send or one receive may take; null waits for ever.
     */
    public function __construct(
        private $in,
        private $out,
        public readonly string $name,
        private readonly ?float $timeout = null,
    ) {
    }

    /**
     * @throws InvalidArgumentException The address is `pipes`.
     * @throws TransportException Nobody listens there.
     */
    public static function connect(Address $address, float $connectTimeout, ?float $timeout): self
    {
        $target = $address->target();
        $reason = '';
        [$socket, $warning] = self::quietly(static function () use ($target, $connectTimeout, &$reason) {
            $context = \stream_context_create(['socket' => ['tcp_nodelay' => true]]);

            return \stream_socket_client($target, $code, $reason, $connectTimeout, \STREAM_CLIENT_CONNECT, $context);
        });
        if ($socket === false) {
            throw new TransportException(
                \sprintf('Unable to connect to %s: %s', $address->text, $reason ?: $warning),
                mayHaveArrived: false,
            );
        }
        // A blocking socket would not obey the timeout while it sends.
        \stream_set_blocking($socket, false);

        return new self($socket, $socket, $address->text, $timeout);
    }

    /**
     * A whole frame goes out in one write where the system takes it: readers of pipes expect a header in one piece.
     *
     * @throws TransportException The other side cannot have got the whole frame.
     */
    public function send(Frame $frame): void
    {
        $bytes = $frame->encode();
        $deadline = $this->deadline();
        for ($sent = 0; $sent < \strlen($bytes); $sent += $written) {
            [$written, $warning] = self::quietly(fn () => \fwrite($this->out, \substr($bytes, $sent, self::CHUNK)));
            if ($written === false) {
                throw new TransportException("Unable to send to {$this->name}: $warning", mayHaveArrived: false);
            }
            if ($written === 0 && !$this->wait($this->out, $deadline, toWrite: true)) {
                throw new TimeoutException("{$this->name} did not take the request in time", mayHaveArrived: false);
            }
        }
    }

    /**
     * @return Frame|null The next frame; null when the other side closed the connection instead.
     * @throws TransportException
     */
    public function receive(): ?Frame
    {
        $deadline = $this->deadline();
        $header = $this->read(Frame::HEADER_SIZE, $deadline, mayEnd: true);
        if ($header === '') {
            return null;
        }
        try {
            return Frame::decode($header . $this->read(Frame::bytesAfter($header), $deadline));
        } catch (ProtocolException $e) {
            throw new ProtocolException("{$this->name} sent no valid frame: {$e->getMessage()}");
        }
    }

    /**
     * Whether there is something to read now, or the other side has closed the connection.
     */
    public function isReadable(): bool
    {
        return $this->wait($this->in, \hrtime(true));
    }

    public function close(): void
    {
        foreach ([$this->in, $this->out] as $stream) {
            if (\is_resource($stream)) {
                \fclose($stream);
            }
        }
    }

    /**
     * @param bool $mayEnd Whether the connection may end here; the result is empty then.
     */
    private function read(int $length, ?int $deadline, bool $mayEnd = false): string
    {
        $bytes = '';
        while (\strlen($bytes) < $length) {
            if (!$this->wait($this->in, $deadline)) {
                throw new TimeoutException("{$this->name} did not answer in time", mayHaveArrived: true);
            }
            // A connection that was reset reads as false; its warning says nothing more.
            [$chunk] = self::quietly(fn () => \fread($this->in, \min($length - \strlen($bytes), self::CHUNK)));
            if ($chunk === false || ($chunk === '' && \feof($this->in))) {
                if ($mayEnd && $bytes === '') {
                    return '';
                }
                throw new TransportException("{$this->name} closed the connection within a frame", true);
            }
            $bytes .= $chunk;
        }

        return $bytes;
    }

    private function deadline(): ?int
    {
        return $this->timeout === null ? null : \hrtime(true) + (int) ($this->timeout * 1e9);
    }

    /**
     * Wait until the stream can be used, at most until the deadline (nanoseconds of `hrtime`).
     *
     * @param resource $stream
     */
    private function wait($stream, ?int $deadline, bool $toWrite = false): bool
    {
        do {
            $left = $deadline === null ? null : \max(0, $deadline - \hrtime(true));
            $seconds = $left === null ? null : \intdiv($left, 1_000_000_000);
            $micros = $left === null ? null : \intdiv($left % 1_000_000_000, 1000);
            [$ready, $warning] = self::quietly(static function () use ($stream, $toWrite, $seconds, $micros) {
                $read = $toWrite ? [] : [$stream];
                $write = $toWrite ? [$stream] : [];
                $except = [];

                return \stream_select($read, $write, $except, $seconds, $micros);
            });
            if ($ready === false && \str_contains($warning, 'FD_SETSIZE')) {
                return self::look($stream, $deadline, $toWrite);
            }
            if ($ready === false && !\str_contains($warning, 'Interrupted system call')) {
                throw new TransportException("Unable to wait for {$this->name}: $warning", mayHaveArrived: true);
            }
            // After a signal, go on with what is left of the time.
        } while ($ready === false);

        return $ready > 0;
    }

    /**
     * Wait as above, but by looking again and again: `select` cannot wait for a descriptor over 1,023, which a process
     * gets that has so many files open.
     *
     * @param resource $stream
     */
    private static function look($stream, ?int $deadline, bool $toWrite): bool
    {
        // In PHP's own buffer, or in the system's; at the end of the connection it is empty text there.
        $hasSome = static fn () => \stream_get_meta_data($stream)['unread_bytes'] > 0
            || \stream_socket_recvfrom($stream, 1, \STREAM_PEEK) !== false;
        while ($toWrite || !self::quietly($hasSome)[0]) {
            if ($deadline !== null && \hrtime(true) >= $deadline) {
                return false;
            }
            \usleep(self::LOOK_EVERY);
            if ($toWrite) {
                // Nothing but a write tells.
                return true;
            }
        }

        return true;
    }

    /**
     * Call a stream function and catch the warning it raises, whatever error handler the application has set.
     *
     * @template T
     * @param callable(): T $call
     * @return array{T, string}
     */
    private static function quietly(callable $call): array
    {
        $warning = '';
        \set_error_handler(static function (int $level, string $text) use (&$warning): bool {
            $warning = $text;

            return true;
        });
        try {
            $result = $call();

            return [$result, $warning];
        } finally {
            \restore_error_handler();
        }
    }
}
