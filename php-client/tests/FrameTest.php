<?php

declare(strict_types=1);

namespace RRPyWs\Tests;

use PHPUnit\Framework\TestCase;
use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Exception\ProtocolException;
use RRPyWs\Goridge\Frame;

final class FrameTest extends TestCase
{
    /**
     * Frames that were exchanged with RoadRunner's own goridge library.
     *
     * @return iterable<string, array{string, Frame}>
     */
    public function workedFrames(): iterable
    {
        yield 'RPC request: broadcast.Publish' => [
            '15802600 0000fb72 66d60000 01000000 11000000 62726f61 64636173 742e5075 626c6973 680a130a'
                . '07707562 6c697368 12046368 61741a02 6869',
            new Frame("broadcast.Publish\x0a\x13\x0a\x07publish\x12\x04chat\x1a\x02hi", Frame::PROTO, [1, 17]),
        ];
        yield 'RPC reply: ok' => [
            '15801300 0000687a 93110000 01000000 11000000 62726f61 64636173 742e5075 626c6973 680801',
            new Frame("broadcast.Publish\x08\x01", Frame::PROTO, [1, 17]),
        ];
        yield 'RPC error reply' => [
            '15c02a00 00000a95 43c40000 04000000 09000000 6e6f7376 632e466f 6f727063 3a206361 6e277420'
                . '66696e64 20736572 76696365 206e6f73 76632e46 6f6f',
            new Frame("nosvc.Foorpc: can't find service nosvc.Foo", Frame::PROTO | Frame::ERROR, [4, 9]),
        ];
        yield 'server to worker: pid' => [
            '13090c00 00005f0c 46730000 7b227069 64223a34 3234327d',
            new Frame('{"pid":4242}', Frame::CONTROL | Frame::JSON),
        ];
        yield 'worker to server: pid' => [
            '13010c00 00009e47 36430000 7b227069 64223a38 3132387d',
            new Frame('{"pid":8128}', Frame::CONTROL),
        ];
        yield 'server to worker: request' => [
            '14080900 000065e5 fd640000 07000000 7b226322 3a317d68 69',
            new Frame('{"c":1}hi', Frame::JSON, [7]),
        ];
        yield 'worker to server: answer' => [
            '14000a00 00004a01 38460000 03000000 63747862 6f64793a 6869',
            new Frame('ctxbody:hi', 0, [3]),
        ];
        yield 'worker to server: error' => [
            '13400f00 00008999 10340000 736f6d65 20657272 6f722074 657874',
            new Frame('some error text', Frame::ERROR),
        ];
        yield 'server to worker: stop' => [
            '13090d00 00003a6b facb0000 7b227374 6f70223a 74727565 7d',
            new Frame('{"stop":true}', Frame::CONTROL | Frame::JSON),
        ];
        yield 'server to worker: pong' => [
            '13000000 000096d1 80340800',
            new Frame('', 0, [], Frame::STREAM_PONG),
        ];
    }

    /**
     * @dataProvider workedFrames
     */
    public function testWorkedFramesAreWrittenAndReadAsTheyAre(string $hex, Frame $frame): void
    {
        $bytes = \hex2bin(\str_replace(' ', '', $hex));

        self::assertSame(\bin2hex($bytes), \bin2hex($frame->encode()));
        self::assertEquals($frame, Frame::decode($bytes));
    }

    public function testEveryFlippedBitOfTheCheckedBytesIsNoticed(): void
    {
        $bytes = (new Frame('{"c":1}hi', 0, [7]))->encode();
        for ($bit = 0; $bit < 80; $bit++) {
            $broken = $bytes;
            $broken[$bit >> 3] = \chr(\ord($bytes[$bit >> 3]) ^ 1 << ($bit & 7));
            try {
                Frame::decode($broken);
                self::fail("bit $bit");
            } catch (ProtocolException $e) {
                self::assertStringContainsString('wrong checksum', $e->getMessage());
            }
        }
    }

    public function testAnyNumberOfOptionsUpToTenIsRead(): void
    {
        for ($count = 0; $count <= 10; $count++) {
            $frame = new Frame('payload', 0, \array_fill(0, $count, 0xFFFFFFFF));

            self::assertEquals($frame, Frame::decode($frame->encode()));
        }
    }

    /**
     * @return iterable<string, array{string, string}>
     */
    public function brokenFrames(): iterable
    {
        $bytes = (new Frame('hi', 0, [1]))->encode();

        yield 'nothing' => ['', 'not one whole frame'];
        yield 'half a header' => [\substr($bytes, 0, 11), 'not one whole frame'];
        yield 'a header without options' => [\substr($bytes, 0, 12), 'not one whole frame'];
        yield 'a payload cut off' => [\substr($bytes, 0, -1), 'not one whole frame'];
        yield 'one byte too many' => ["$bytes!", 'not one whole frame'];
        yield 'a header of two words' => [self::header(0x12, 0), 'header of 2 words'];
        yield 'a header of fourteen words' => [self::header(0x1E, 0), 'header of 14 words'];
        yield 'four gigabytes' => [self::header(0x13, 0xFFFFFFFF), 'a frame of 4294967295 bytes'];
    }

    /**
     * @dataProvider brokenFrames
     */
    public function testBytesThatAreNoFrameAreRefused(string $bytes, string $message): void
    {
        $this->expectException(ProtocolException::class);
        $this->expectExceptionMessage($message);

        Frame::decode($bytes);
    }

    public function testAPayloadOverTheLimitIsRefusedBeforeItIsSent(): void
    {
        $this->expectException(InvalidArgumentException::class);
        $this->expectExceptionMessage('Unable to send 67108865 bytes at once, the limit is 67108864');

        new Frame(\str_repeat('x', Frame::MAX_PAYLOAD + 1));
    }

    private static function header(int $first, int $length): string
    {
        $checked = \pack('CCV', $first, 0, $length);

        return $checked . \pack('VCC', \crc32($checked), 0, 0);
    }
}
