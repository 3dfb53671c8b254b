<?php

declare(strict_types=1);

namespace RRPyWs\Internal;

use RRPyWs\Exception\InvalidArgumentException;

/**
 * What a worker may say beside yes: the JSON body of an answer with a content type of its own.
 *
 * The server refuses the client when such a body is not as it should be. What is known to be wrong is therefore found
 * here, where the exception names the code that wrote it.
 */
final class Details
{
    public const TYPE = 'application/vnd.rr-ws+json';

    private const LONGEST_USER = 128;
    private const LONGEST_INFO = 2048;
    /** Levels of `info`; the server can read a few more. */
    private const DEEPEST_INFO = 200;
    /** Patterns with the same text before their first `*`. */
    private const MOST_ALIKE = 256;
    private const FLAGS = \JSON_THROW_ON_ERROR | \JSON_UNESCAPED_SLASHES | \JSON_UNESCAPED_UNICODE
        | \JSON_UNESCAPED_LINE_TERMINATORS | \JSON_PRESERVE_ZERO_FRACTION;

    /**
     * @param array<string, string|null> $details Key to JSON; those that are null are left out.
     */
    public static function body(array $details): string
    {
        $fields = [];
        foreach ($details as $key => $json) {
            if ($json !== null) {
                $fields[] = "\"$key\":$json";
            }
        }

        return '{' . \implode(',', $fields) . '}';
    }

    /**
     * @throws InvalidArgumentException
     */
    public static function user(string|int|null $user): ?string
    {
        if ($user === null) {
            return null;
        }
        [$text] = Strings::ofText('user', (string) $user);
        if ($text === '') {
            throw new InvalidArgumentException('A user must not be empty; leave it out for a client without one');
        }
        if (\strlen($text) > self::LONGEST_USER) {
            throw new InvalidArgumentException(
                \sprintf('A user must have at most %d bytes, got %d', self::LONGEST_USER, \strlen($text)),
            );
        }

        return self::json($text);
    }

    /**
     * @throws InvalidArgumentException
     */
    public static function info(mixed $info): ?string
    {
        if ($info === null) {
            return null;
        }
        try {
            $json = \json_encode($info, self::FLAGS, self::DEEPEST_INFO);
        } catch (\JsonException $e) {
            throw new InvalidArgumentException("An info cannot be sent: {$e->getMessage()}");
        }
        if (\strlen($json) > self::LONGEST_INFO) {
            throw new InvalidArgumentException(
                \sprintf('An info must have at most %d bytes of JSON, got %d', self::LONGEST_INFO, \strlen($json)),
            );
        }

        return $json;
    }

    /**
     * @throws InvalidArgumentException
     */
    public static function expire(int|float|null $expire): ?string
    {
        // Written so that NAN is refused, too.
        if ($expire !== null && !($expire > 0 && $expire < \INF)) {
            throw new InvalidArgumentException("An expire must be a number of seconds above 0, got $expire");
        }

        return $expire === null ? null : self::json($expire);
    }

    /**
     * @param string $what What error messages call one of them.
     * @return string|null Null for none.
     * @throws InvalidArgumentException
     */
    public static function topics(string $what, string|iterable|\Stringable $topics): ?string
    {
        $names = Strings::ofNames($what, $topics);

        return $names === [] ? null : self::json($names);
    }

    /**
     * @throws InvalidArgumentException
     */
    public static function patterns(string|iterable|\Stringable $patterns): ?string
    {
        $names = Strings::ofNames('pattern', $patterns);
        $alike = [];
        foreach (\array_unique($names) as $name) {
            $star = \strpos($name, '*');
            if ($star === false) {
                continue;
            }
            $beginning = \substr($name, 0, $star + 1);
            $alike[$beginning] = ($alike[$beginning] ?? 0) + 1;
            if ($alike[$beginning] > self::MOST_ALIKE) {
                throw new InvalidArgumentException(
                    \sprintf("At most %d patterns may begin with '%s'", self::MOST_ALIKE, $beginning),
                );
            }
        }

        return $names === [] ? null : self::json($names);
    }

    /**
     * @param bool|array<array-key, bool> $history
     * @throws InvalidArgumentException
     */
    public static function history(bool|array $history): ?string
    {
        if (\is_bool($history)) {
            return $history ? null : 'false';
        }
        foreach ($history as $topic => $shown) {
            Strings::ofText('topic', (string) $topic);
            if (!\is_bool($shown)) {
                throw new InvalidArgumentException(
                    "The history of topic '$topic' must be true or false, got " . \get_debug_type($shown),
                );
            }
        }

        // The cast: topics `0` and `1` would be a list.
        return self::json((object) $history);
    }

    private static function json(mixed $value): string
    {
        return \json_encode($value, self::FLAGS);
    }
}
