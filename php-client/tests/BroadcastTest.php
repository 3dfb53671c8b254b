<?php

declare(strict_types=1);

namespace RRPyWs\Tests;

use PHPUnit\Framework\TestCase;
use RRPyWs\Broadcast;
use RRPyWs\Exception\BroadcastException;
use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Exception\ProtocolException;
use RRPyWs\Exception\ServiceException;
use RRPyWs\Exception\TimeoutException;
use RRPyWs\Exception\TransportException;
use RRPyWs\Goridge\Frame;
use RRPyWs\Group;
use RRPyWs\Internal\PublishMessage;
use RRPyWs\Push;
use RRPyWs\SingleTopic;
use RRPyWs\Tests\Support\ScriptedServer;

final class BroadcastTest extends TestCase
{
    protected function tearDown(): void
    {
        \putenv('RR_RPC');
    }

    public function testAPublishIsOneCallWithAllTopicsInEachMessage(): void
    {
        $server = new ScriptedServer([[ScriptedServer::OK]]);

        Broadcast::create($server->address)->publish(['a', 'b'], ['hi', 'ho']);

        $body = '0a0a1201611201621a026869' . '0a0a1201611201621a02686f';
        $request = new Frame('broadcast.Publish' . \hex2bin($body), Frame::PROTO, [1, 17]);
        self::assertSame('got ' . \bin2hex($request->encode()), $server->says());
    }

    /**
     * @return iterable<string, array{mixed, mixed}>
     */
    public function arguments(): iterable
    {
        $text = static fn (string $value): \Stringable => new class ($value) implements \Stringable {
            public function __construct(private readonly string $value)
            {
            }

            public function __toString(): string
            {
                return $this->value;
            }
        };

        yield 'strings' => ['a', 'hi'];
        yield 'lists' => [['a'], ['hi']];
        yield 'lists with keys' => [['x' => 'a'], ['y' => 'hi']];
        yield 'iterators' => [new \ArrayIterator(['a']), new \ArrayIterator(['hi'])];
        yield 'objects that are text' => [$text('a'), $text('hi')];
        yield 'lists of objects that are text' => [[$text('a')], [$text('hi')]];
    }

    /**
     * @dataProvider arguments
     */
    public function testTopicsAndMessagesMayBeGivenInEveryForm(mixed $topics, mixed $messages): void
    {
        $server = new ScriptedServer([[ScriptedServer::OK, ScriptedServer::OK]]);
        $broadcast = Broadcast::create($server->address);

        $broadcast->publish($topics, $messages);
        $broadcast->publishAsync($topics, $messages);

        $body = \hex2bin('0a071201611a026869');
        self::assertSame("broadcast.Publish$body", $server->payload());
        self::assertSame("broadcast.PublishAsync$body", $server->payload());
    }

    public function testJoinKeepsTopicsToPublishToLater(): void
    {
        $server = new ScriptedServer([[ScriptedServer::OK, ScriptedServer::OK, ScriptedServer::OK]]);
        $broadcast = Broadcast::create($server->address);

        $topic = $broadcast->join('a');
        $group = $broadcast->join(['a', 'b']);
        $topic->publish('hi');
        $group->publish('hi');
        $group->publishAsync('hi');

        self::assertInstanceOf(SingleTopic::class, $topic);
        self::assertSame('a', $topic->getName());
        self::assertInstanceOf(Group::class, $group);
        self::assertSame(['a', 'b'], $group->getNames());
        self::assertSame('broadcast.Publish' . \hex2bin('0a071201611a026869'), $server->payload());
        self::assertSame('broadcast.Publish' . \hex2bin('0a0a1201611201621a026869'), $server->payload());
        self::assertSame('broadcast.PublishAsync' . \hex2bin('0a0a1201611201621a026869'), $server->payload());
    }

    /**
     * @return iterable<string, array{string, callable(Broadcast): mixed}>
     */
    public function unusableArguments(): iterable
    {
        yield 'no topic' => [
            'Unable to publish message to 0 topics',
            static fn (Broadcast $to) => $to->publish([], 'hi'),
        ];
        yield 'no message' => ['Unable to publish 0 messages', static fn (Broadcast $to) => $to->publish('a', [])];
        yield 'no topic to keep' => ['Unable to join 0 topics', static fn (Broadcast $to) => $to->join([])];
        yield 'a topic of bytes' => [
            'A topic must be UTF-8, got bytes ff',
            static fn (Broadcast $to) => $to->publish(['a', "\xFF"], 'hi'),
        ];
        yield 'a number as topic' => [
            'A topic must be a string, got int',
            static fn (Broadcast $to) => $to->publish([5], 'hi'),
        ];
        yield 'a list as message' => [
            'A message must be a string, got array',
            static fn (Broadcast $to) => $to->publish('a', [['k' => 'v']]),
        ];
    }

