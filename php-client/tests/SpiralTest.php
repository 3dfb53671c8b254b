<?php

declare(strict_types=1);

namespace RRPyWs\Tests;

use PHPUnit\Framework\TestCase;
use RRPyWs\Goridge\Frame as OwnFrame;
use RRPyWs\Spiral\Broadcast;
use RRPyWs\Spiral\ReconnectingRelay;
use RRPyWs\Tests\Support\ScriptedServer;
use Spiral\Goridge\Exception\RelayException;
use Spiral\Goridge\Exception\TransportException;
use Spiral\Goridge\Frame;
use Spiral\RoadRunner\Broadcast\Exception\BroadcastException;
use Spiral\RoadRunner\Broadcast\Exception\InvalidArgumentException;

/**
 * Point 17: a publisher with spiral/goridge that lived longer than the server was broken for good by a restart.
 */
final class SpiralTest extends TestCase
{
    public static function setUpBeforeClass(): void
    {
        require_once __DIR__ . '/Support/spiral.php';
    }

    private static function call(int $sequence, string $body): Frame
    {
        return new Frame("m$body", [$sequence, 1], OwnFrame::PROTO);
    }

    public function testAConnectionThatTheServerClosedMeanwhileIsReplaced(): void
    {
        $server = new ScriptedServer([[ScriptedServer::OK], [ScriptedServer::OK]]);
        $relay = ReconnectingRelay::create($server->address);

        foreach ([1 => 'first', 2 => 'second'] as $sequence => $body) {
            $relay->send(self::call($sequence, $body));
            $reply = $relay->waitFrame();
            self::assertSame($sequence, $reply->options[0]);
            self::assertStringEndsWith("\x08\x01", $reply->payload);
            self::assertStringEndsWith(\bin2hex($body), $server->says());
            self::assertSame('closed', $server->says());
        }
    }

    public function testACallThatMayHaveArrivedFailsAndTheNextOneWorks(): void
    {
        $server = new ScriptedServer([['close'], [ScriptedServer::OK]]);
        $relay = ReconnectingRelay::create($server->address);
        $relay->send(self::call(1, 'first'));
        try {
            $relay->waitFrame();
            self::fail('answered');
        } catch (TransportException $e) {  // what goridge's own relay throws there; its parent is RelayException
            self::assertInstanceOf(RelayException::class, $e);
            self::assertStringEndsWith('closed the connection instead of answering', $e->getMessage());
        }

        $relay->send(self::call(2, 'second'));
        self::assertSame(2, $relay->waitFrame()->options[0]);
    }

    public function testAServerThatIsDownIsAnExceptionOfGoridge(): void
    {
        $this->expectException(RelayException::class);
        ReconnectingRelay::create('unix:///nonexistent.sock')->send(self::call(1, 'x'));
    }

    public function testCodeForRoadRunnersBroadcastPublishes(): void
    {
        $server = new ScriptedServer([[ScriptedServer::OK], [ScriptedServer::OK]]);
        $broadcast = new Broadcast(\RRPyWs\Broadcast::create($server->address));

        $broadcast->publish('a', 'first');
        self::assertStringEndsWith('first', $server->payload());
        self::assertSame('closed', $server->says());
        $broadcast->join(['a', 'b'])->publish('second');
        self::assertStringEndsWith('second', $server->payload());
    }

    public function testCodeForVersion20MayAskWhetherTheServerIsThere(): void
    {
        $broadcast = new Broadcast(\RRPyWs\Broadcast::create('unix:///nonexistent.sock'));
        self::assertFalse($broadcast->isAvailable());
    }

    public function testItsExceptionsAreRoadRunners(): void
    {
        $broadcast = new Broadcast(\RRPyWs\Broadcast::create('unix:///nonexistent.sock'));
        $caught = [];
        foreach ([['a', 'x'], [[], 'x'], ['a', []]] as [$topics, $messages]) {
            try {
                $broadcast->publish($topics, $messages);
            } catch (BroadcastException $e) {
                $caught[] = $e::class;
            }
        }

        self::assertSame(
            [BroadcastException::class, InvalidArgumentException::class, InvalidArgumentException::class],
            $caught,
        );
        $this->expectException(InvalidArgumentException::class);
        $broadcast->join([]);
    }
}
