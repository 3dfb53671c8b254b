<?php

declare(strict_types=1);

namespace RRPyWs;

use RRPyWs\Exception\InvalidArgumentException;

/**
 * The answer to a Request. Status 200 allows; any other refuses, and is what a client that wanted to connect sees, with
 * the headers and the body. A client that wanted to join sees only that it may not.
 */
final class Response
{
    /** @var array<string, list<string>> */
    public readonly array $headers;

    /**
     * @param array<string, string|list<string>> $headers
     * @throws InvalidArgumentException
     */
    public function __construct(
        public readonly int $status = 200,
        array $headers = [],
        public readonly string $body = '',
    ) {
        if ($status < 100 || $status > 599) {
            throw new InvalidArgumentException("A response's status must be from 100 to 599, got $status");
        }
        $lists = [];
        foreach ($headers as $name => $values) {
            $lists[$name] = self::values((string) $name, \is_array($values) ? \array_values($values) : [$values]);
        }
        $this->headers = $lists;
    }

    /**
     * The context part of a worker's answer.
     *
     * @throws InvalidArgumentException
     */
    public function context(): string
    {
        // The cast makes `{}` of no headers: a Go server refuses `[]`.
        $context = ['status' => $this->status, 'headers' => (object) $this->headers];
        try {
            return \json_encode($context, \JSON_THROW_ON_ERROR | \JSON_UNESCAPED_SLASHES);
        } catch (\JsonException $e) {
            throw new InvalidArgumentException("A response's headers cannot be sent: {$e->getMessage()}");
        }
    }

    /**
     * @return list<string>
     */
    private static function values(string $name, array $values): array
    {
        if (\preg_match("~^[!#$%&'*+.^_`|\\~0-9A-Za-z-]+$~D", $name) !== 1) {
            throw new InvalidArgumentException("'$name' is no name of a header");
        }
        foreach ($values as $value) {
            // A line break would let the value add headers of its own.
            if (!\is_string($value) || \strpbrk($value, "\r\n\0") !== false) {
                throw new InvalidArgumentException("The header $name must be one line of text");
            }
        }

        return $values;
    }
}
