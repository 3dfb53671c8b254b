<?php

declare(strict_types=1);

namespace RRPyWs\Tests\Support;

use RRPyWs\Goridge\Frame;
use RRPyWs\Goridge\Relay;

/**
 * A worker script, started as the server starts it: stdin and stdout are the relay, or it connects to one.
 */
final class WorkerProcess
{
    public readonly int $pid;
    public readonly Relay $relay;

    /** @var resource */
    private $process;

    /** @var resource */
    private $stderr;

    /**
     * @param string $listen `pipes`, or where the worker is to connect to.
     * @param list<string> $phpOptions
     */
    public function __construct(string $script, string $listen = 'pipes', array $phpOptions = [])
    {
        $this->stderr = \tmpfile();
        $null = ['file', '/dev/null', 'r+'];
        $pipes = $listen === 'pipes' ? [['pipe', 'r'], ['pipe', 'w']] : [$null, $null];
        $listener = $listen === 'pipes' ? null : \stream_socket_server($listen);
        $address = \str_starts_with($listen, 'tcp:') ? 'tcp://' . \stream_socket_get_name($listener, false) : $listen;
        $this->process = \proc_open(
            [\PHP_BINARY, ...$phpOptions, $script],
            [...$pipes, $this->stderr],
            $ends,
            env_vars: ['RR_RELAY' => $address] + \getenv(),
        );
        $this->pid = \proc_get_status($this->process)['pid'];
        if ($listener !== null) {
            $socket = \stream_socket_accept($listener, 20);
            $ends = [$socket, $socket];
        }
        $this->relay = new Relay($ends[1], $ends[0], 'the worker', timeout: 20.0);
    }

    public function __destruct()
    {
        if (\is_resource($this->process)) {
            \proc_terminate($this->process, 9);
            \proc_close($this->process);
        }
    }

    /**
     * Send frames and return the answer to the last.
     */
    public function exchange(Frame ...$frames): ?Frame
    {
        foreach ($frames as $frame) {
            $this->relay->send($frame);
        }

        return $this->relay->receive();
    }

    public function handshake(): void
    {
        $this->exchange(new Frame('{"pid":1}', Frame::CONTROL | Frame::JSON));
    }

    /**
     * Ask about a client whose request has this query.
     *
     * @param list<string>|null $topics Null asks whether it may connect.
     */
    public function ask(string $query = '', ?array $topics = null): ?Frame
    {
        return $this->exchange(self::question($query, $topics));
    }

    /**
     * @param list<string>|null $topics
     */
    public static function question(string $query = '', ?array $topics = null): Frame
    {
        return self::exec(\json_encode([
            'remoteAddr' => '127.0.0.1',
            'protocol' => 'HTTP/1.1',
            'method' => 'GET',
            'uri' => "http://localhost:8080/ws?$query",
            'headers' => ['Origin' => ['http://localhost']],
            'cookies' => new \stdClass(),
            'rawQuery' => $query,
            'parsed' => false,
            'attributes' => $topics === null
                ? ['ws:joinServer' => true]
                : ['ws:joinTopics' => \implode(',', $topics)],
        ]));
    }

    public static function exec(string $context): Frame
    {
        return new Frame($context, 0, [\strlen($context)]);
    }

    public function stop(): int
    {
        $this->relay->send(new Frame('{"stop":true}', Frame::CONTROL | Frame::JSON));

        return $this->wait();
    }

    /**
     * Hang up, as a server does that dies.
     */
    public function hangUp(): int
    {
        $this->relay->close();

        return $this->wait();
    }

    /**
     * What the worker has written to stderr so far.
     */
    public function stderr(): string
    {
        \rewind($this->stderr);

        return \stream_get_contents($this->stderr);
    }

    /**
     * @return int The exit code.
     */
    private function wait(): int
    {
        return \proc_close($this->process);
    }
}
