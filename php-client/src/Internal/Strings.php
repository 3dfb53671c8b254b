<?php

declare(strict_types=1);

namespace RRPyWs\Internal;

use RRPyWs\Exception\InvalidArgumentException;

/**
 * The strings of an argument that may be one of them, or a list.
 */
final class Strings
{
    /**
     * @param string $what What error messages call one of them.
     * @return list<string>
     * @throws InvalidArgumentException
     */
    public static function of(string $what, string|iterable|\Stringable $values): array
    {
        $strings = [];
        // An object that is both Stringable and iterable counts as a list, because only that loses nothing.
        foreach (\is_iterable($values) ? $values : [$values] as $value) {
            if (!\is_string($value) && !$value instanceof \Stringable) {
                throw new InvalidArgumentException(
                    \sprintf('A %s must be a string, got %s', $what, \get_debug_type($value)),
                );
            }
            $strings[] = (string) $value;
        }

        return $strings;
    }

    /**
     * Those that travel as text: in JSON, or as a protobuf string. The server would refuse the whole call or answer.
     *
     * @return list<string>
     * @throws InvalidArgumentException
     */
    public static function ofText(string $what, string|iterable|\Stringable $values): array
    {
        $texts = self::of($what, $values);
        foreach ($texts as $text) {
            if (\preg_match('//u', $text) !== 1) {
                throw new InvalidArgumentException(\sprintf('A %s must be UTF-8, got bytes %s', $what, \bin2hex($text)));
            }
        }

        return $texts;
    }

    /**
     * Those that travel as text and name something.
     *
     * @return list<string>
     * @throws InvalidArgumentException
     */
    public static function ofNames(string $what, string|iterable|\Stringable $values): array
    {
        $names = self::ofText($what, $values);
        if (\in_array('', $names, true)) {
            throw new InvalidArgumentException("A $what must not be empty");
        }

        return $names;
    }
}
