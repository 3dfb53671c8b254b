<?php

declare(strict_types=1);

namespace RRPyWs;

use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Internal\Details;

/**
 * The answer to a Request. A page may come in parts, as it is made. For other requests, status 200 allows; any other
 * refuses, and is what a client that wanted to connect sees, with the headers and the body. A client that wanted to
 * join sees only that it may not.
 *
 * Who allows may say more with accept() and acceptJoin(). RoadRunner takes these as a plain yes.
 */
final class Response
{
    /** @var array<string, list<string>> */
    public readonly array $headers;

    /**
     * @param array<string, string|list<string>> $headers
     * @param string|iterable<string> $body Parts are for pages only.
     * @throws InvalidArgumentException
     */
    public function __construct(
        public readonly int $status = 200,
        array $headers = [],
        public readonly string|iterable $body = '',
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
     * Let a client connect, and say who it is.
     *
     * @param string|int|null $user The application's own name of the user, at most 128 bytes.
     * @param mixed $info What other clients may see of the user, at most 2 KiB as JSON. Kept by servers that do not tell
     *     clients of each other, too.
     * @param int|float|null $expire Seconds after which the server closes the connection (code 4001). The client comes
     *     back, and is asked about anew.
     * @param string|iterable<string|\Stringable>|\Stringable $join Topics that the server joins for the client.
     * @param string|iterable<string|\Stringable>|\Stringable $allow Patterns of topics that the client may join without
     *     a question to PHP; `*` is any text. At most 256 may have the same text before their first `*`.
     * @throws InvalidArgumentException
     */
    public static function accept(
        string|int|null $user = null,
        mixed $info = null,
        int|float|null $expire = null,
        string|iterable|\Stringable $join = [],
        string|iterable|\Stringable $allow = [],
    ): self {
        return self::yes([
            'user' => Details::user($user),
            'info' => Details::info($info),
            'expire' => Details::expire($expire),
            'join' => Details::topics('topic', $join),
            'allow' => Details::patterns($allow),
        ]);
    }

    /**
     * Let a client join the topics that it asks for, and say what it may see of them.
     *
     * @param mixed $info What other members of these topics may see of the client, at most 2 KiB as JSON. Servers that do
     *     not tell members of each other ignore it.
     * @param bool|array<array-key, bool> $history Whether the client may get what was published before; for all topics,
     *     or by topic (those not named: yes).
     * @throws InvalidArgumentException
     */
    public static function acceptJoin(mixed $info = null, bool|array $history = true): self
    {
        return self::yes(['info' => Details::info($info), 'history' => Details::history($history)]);
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
     * @param array<string, string|null> $details
     */
    private static function yes(array $details): self
    {
        return new self(200, ['Content-Type' => Details::TYPE], Details::body($details));
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
