<?php

declare(strict_types=1);

namespace RRPyWs\Tests;

use PHPUnit\Framework\TestCase;
use RRPyWs\Broadcast;
use RRPyWs\Exception\TransportException;
use RRPyWs\Goridge\Frame;
use RRPyWs\Tests\Support\ScriptedServer;

/**
 * What happens to calls when the server restarts: none is lost that can be saved, none is made twice.
 */
final class ReconnectTest extends TestCase
{
    private const LIST = 'body 5b22776562736f636b657473225d';

    private string $path;

    protected function setUp(): void
    {
        $this->path = \sys_get_temp_dir() . '/php-client-' . \getmypid() . '.sock';
    }

    protected function tearDown(): void
    {
        @\unlink($this->path);
    }

    public function testAConnectionThatTheServerClosedMeanwhileIsReplaced(): void
    {
        $server = new ScriptedServer([[ScriptedServer::OK], [ScriptedServer::OK]]);
        $broadcast = Broadcast::create($server->address);

        $broadcast->publish('a', 'first');
        self::assertStringEndsWith('first', $server->payload());
        self::assertSame('closed', $server->says());
        $broadcast->publish('a', 'second');

        self::assertStringEndsWith('second', $server->payload());
    }

    public function testRubbishBetweenTwoCallsDoesNotBecomeTheNextReply(): void
    {
        $reply = new Frame("\x08\x01", Frame::PROTO, [1, 0]);
        $both = $reply->encode() . (new Frame('', Frame::PROTO, [2, 0]))->encode();
        $server = new ScriptedServer([['raw ' . \bin2hex($both)], [ScriptedServer::OK]]);
        $broadcast = Broadcast::create($server->address);

        $broadcast->publish('a', 'first');
        self::assertStringEndsWith('first', $server->payload());
        self::assertSame('closed', $server->says());
        $broadcast->publish('a', 'second');

        self::assertStringEndsWith('second', $server->payload());
    }

    public function testAPublishThatTheServerMayHaveAcceptedIsNotRepeated(): void
    {
        $server = new ScriptedServer([[ScriptedServer::OK, 'close'], [ScriptedServer::OK]]);
        $broadcast = Broadcast::create($server->address);
        $broadcast->publish('a', 'first');

        try {
            $broadcast->publish('a', 'second');
            self::fail('published');
        } catch (TransportException $e) {
            self::assertSame("$server->address closed the connection instead of answering", $e->getMessage());
            self::assertTrue($e->mayHaveArrived);
        }
        $broadcast->publish('a', 'third');

        self::assertStringEndsWith('first', $server->payload());
        self::assertStringEndsWith('second', $server->payload());
        self::assertSame('closed', $server->says());
        self::assertStringEndsWith('third', $server->payload());
    }

    public function testAPublishThatBreaksOffWithinItsReplyIsNotRepeated(): void
    {
        $server = new ScriptedServer([[ScriptedServer::OK, 'raw 1580'], [ScriptedServer::OK]]);
        $broadcast = Broadcast::create($server->address);
        $broadcast->publish('a', 'first');

        try {
            $broadcast->publish('a', 'second');
            self::fail('published');
        } catch (TransportException $e) {
            self::assertSame("$server->address closed the connection within a frame", $e->getMessage());
        }
        $broadcast->publish('a', 'third');

        self::assertStringEndsWith('first', $server->payload());
        self::assertStringEndsWith('second', $server->payload());
        self::assertSame('closed', $server->says());
        self::assertStringEndsWith('third', $server->payload());
    }

    public function testAPublishThatTheServerCannotHaveReadIsMadeAgain(): void
    {
        $server = new ScriptedServer([[ScriptedServer::OK, 'slam'], [ScriptedServer::OK]], "unix://$this->path");
        $broadcast = Broadcast::create($server->address);
        $broadcast->publish('a', 'first');

        $broadcast->publish('a', self::longMessage());

        self::assertStringEndsWith('first', $server->payload());
        self::assertSame('closed', $server->says());
        self::assertStringStartsWith('big ', $server->says());
        self::assertSame('closed', $server->says());
    }

    public function testItIsMadeAgainOnlyOnce(): void
    {
        $server = new ScriptedServer(
            [[ScriptedServer::OK, 'slam'], ['slam'], [ScriptedServer::OK]],
            "unix://$this->path",
        );
        $broadcast = Broadcast::create($server->address);
        $broadcast->publish('a', 'first');

        try {
            $broadcast->publish('a', self::longMessage());
            self::fail('published');
        } catch (TransportException $e) {
            self::assertStringStartsWith("Unable to send to unix://$this->path: ", $e->getMessage());
            self::assertFalse($e->mayHaveArrived);
        }
    }

    public function testOnANewConnectionNothingIsMadeAgain(): void
    {
        $server = new ScriptedServer([['slam'], [ScriptedServer::OK]], "unix://$this->path");

        $this->expectException(TransportException::class);
        Broadcast::create($server->address)->publish('a', self::longMessage());
    }

    public function testAQuestionMayBeAskedTwice(): void
    {
        $server = new ScriptedServer([[self::LIST, 'close'], [self::LIST]]);
        $broadcast = Broadcast::create($server->address);

        self::assertTrue($broadcast->isAvailable());
        self::assertTrue($broadcast->isAvailable());

        self::assertSame('informer.Listtrue', $server->payload());
        self::assertSame('informer.Listtrue', $server->payload());
        self::assertSame('closed', $server->says());
        self::assertSame('informer.Listtrue', $server->payload());
    }

    public function testAQuestionThatWasNotAnsweredInTimeIsNotAskedAgain(): void
    {
        $server = new ScriptedServer([[self::LIST, 'silence'], [self::LIST]]);
        $broadcast = Broadcast::create($server->address, timeout: 0.2);

        self::assertTrue($broadcast->isAvailable());
        self::assertFalse($broadcast->isAvailable());
        self::assertTrue($broadcast->isAvailable());
    }

    /**
     * More than fits the buffers of a socket, so that the rest is refused when the server hangs up.
     */
    private static function longMessage(): string
    {
        return \str_repeat('x', 8 << 20);
    }
}
