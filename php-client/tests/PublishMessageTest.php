<?php

declare(strict_types=1);

namespace RRPyWs\Tests;

use PHPUnit\Framework\TestCase;
use RRPyWs\Exception\ProtocolException;
use RRPyWs\Internal\PublishMessage;

final class PublishMessageTest extends TestCase
{
    /**
     * @return iterable<string, array{list<string>, list<string>, string}>
     */
    public function requests(): iterable
    {
        yield 'two topics' => [['a', 'b'], ['hi'], '0a0a1201611201621a026869'];
        yield 'two messages' => [['a'], ['x', 'y'], '0a061201611a0178' . '0a061201611a0179'];
        yield 'an empty payload' => [['a'], [''], '0a051201611a00'];
        yield 'any bytes' => [['ä'], ["\x00\xFF"], '0a081202c3a41a0200ff'];
        yield 'a length of two bytes' => [
            ['a'],
            [\str_repeat('x', 200)],
            '0ace01' . '120161' . '1ac801' . \str_repeat('78', 200),
        ];
        yield 'a length of three bytes' => [
            ['a'],
            [\str_repeat('x', 20000)],
            '0aa79c01' . '120161' . '1aa09c01' . \str_repeat('78', 20000),
        ];
    }

    /**
     * @dataProvider requests
     */
    public function testRequestsAreWrittenAsProtobuf(array $topics, array $payloads, string $hex): void
    {
        self::assertSame($hex, \bin2hex(PublishMessage::request($topics, $payloads)));
    }

    /**
     * @testWith ["0801", true]
     *           ["", false]
     *           ["0800", false]
     *           ["08ffffffffffffffffff01", true]
     *           ["08010800", false]
     *           ["08000801", true]
     *           ["10010801", true]
     *           ["1203616263" , false]
     *           ["12036162630801", true]
     *           ["110102030405060708" , false]
     *           ["1101020304050607080801", true]
     *           ["15010203040801", true]
     *           ["a2060161", false]
     *           ["0a0101", false]
     */
    public function testOkIsFoundAmongWhatIsNotKnown(string $hex, bool $ok): void
    {
        self::assertSame($ok, PublishMessage::isOk(\hex2bin($hex)));
    }

    /**
     * @testWith ["08"]
     *           ["0880"]
     *           ["08ffffffffffffffffffff01"]
     *           ["12"]
     *           ["120361"]
     *           ["12ffffffffffffffffff0100"]
     *           ["1101020304"]
     *           ["150102"]
     *           ["0b"]
     *           ["0f"]
     */
    public function testAResponseThatIsNoProtobufIsRefused(string $hex): void
    {
        $this->expectException(ProtocolException::class);

        PublishMessage::isOk(\hex2bin($hex));
    }
}
