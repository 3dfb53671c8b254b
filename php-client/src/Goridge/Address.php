<?php

declare(strict_types=1);

namespace RRPyWs\Goridge;

use RRPyWs\Exception\InvalidArgumentException;

/**
 * Where the server listens: `tcp://host:port` or `unix://path`. Workers also have `pipes`: their stdin and stdout.
 */
final class Address
{
    private const PIPES = 'pipes';
    private const RPC = 'tcp://127.0.0.1:6001';

    private function __construct(
        public readonly string $text,
        private readonly string $target,
    ) {
    }

    /**
     * @throws InvalidArgumentException
     */
    public static function parse(string $text): self
    {
        if ($text === self::PIPES) {
            return new self($text, '');
        }
        if (\preg_match('~^unix://[^\0]+$~D', $text) === 1) {
            return new self($text, $text);
        }
        // A server's address may have no host ("every interface"); from here that is this machine.
        if (
            \preg_match('~^tcp://(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]*):(\d{1,5})$~D', $text, $match) === 1
            && $match[2] >= 1
            && $match[2] <= 65535
        ) {
            return new self($text, \sprintf('tcp://%s:%d', $match[1] === '' ? '127.0.0.1' : $match[1], $match[2]));
        }
        throw new InvalidArgumentException("Wrong address '$text': expected tcp://host:port or unix://path");
    }

    /**
     * Where a publisher finds the server.
     *
     * @param string|null $text By default the environment's RR_RPC (the server sets it for its workers), else
     *     tcp://127.0.0.1:6001.
     * @throws InvalidArgumentException
     */
    public static function ofRpc(?string $text): self
    {
        return $text === null ? self::fromEnvironment('RR_RPC', self::RPC) : self::parse($text);
    }

    /**
     * The address in an environment variable. Both PHP's own copies and the process's are asked, because `.env` loaders
     * fill only the first, and `variables_order` in php.ini may leave them empty.
     *
     * @throws InvalidArgumentException
     */
    public static function fromEnvironment(string $name, string $default): self
    {
        $text = $_ENV[$name] ?? $_SERVER[$name] ?? \getenv($name);

        return self::parse(\is_string($text) && $text !== '' ? $text : $default);
    }

    public function isPipes(): bool
    {
        return $this->text === self::PIPES;
    }

    /**
     * What `stream_socket_client` takes.
     *
     * @throws InvalidArgumentException Pipes cannot be connected to.
     */
    public function target(): string
    {
        if ($this->isPipes()) {
            throw new InvalidArgumentException("Wrong address 'pipes': only a worker's relay can be pipes");
        }

        return $this->target;
    }
}
