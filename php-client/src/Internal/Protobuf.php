<?php

declare(strict_types=1);

namespace RRPyWs\Internal;

use RRPyWs\Exception\ProtocolException;

/**
 * Fields of protobuf messages, written and read by hand so that no extension and no runtime is needed.
 *
 * A field's key is its number and how its value is written; `number << 3 | NUMBER` or `number << 3 | BYTES`.
 */
final class Protobuf
{
    public const NUMBER = 0;
    public const BYTES = 2;

    private const FIXED_64 = 1;
    private const FIXED_32 = 5;

    /**
     * A field with a text, bytes, or another message.
     */
    public static function bytes(int $field, string $value): string
    {
        return \chr($field << 3 | self::BYTES) . self::varint(\strlen($value)) . $value;
    }

    /**
     * One such field for each value.
     *
     * @param list<string> $values
     */
    public static function list(int $field, array $values): string
    {
        return \implode('', \array_map(static fn (string $value): string => self::bytes($field, $value), $values));
    }

    /**
     * A field with a text that is not sent when it is empty, as protobuf has it.
     */
    public static function text(int $field, string $value): string
    {
        return $value === '' ? '' : self::bytes($field, $value);
    }

    /**
     * A field with a number from 0 on, or a bool; not sent when it is 0.
     */
    public static function number(int $field, int|bool $value): string
    {
        return $value ? \chr($field << 3 | self::NUMBER) . self::varint((int) $value) : '';
    }

    /**
     * The fields of a message in their order: key => value.
     *
     * As everywhere in protobuf, the reader skips those that it does not know, and of several equal ones that are no list
     * the last counts.
     *
     * @return \Generator<int, int|string>
     * @throws ProtocolException
     */
    public static function fields(string $message): \Generator
    {
        $at = 0;
        while ($at < \strlen($message)) {
            $key = self::readVarint($message, $at);
            yield $key => match ($key & 7) {
                self::NUMBER => self::readVarint($message, $at),
                self::FIXED_64 => self::read($message, $at, 8),
                self::BYTES => self::read($message, $at, self::readVarint($message, $at)),
                self::FIXED_32 => self::read($message, $at, 4),
                default => throw new ProtocolException('a protobuf field of unknown kind'),
            };
        }
    }

    private static function varint(int $value): string
    {
        $bytes = '';
        for (; $value > 0x7F; $value >>= 7) {
            $bytes .= \chr($value & 0x7F | 0x80);
        }

        return $bytes . \chr($value);
    }

    private static function readVarint(string $bytes, int &$at): int
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

    private static function read(string $bytes, int &$at, int $length): string
    {
        // Also negative: a 64-bit length that PHP's signed integers cannot hold.
        if ($length < 0 || $length > \strlen($bytes) - $at) {
            throw new ProtocolException('a protobuf message that ends within a field');
        }
        $at += $length;

        return \substr($bytes, $at - $length, $length);
    }
}
