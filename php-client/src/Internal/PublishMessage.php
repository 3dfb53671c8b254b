<?php

declare(strict_types=1);

namespace RRPyWs\Internal;

use RRPyWs\Exception\ProtocolException;

/**
 * The two protobuf messages of `broadcast.Publish`, written by hand so that no extension and no runtime is needed:
 *
 *     message Message { string command = 1; repeated string topics = 2; bytes payload = 3; }
 *     message Request { repeated Message messages = 1; }
 *     message Response { bool ok = 1; }
 *
 * `command` is not sent, the server ignores it.
 */
final class PublishMessage
{
    private const VARINT = 0;
    private const FIXED_64 = 1;
    private const BYTES = 2;
    private const FIXED_32 = 5;

    /**
     * @param list<string> $topics
     * @param list<string> $payloads
     */
    public static function request(array $topics, array $payloads): string
    {
        $names = '';
        foreach ($topics as $topic) {
            $names .= self::bytes(2, $topic);
        }
        $request = '';
        foreach ($payloads as $payload) {
            $request .= self::bytes(1, $names . self::bytes(3, $payload));
        }

        return $request;
    }

    /**
     * Read `ok` from a Response. As everywhere in protobuf, unknown fields are skipped, of several equal ones the last
     * counts, and a missing one is false.
     *
     * @throws ProtocolException
     */
    public static function isOk(string $response): bool
    {
        $ok = false;
        $at = 0;
        while ($at < \strlen($response)) {
            $key = self::varint($response, $at);
            $value = match ($key & 7) {
                self::VARINT => self::varint($response, $at),
                self::FIXED_64 => self::skip($response, $at, 8),
                self::BYTES => self::skip($response, $at, self::varint($response, $at)),
                self::FIXED_32 => self::skip($response, $at, 4),
                default => throw new ProtocolException('a protobuf field of unknown kind'),
            };
            if ($key === (1 << 3 | self::VARINT)) {
                $ok = $value !== 0;
            }
        }

        return $ok;
    }

    private static function bytes(int $field, string $value): string
    {
        $length = '';
        for ($rest = \strlen($value); $rest > 0x7F; $rest >>= 7) {
            $length .= \chr($rest & 0x7F | 0x80);
        }

        return \chr($field << 3 | self::BYTES) . $length . \chr($rest) . $value;
    }

    private static function varint(string $bytes, int &$at): int
    {
        $value = 0;
        for ($shift = 0; $shift < 70; $shift += 7) {
            $byte = \ord($bytes[$at] ?? throw new ProtocolException('a protobuf message that ends within a field'));
            $at++;
            $value |= ($byte & 0x7F) << $shift;
            if ($byte < 0x80) {
                return $value;
            }
        }
        throw new ProtocolException('a protobuf number of more than ten bytes');
    }

    private static function skip(string $bytes, int &$at, int $length): int
    {
        // Also negative: a 64-bit length that PHP's signed integers cannot hold.
        if ($length < 0 || $length > \strlen($bytes) - $at) {
            throw new ProtocolException('a protobuf message that ends within a field');
        }
        $at += $length;

        return $length;
    }
}
