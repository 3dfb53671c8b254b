<?php

declare(strict_types=1);

namespace RRPyWs\Tests;

use PHPUnit\Framework\TestCase;
use RRPyWs\Broadcast;
use RRPyWs\Exception\BroadcastException;
use RRPyWs\Exception\TransportException;
use RRPyWs\Goridge\Address;
use RRPyWs\Goridge\Frame;
use RRPyWs\Goridge\Rpc;
use RRPyWs\Push;
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

    public function testAProcessWithMoreOpenFilesThanSelectKnowsPublishesAsOthers(): void
    {
        $server = new ScriptedServer([[ScriptedServer::OK, ScriptedServer::OK, 'close'], [ScriptedServer::OK], ['silence']]);

        $script = __DIR__ . '/Support/files.php';
        $command = 'ulimit -n 2048 && exec "$0" "$@"';
        $process = \proc_open(['sh', '-c', $command, \PHP_BINARY, $script, $server->address], [1 => ['pipe', 'w']], $pipes);

        // The large one does not fit into the socket at once.
        self::assertSame('published published closed published late', \stream_get_contents($pipes[1]));
        self::assertSame(0, \proc_close($process));
        self::assertStringEndsWith('first', $server->payload());
        self::assertStringStartsWith('big ', $server->says());
    }

    public function testAProcessThatCameFromAForkOpensAConnectionOfItsOwn(): void
    {
        // One connection after the other: the child is served when the parent's has had its two calls.
        $server = new ScriptedServer([[ScriptedServer::OK, ScriptedServer::OK], [ScriptedServer::OK]]);

        $process = \proc_open([\PHP_BINARY, __DIR__ . '/Support/fork.php', $server->address], [], $pipes);

        self::assertStringEndsWith('first', $server->payload());
        self::assertStringEndsWith('of the parent', $server->payload());
        self::assertSame('closed', $server->says());
        self::assertStringEndsWith('of the child', $server->payload());
        self::assertSame(0, \proc_close($process));
    }

    public function testAReplyThatNobodyWaitedForIsNotTakenForTheNext(): void
    {
        $server = new ScriptedServer([['silence'], [ScriptedServer::OK]]);
        $broadcast = Broadcast::create($server->address);
        \pcntl_async_signals(true);
        \pcntl_signal(\SIGALRM, static fn () => throw new \DomainException('the job takes too long'));
        \pcntl_alarm(1);
        try {
            $broadcast->publish('a', 'first');
            self::fail('published');
        } catch (\DomainException) {
        } finally {
            \pcntl_signal(\SIGALRM, \SIG_DFL);
        }

        $broadcast->publish('a', 'second');

        self::assertStringEndsWith('first', $server->payload());
        self::assertSame('closed', $server->says());
        self::assertStringEndsWith('second', $server->payload());
    }

    public function test10000CallsUseOneConnectionAndLeaveNoHandle(): void
    {
        $server = new ScriptedServer([['always 0801']]);
        $rpc = new Rpc(Address::parse($server->address));
        $publishers = [new Broadcast($rpc), new Push($rpc)];
        $publishers[0]->publish('a', 'hi');
        $before = [\scandir('/proc/self/fd'), \memory_get_usage()];

        for ($call = 0; $call < 10_000; $call++) {
            $publishers[$call % 2]->publish('a', 'hi');
        }

        self::assertSame($before[0], \scandir('/proc/self/fd'));
        self::assertLessThan($before[1] + 100_000, \memory_get_usage());
        unset($rpc, $publishers);
        self::assertSame('closed', $server->says());
    }

    public function testFailedCallsLeaveNoHandle(): void
    {
        $reply = static fn (int $options): string => 'raw ' . \bin2hex((new Frame('x', 0, \array_fill(0, $options, 1)))->encode());
        $server = new ScriptedServer([['close'], ['raw 1580'], [$reply(1)], ['body'], [ScriptedServer::OK]]);
        $silent = new ScriptedServer(\array_fill(0, 4, ['silence']));
        $broadcast = Broadcast::create($server->address);
        $impatient = Broadcast::create($silent->address, timeout: 0.1);
        $nobody = Broadcast::create('unix:///nowhere');
        $before = \scandir('/proc/self/fd');

        for ($call = 0; $call < 4; $call++) {
            foreach ([$broadcast, $impatient, $nobody] as $one) {
                try {
                    $one->publish('a', 'hi');
                    self::fail('published');
                } catch (BroadcastException) {
                }
            }
        }
        $broadcast->publish('a', 'hi');
        unset($broadcast);

        self::assertSame($before, \scandir('/proc/self/fd'));
    }

    /**
     * More than fits the buffers of a socket, so that the rest is refused when the server hangs up.
     */
    private static function longMessage(): string
    {
        return \str_repeat('x', 8 << 20);
    }
}
