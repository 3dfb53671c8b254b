<?php

declare(strict_types=1);

namespace RRPyWs\Tests;

use PHPUnit\Framework\TestCase;
use RRPyWs\Exception\ProtocolException;
use RRPyWs\Exception\TimeoutException;
use RRPyWs\Exception\TransportException;
use RRPyWs\Goridge\Frame;
use RRPyWs\Goridge\Relay;

final class RelayTest extends TestCase
{
    /** @var resource */
    private $peer;

    private Relay $relay;

    protected function setUp(): void
    {
        [$this->peer, $mine] = \stream_socket_pair(\STREAM_PF_UNIX, \STREAM_SOCK_STREAM, 0);
        \stream_set_blocking($mine, false);
        $this->relay = new Relay($mine, $mine, 'the peer', timeout: 0.2);
    }

    public function testFramesThatArriveTogetherAreReadOneByOne(): void
    {
        $first = new Frame('first', Frame::JSON, [1, 2]);
        $second = new Frame(\str_repeat('second', 1000));
        \fwrite($this->peer, $first->encode() . $second->encode());

        self::assertEquals($first, $this->relay->receive());
        self::assertEquals($second, $this->relay->receive());
        self::assertFalse($this->relay->isReadable());
    }

    public function testTheEndBetweenFramesIsNoError(): void
    {
        \fwrite($this->peer, (new Frame('last'))->encode());
        \fclose($this->peer);

        self::assertSame('last', $this->relay->receive()->payload);
        self::assertTrue($this->relay->isReadable());
        self::assertNull($this->relay->receive());
    }

    public function testTheEndWithinAFrameIsAnError(): void
    {
        $bytes = (new Frame('payload', 0, [7]))->encode();
        foreach (\range(1, \strlen($bytes) - 1) as $length) {
            $this->setUp();
            \fwrite($this->peer, \substr($bytes, 0, $length));
            \fclose($this->peer);
            try {
                $this->relay->receive();
                self::fail("$length bytes");
            } catch (TransportException $e) {
                self::assertSame('the peer closed the connection within a frame', $e->getMessage());
                self::assertTrue($e->mayHaveArrived);
            }
        }
    }

    public function testBytesThatAreNoFrameAreAnError(): void
    {
        \fwrite($this->peer, "PHP Warning: something\n");

        $this->expectException(ProtocolException::class);
        $this->expectExceptionMessage('the peer sent no valid frame: wrong checksum in the frame header 504850');
        $this->relay->receive();
    }

    public function testSilenceEndsWithATimeout(): void
    {
        $this->expectException(TimeoutException::class);
        $this->expectExceptionMessage('the peer did not answer in time');
        $this->relay->receive();
    }

    public function testAPeerThatStopsWithinAFrameEndsWithATimeout(): void
    {
        \fwrite($this->peer, \substr((new Frame('payload'))->encode(), 0, -1));

        $this->expectException(TimeoutException::class);
        $this->relay->receive();
    }

    public function testAPeerThatDoesNotReadEndsWithATimeout(): void
    {
        try {
            $this->relay->send(new Frame(\str_repeat('x', 8 << 20)));
            self::fail('sent');
        } catch (TimeoutException $e) {
            self::assertSame('the peer did not take the request in time', $e->getMessage());
            self::assertFalse($e->mayHaveArrived);
        }
    }

    public function testSendingToAClosedConnectionSaysWhy(): void
    {
        \fclose($this->peer);
        try {
            $this->relay->send(new Frame('x'));
            self::fail('sent');
        } catch (TransportException $e) {
            self::assertStringStartsWith('Unable to send to the peer: ', $e->getMessage());
            self::assertStringContainsString('Broken pipe', $e->getMessage());
            self::assertFalse($e->mayHaveArrived);
        }
    }

    public function testASignalDoesNotEndTheWait(): void
    {
        $seen = 0;
        \pcntl_async_signals(true);
        \pcntl_signal(\SIGALRM, static function () use (&$seen): void {
            $seen++;
        });
        $relay = new Relay($this->peer, $this->peer, 'the peer', timeout: 1.5);
        \pcntl_alarm(1);
        try {
            $relay->receive();
            self::fail('received');
        } catch (TimeoutException) {
            self::assertSame(1, $seen);
        } finally {
            \pcntl_signal(\SIGALRM, \SIG_DFL);
        }
    }

    public function testTheApplicationsErrorHandlerSeesNothingOfThis(): void
    {
        \fclose($this->peer);
        $seen = [];
        \set_error_handler(static function (int $level, string $text) use (&$seen): bool {
            $seen[] = $text;

            return true;
        });
        try {
            $this->relay->send(new Frame('x'));
            self::fail('sent');
        } catch (TransportException) {
            self::assertSame([], $seen);
        } finally {
            \restore_error_handler();
        }
    }
}