    /**
     * @dataProvider unusableArguments
     */
    public function testWhatCannotBePublishedIsRefusedBeforeAnythingIsSent(string $message, callable $use): void
    {
        $this->expectException(InvalidArgumentException::class);
        $this->expectExceptionMessage($message);

        $use(Broadcast::create('unix:///nowhere'));
    }

    /**
     * @testWith [""]
     *           ["0800"]
     *           ["1001"]
     */
    public function testAnAnswerThatIsNotOkIsAnException(string $body): void
    {
        $server = new ScriptedServer([["body $body"]]);

        $this->expectExceptionObject(
            new BroadcastException("An error occurred while publishing message on $server->address"),
        );
        Broadcast::create($server->address)->publish('a', 'hi');
    }

    public function testAnErrorOfTheServerIsAnExceptionAndTheConnectionStaysInUse(): void
    {
        $server = new ScriptedServer([['error broker is lost', ScriptedServer::OK]]);
        $broadcast = Broadcast::create($server->address);

        try {
            $broadcast->publish('a', 'hi');
            self::fail('published');
        } catch (ServiceException $e) {
            self::assertSame("broadcast.Publish failed on $server->address: broker is lost", $e->getMessage());
        }
        $broadcast->publish('a', 'again');

        self::assertStringEndsWith('hi', $server->payload());
        self::assertStringEndsWith('again', $server->payload());
        self::assertSame('closed', $server->says());
    }

    /**
     * @return iterable<string, array{string, string}>
     */
    public function unreadableReplies(): iterable
    {
        $reply = static fn (Frame $frame): string => 'raw ' . \bin2hex($frame->encode());
        $broken = (new Frame('broadcast.Publish', Frame::PROTO, [1, 17]))->encode();
        $broken[6] = '!';

        yield 'no options' => [$reply(new Frame('x')), 'sent a frame that is no reply'];
        yield 'one option' => [$reply(new Frame('x', 0, [1])), 'sent a frame that is no reply'];
        yield 'three options' => [$reply(new Frame('x', 0, [1, 1, 1])), 'sent a frame that is no reply'];
        yield 'a method longer than all' => [$reply(new Frame('x', 0, [1, 2])), 'sent a frame that is no reply'];
        yield 'another call' => [$reply(new Frame('x', 0, [2, 1])), 'answered call 2 instead of 1'];
        yield 'a wrong checksum' => ['raw ' . \bin2hex($broken), 'sent no valid frame: wrong checksum'];
        yield 'no protobuf' => ['body 08', 'answered with a protobuf message that ends within a field'];
    }

    /**
     * @dataProvider unreadableReplies
     */
    public function testAReplyThatCannotBeReadIsAnExceptionThatNamesTheServer(string $step, string $message): void
    {
        $server = new ScriptedServer([[$step]]);

        $this->expectException(ProtocolException::class);
        $this->expectExceptionMessage("$server->address $message");
        Broadcast::create($server->address)->publish('a', 'hi');
    }

    public function testAReplyMayArriveByteByByteAndWithoutTheMethod(): void
    {
        $server = new ScriptedServer([['drip ' . \bin2hex((new Frame("\x08\x01", Frame::PROTO, [1, 0]))->encode())]]);

        Broadcast::create($server->address)->publish('a', 'hi');

        self::assertStringEndsWith('hi', $server->payload());
    }

    public function testAServerThatDoesNotAnswerEndsWithATimeout(): void
    {
        $server = new ScriptedServer([['silence'], [ScriptedServer::OK]]);
        $broadcast = Broadcast::create($server->address, timeout: 0.2);

        try {
            $broadcast->publish('a', 'hi');
            self::fail('published');
        } catch (TimeoutException $e) {
            self::assertSame("$server->address did not answer in time", $e->getMessage());
            self::assertTrue($e->mayHaveArrived);
        }
        // The next call goes over a new connection, where a late answer cannot be taken for its own.
        $broadcast->publish('a', 'again');

        self::assertStringEndsWith('hi', $server->payload());
        self::assertSame('closed', $server->says());
        self::assertStringEndsWith('again', $server->payload());
    }

    public function testAServerThatDoesNotReadEndsWithATimeout(): void
    {
        $listener = \stream_socket_server('tcp://127.0.0.1:0');
        $address = 'tcp://' . \stream_socket_get_name($listener, false);

        $this->expectException(TimeoutException::class);
        $this->expectExceptionMessage("$address did not take the request in time");
        Broadcast::create($address, timeout: 0.2)->publish('a', \str_repeat('x', 32 << 20));
    }

