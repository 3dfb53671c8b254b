<?php

declare(strict_types=1);

namespace RRPyWs\Goridge;

use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Exception\ProtocolException;

/**
 * One goridge frame: what RPC calls and worker requests travel in.
 *
 * 12 bytes of header, up to ten 32-bit options, then the payload; all numbers are little-endian:
 *
 *     0          1      2..5            6..9            10           11      12..
 *     ver|words  flags  payload length  CRC-32 of 0..5  stream bits  unused  options, payload
 *
 * `words` is the length of header and options in words of four bytes.
 */
final class Frame
{
    public const HEADER_SIZE = 12;

    /** The server's own default limit. Checked before memory is taken for what a header announces. */
    public const MAX_PAYLOAD = 64 * 1024 * 1024;

    // Flags, byte 1.
    public const CONTROL = 0x01;
    public const JSON = 0x08;
    public const ERROR = 0x40;
    public const PROTO = 0x80;

    // Stream bits, byte 10.
    public const STREAM = 0x01;
    public const STREAM_STOP = 0x02;
    public const STREAM_PONG = 0x08;

    private const VERSION = 1;
    private const HEADER_WORDS = 3;
    private const MAX_OPTIONS = 10;

    /**
     * @param list<int> $options
     * @throws InvalidArgumentException The payload is over the limit.
     */
    public function __construct(
        public readonly string $payload,
        public readonly int $flags = 0,
        public readonly array $options = [],
        public readonly int $streamBits = 0,
    ) {
        if (\strlen($payload) > self::MAX_PAYLOAD) {
            throw new InvalidArgumentException(\sprintf(
                'Unable to send %d bytes at once, the limit is %d',
                \strlen($payload),
                self::MAX_PAYLOAD,
            ));
        }
    }

    public function has(int $flag): bool
    {
        return ($this->flags & $flag) !== 0;
    }

    public function encode(): string
    {
        $words = self::HEADER_WORDS + \count($this->options);
        $checked = \pack('CCV', self::VERSION << 4 | $words, $this->flags, \strlen($this->payload));

        return $checked . \pack('VCCV*', \crc32($checked), $this->streamBits, 0, ...$this->options) . $this->payload;
    }

    /**
     * How many bytes follow this header: options and payload.
     *
     * @param string $header Exactly HEADER_SIZE bytes.
     * @throws ProtocolException They are no goridge header.
     */
    public static function bytesAfter(string $header): int
    {
        $field = \unpack('Cwords/Cflags/Vlength/Vcrc', $header);
        $options = ($field['words'] & 0x0F) - self::HEADER_WORDS;
        // The checksum comes first: when it is wrong, every other field is noise.
        if ($field['crc'] !== \crc32(\substr($header, 0, 6))) {
            throw new ProtocolException(\sprintf('wrong checksum in the frame header %s', \bin2hex($header)));
        }
        if ($options < 0 || $options > self::MAX_OPTIONS) {
            throw new ProtocolException(\sprintf('a frame with a header of %d words', $field['words'] & 0x0F));
        }
        if ($field['length'] > self::MAX_PAYLOAD) {
            throw new ProtocolException(
                \sprintf('a frame of %d bytes, the limit is %d', $field['length'], self::MAX_PAYLOAD),
            );
        }

        return 4 * $options + $field['length'];
    }

    /**
     * @param string $bytes Exactly one frame.
     * @throws ProtocolException They are not.
     */
    public static function decode(string $bytes): self
    {
        if (
            \strlen($bytes) < self::HEADER_SIZE
            || \strlen($bytes) !== self::HEADER_SIZE + self::bytesAfter(\substr($bytes, 0, self::HEADER_SIZE))
        ) {
            throw new ProtocolException(\sprintf('%d bytes are not one whole frame', \strlen($bytes)));
        }
        $options = (\ord($bytes[0]) & 0x0F) - self::HEADER_WORDS;

        return new self(
            \substr($bytes, self::HEADER_SIZE + 4 * $options),
            \ord($bytes[1]),
            $options === 0 ? [] : \array_values(\unpack("V$options", $bytes, self::HEADER_SIZE)),
            \ord($bytes[10]),
        );
    }
}
