<?php

declare(strict_types=1);

namespace RRPyWs\Tests;

use PHPUnit\Framework\TestCase;
use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Goridge\Address;

final class AddressTest extends TestCase
{
    private const NAME = 'RR_PY_WS_TEST_ADDRESS';

    protected function tearDown(): void
    {
        \putenv(self::NAME);
        unset($_ENV[self::NAME], $_SERVER[self::NAME]);
    }

    /**
     * @testWith ["tcp://127.0.0.1:6001", "tcp://127.0.0.1:6001"]
     *           ["tcp://:6001", "tcp://127.0.0.1:6001"]
     *           ["tcp://core.internal:1", "tcp://core.internal:1"]
     *           ["tcp://[::1]:65535", "tcp://[::1]:65535"]
     *           ["unix:///run/rr.sock", "unix:///run/rr.sock"]
     *           ["unix://rr.sock", "unix://rr.sock"]
     */
    public function testTheServersFormsAreUnderstood(string $text, string $target): void
    {
        $address = Address::parse($text);

        self::assertSame($text, $address->text);
        self::assertSame($target, $address->target());
        self::assertFalse($address->isPipes());
    }

    /**
     * @testWith [""]
     *           ["127.0.0.1:6001"]
     *           ["tcp://127.0.0.1"]
     *           ["tcp://127.0.0.1:"]
     *           ["tcp://127.0.0.1:0"]
     *           ["tcp://127.0.0.1:65536"]
     *           ["tcp://127.0.0.1:6001\n"]
     *           ["tcp://::1:6001"]
     *           ["tcp://a/b:6001"]
     *           ["http://127.0.0.1:6001"]
     *           ["unix://"]
     *           ["unix://a\u0000b"]
     */
    public function testAnythingElseIsRefused(string $text): void
    {
        $this->expectException(InvalidArgumentException::class);
        $this->expectExceptionMessage("Wrong address '$text': expected tcp://host:port or unix://path");

        Address::parse($text);
    }

    public function testPipesAreKnownButCannotBeConnectedTo(): void
    {
        $pipes = Address::parse('pipes');
        self::assertTrue($pipes->isPipes());

        $this->expectException(InvalidArgumentException::class);
        $this->expectExceptionMessage("Wrong address 'pipes'");
        $pipes->target();
    }

    public function testTheEnvironmentIsAskedWhereverPhpKeepsIt(): void
    {
        $read = static fn (): string => Address::fromEnvironment(self::NAME, 'tcp://default:1')->text;

        self::assertSame('tcp://default:1', $read());
        \putenv(self::NAME . '=tcp://process:1');
        self::assertSame('tcp://process:1', $read());
        $_SERVER[self::NAME] = 'tcp://server:1';
        self::assertSame('tcp://server:1', $read());
        $_ENV[self::NAME] = 'tcp://env:1';
        self::assertSame('tcp://env:1', $read());
        $_ENV[self::NAME] = '';
        self::assertSame('tcp://default:1', $read(), 'empty counts as not set');
    }
}