    public function testAServerThatDoesNotAcceptEndsWithATimeout(): void
    {
        $listener = \stream_socket_server(
            'tcp://127.0.0.1:0',
            flags: \STREAM_SERVER_BIND | \STREAM_SERVER_LISTEN,
            context: \stream_context_create(['socket' => ['backlog' => 0]]),
        );
        $address = 'tcp://' . \stream_socket_get_name($listener, false);
        $waiting = \stream_socket_client($address);

        try {
            Broadcast::create($address, connectTimeout: 0.2)->publish('a', 'hi');
            self::fail('published');
        } catch (TransportException $e) {
            self::assertSame("Unable to connect to $address: Connection timed out", $e->getMessage());
            self::assertFalse($e->mayHaveArrived);
        } finally {
            \fclose($waiting);
        }
    }

    /**
     * @testWith ["unix:///nowhere/rr.sock", "No such file or directory"]
     *           ["tcp://127.0.0.1:1", "Connection refused"]
     */
    public function testAServerThatIsNotThereIsAnExceptionThatNamesItsAddress(string $address, string $reason): void
    {
        try {
            Broadcast::create($address)->publish('a', 'hi');
            self::fail('published');
        } catch (TransportException $e) {
            self::assertStringStartsWith("Unable to connect to $address: ", $e->getMessage());
            self::assertStringContainsString($reason, $e->getMessage());
            self::assertFalse($e->mayHaveArrived);
        }
    }

    /**
     * A setting that is missing is 0 as a number. -1 waited for ever for a server that does not accept; INF not at all.
     */
    public function testATimeOutIsAboveZero(): void
    {
        foreach ([0.0, -1.0, \NAN] as $seconds) {
            foreach (['connectTimeout', 'timeout'] as $name) {
                foreach ([Broadcast::create(...), Push::create(...)] as $create) {
                    try {
                        $create('tcp://127.0.0.1:1', ...[$name => $seconds]);
                        self::fail("$name $seconds");
                    } catch (InvalidArgumentException $e) {
                        self::assertSame("A time-out must be a number of seconds above 0, got $seconds", $e->getMessage());
                    }
                }
            }
        }
    }

    public function testATimeOutMayBeAsLongAsOneLikes(): void
    {
        foreach ([1e10, 1e300, \INF] as $seconds) {
            $server = new ScriptedServer([[ScriptedServer::OK]]);
            Broadcast::create($server->address, connectTimeout: $seconds, timeout: $seconds)->publish('a', 'hi');
            self::assertStringContainsString('hi', $server->payload());
        }
    }

    public function testAWrongAddressIsRefusedAtOnce(): void
    {
        $this->expectException(InvalidArgumentException::class);

        Broadcast::create('pipes');
    }

    public function testTheAddressComesFromTheEnvironment(): void
    {
        $server = new ScriptedServer([[ScriptedServer::OK]]);
        \putenv("RR_RPC=$server->address");

        Broadcast::create()->publish('a', 'hi');

        self::assertStringEndsWith('hi', $server->payload());
    }

    public function testUnixSocketsWork(): void
    {
        $path = \sys_get_temp_dir() . '/php-client-' . \getmypid() . '.sock';
        $server = new ScriptedServer([[ScriptedServer::OK]], "unix://$path");
        try {
            Broadcast::create("unix://$path")->publish('a', 'hi');

            self::assertStringEndsWith('hi', $server->payload());
        } finally {
            \unlink($path);
        }
    }

    public function testAMessageOfManyMegabytesArrivesWhole(): void
    {
        $server = new ScriptedServer([[ScriptedServer::OK]]);
        $message = \random_bytes(5_000_000);

        Broadcast::create($server->address)->publish('a', $message);

        $payload = 'broadcast.Publish' . PublishMessage::request(['a'], [$message]);
        self::assertSame('big ' . \hash('sha256', $payload), $server->says());
    }

    public function testIsAvailableAsksForThePlugins(): void
    {
        $server = new ScriptedServer([['body ' . \bin2hex('["http","websockets"]')]]);

        self::assertTrue(Broadcast::create($server->address)->isAvailable());
        $request = new Frame('informer.Listtrue', Frame::JSON, [1, 13]);
        self::assertSame('got ' . \bin2hex($request->encode()), $server->says());
    }

    /**
     * @testWith ["body 5b2268747470225d"]
     *           ["body 6e756c6c"]
     *           ["body 7b"]
     *           ["error rpc: can't find service informer.List"]
     *           ["raw 48545450"]
     *           ["close"]
     */
    public function testIsAvailableIsFalseForEveryOtherAnswer(string $step): void
    {
        $server = new ScriptedServer([[$step]]);

        self::assertFalse(Broadcast::create($server->address)->isAvailable());
    }

    public function testIsAvailableIsFalseWhenThereIsNoServer(): void
    {
        self::assertFalse(Broadcast::create('unix:///nowhere')->isAvailable());
    }
}
