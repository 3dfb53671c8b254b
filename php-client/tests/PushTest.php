<?php

declare(strict_types=1);

namespace RRPyWs\Tests;

use PHPUnit\Framework\TestCase;
use RRPyWs\Broadcast;
use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Exception\ProtocolException;
use RRPyWs\Exception\ServiceException;
use RRPyWs\Exception\TimeoutException;
use RRPyWs\Exception\TransportException;
use RRPyWs\Goridge\Address;
use RRPyWs\Goridge\Frame;
use RRPyWs\Goridge\Rpc;
use RRPyWs\History;
use RRPyWs\HistoryMessage;
use RRPyWs\Published;
use RRPyWs\Push;
use RRPyWs\Tests\Support\ScriptedServer;

/**
 * The service `push`, byte by byte; tests/e2e/ has it with the server.
 */
final class PushTest extends TestCase
{
    private const EMPTY = 'body';

    public function testAPublishIsOneCall(): void
    {
        $server = new ScriptedServer([[self::EMPTY]]);

        self::push($server, 'east')->publish(
            ['a', 'b'],
            ["h\xFF", ''],
            exclude: ['me'],
            idempotencyKey: 'k',
            skipHistory: true,
        );

        $body = '0a13' . '120161' . '120162' . '1a0268ff' . '22026d65' . '2a016b' . '3001'
            . '0a13' . '120161' . '120162' . '1a00' . '22026d65' . '2a036b2331' . '3001'
            . '120465617374';
        $request = new Frame('push.Publish' . \hex2bin($body), Frame::PROTO, [1, 12]);
        self::assertSame('got ' . \bin2hex($request->encode()), $server->says());
    }

    public function testWhatIsNotSaidIsNotSent(): void
    {
        $server = new ScriptedServer([[self::EMPTY]]);

        self::push($server)->publish('a', 'hi');

        self::assertSame('push.Publish' . \hex2bin('0a07' . '120161' . '1a026869'), $server->payload());
    }

    public function testTheAnswerHasThePositions(): void
    {
        $published = '0a08' . '0a0161' . '1203652e31'    // a, e.1
            . '0a03' . '0a0162'                          // b, without history
            . '0a0a' . '0a0161' . '1203652e32' . '1801'  // a, e.2, duplicate
            . '0a03' . '0a0162';
        $server = new ScriptedServer([["body $published"]]);

        $result = self::push($server)->publish(['a', 'b'], ['hi', 'ho']);

        self::assertEquals(
            [new Published('a', 'e.1'), new Published('b', null), new Published('a', 'e.2', true), new Published('b', null)],
            $result->published,
        );
        self::assertSame('e.2', $result->position);
        self::assertSame('e.2', $result->positionIn('a'));
        self::assertNull($result->positionIn('b'));
        self::assertNull($result->positionIn('c'));
        self::assertFalse($result->duplicate);
        self::assertNull($result->failure);
    }

    /**
     * @testWith ["", null, false]
     *           ["0a030a0161", null, false]
     *           ["0a080a01611203652e31", "e.1", false]
     *           ["0a0a0a01611203652e311801", "e.1", true]
     *           ["0a0a1203652e3118010a0161", "e.1", true]
     *           ["0a0e9a0600a006010a01611203652e31", "e.1", false]
     *           ["a206017812017a0a080a01611203652e31", "e.1", false]
     */
    public function testTheAnswerToOneMessageIsReadWhateverIsAddedLater(
        string $body,
        ?string $position,
        bool $duplicate,
    ): void {
        $server = new ScriptedServer([["body $body"]]);

        $result = self::push($server)->publish('a', 'hi');

        self::assertSame($position, $result->position);
        self::assertSame($duplicate, $result->duplicate);
    }

    public function testHistoryIsAskedForAndRead(): void
    {
        $first = '0a016f' . '1203652e34' . '18b9ebf4fcac33' . '22026d65' . '220178';
        $second = '1203652e35';
        $page = \sprintf('0a%02x%s', \strlen($first) / 2, $first) . \sprintf('0a%02x%s', \strlen($second) / 2, $second)
            . '1203652e39' . '22056c696d6974';
        $server = new ScriptedServer([["body $page"]]);

        $history = self::push($server, 'b')->history('a', since: 'e.3', limit: 300, reverse: true);

        self::assertSame(
            'push.History' . \hex2bin('0a0161' . '1203652e33' . '18ac02' . '2001' . '2a0162'),
            $server->payload(),
        );
        $expected = [new HistoryMessage('o', 'e.4', 1_764_419_777_977, ['me', 'x']), new HistoryMessage('', 'e.5', 0)];
        self::assertEquals($expected, $history->messages);
        self::assertEquals($expected, \iterator_to_array($history));
        self::assertCount(2, $history);
        self::assertSame('e.9', $history->position);
        self::assertFalse($history->complete);
        self::assertSame(History::LIMIT, $history->reason);
    }

    public function testAllOfTheHistoryIsAskedForWithItsTopicAlone(): void
    {
        $server = new ScriptedServer([['body 1203652e391801', 'body 22036f6666']]);
        $push = self::push($server);

        self::assertEquals(new History([], 'e.9', true), $push->history('a'));
        self::assertEquals(new History([], null, false, History::OFF), $push->history('a'));
        self::assertSame('push.History' . \hex2bin('0a0161'), $server->payload());
    }

    public function testClearHistory(): void
    {
        $server = new ScriptedServer([['body 0a03652e39', self::EMPTY]]);
        $push = self::push($server, 'b');

        self::assertSame('e.9', $push->clearHistory('a'));
        self::assertNull($push->clearHistory('a'));
        self::assertSame('push.ClearHistory' . \hex2bin('0a0161' . '120162'), $server->payload());
    }

    /**
     * @return iterable<string, array{string, callable(Push): mixed}>
     */
    public function unusableArguments(): iterable
    {
        $publish = static fn (mixed ...$arguments): \Closure => static fn (Push $push) => $push->publish(...$arguments);
        yield 'no topic' => ['Unable to publish message to 0 topics', $publish([], 'hi')];
        yield 'no message' => ['Unable to publish 0 messages', $publish('a', [])];
        yield 'too much' => [
            'Unable to publish 3 messages to 171 topics at once: at most 512 in all',
            $publish(\array_fill(0, 171, 'a'), ['x', 'y', 'z']),
        ];
        yield 'a topic of bytes' => ['A topic must be UTF-8, got bytes ff', $publish(["\xFF"], 'hi')];
        yield 'a list as message' => ['A message must be a string, got array', $publish('a', [[]])];
        yield 'too many excluded' => [
            'At most 16 clients can be excluded, got 17',
            $publish('a', 'hi', exclude: \array_fill(0, 17, 'x')),
        ];
        yield 'an empty excluded' => [
            "A client to exclude must have 1 to 64 characters, got ''",
            $publish('a', 'hi', exclude: ''),
        ];
        yield 'a long excluded' => [
            'A client to exclude must have 1 to 64 characters, got ',
            $publish('a', 'hi', exclude: \str_repeat('é', 65)),
        ];
        yield 'an excluded of bytes' => [
            'A client to exclude must be UTF-8, got bytes ff',
            $publish('a', 'hi', exclude: "\xFF"),
        ];
        yield 'an empty key' => [
            'An idempotency key must have 1 to 128 bytes, got 0',
            $publish('a', 'hi', idempotencyKey: ''),
        ];
        yield 'a long key' => [
            'An idempotency key must have 1 to 128 bytes, got 129',
            $publish('a', 'hi', idempotencyKey: \str_repeat('x', 129)),
        ];
        yield 'a long key of several' => [
            'An idempotency key must have 1 to 128 bytes, got 129',
            $publish('a', \array_fill(0, 11, 'hi'), idempotencyKey: \str_repeat('x', 126)),
        ];
        yield 'an empty topic' => ['A topic must not be empty', $publish(['a', ''], 'hi')];
        yield 'a key of bytes' => [
            'A key must be UTF-8, got bytes ff',
            $publish('a', 'hi', idempotencyKey: "\xFF"),
        ];
        yield 'no limit' => [
            'A limit must be a number of messages, got 0',
            static fn (Push $push) => $push->history('a', limit: 0),
        ];
        yield 'a huge limit' => [
            'A limit must be a number of messages, got 4294967296',
            static fn (Push $push) => $push->history('a', limit: 1 << 32),
        ];
        yield 'an empty position' => [
            'A position must not be empty; null is the beginning of the history',
            static fn (Push $push) => $push->history('a', since: ''),
        ];
        yield 'a position of bytes' => [
            'A position must be UTF-8, got bytes ff',
            static fn (Push $push) => $push->history('a', since: "\xFF"),
        ];
        yield 'history of bytes' => [
            'A topic must be UTF-8, got bytes ff',
            static fn (Push $push) => $push->history("\xFF"),
        ];
        yield 'history of no topic' => [
            'A topic must not be empty',
            static fn (Push $push) => $push->history(''),
        ];
        yield 'clear no topic' => ['A topic must not be empty', static fn (Push $push) => $push->clearHistory('')];
        yield 'clear bytes' => [
            'A topic must be UTF-8, got bytes ff',
            static fn (Push $push) => $push->clearHistory("\xFF"),
        ];
    }

    /**
     * Also when failures are silent: these are mistakes of the program.
     *
     * @dataProvider unusableArguments
     */
    public function testWhatCannotBeSentIsRefusedBeforeAnythingIs(string $message, callable $use): void
    {
        $this->expectException(InvalidArgumentException::class);
        $this->expectExceptionMessage($message);

        $use(Push::create('unix:///nowhere', failure: 'silent'));
    }

    public function testWhatIsAllowedAtMostIsSent(): void
    {
        $server = new ScriptedServer([[self::EMPTY]]);
        $exclude = \array_fill(0, 16, \str_repeat('é', 64));

        self::push($server)->publish('a', 'hi', exclude: $exclude, idempotencyKey: \str_repeat('k', 128));

        $message = '120161' . '1a026869' . \str_repeat('228001' . \str_repeat('c3a9', 64), 16) . '2a8001' . \str_repeat('6b', 128);
        $body = '0aba11' . $message;
        self::assertSame('push.Publish' . \hex2bin($body), $server->payload());
    }

    public function testAnErrorOfTheServerIsAnException(): void
    {
        $server = new ScriptedServer([["error rpc: can't find service push.Publish", self::EMPTY]]);
        $push = self::push($server);
        try {
            $push->publish('a', 'hi');
            self::fail('published');
        } catch (ServiceException $e) {
            self::assertSame(
                "push.Publish failed on $server->address: rpc: can't find service push.Publish",
                $e->getMessage(),
            );
        }

        $push->publish('a', 'again');
        self::assertStringEndsWith('hi', $server->payload());
        self::assertStringEndsWith('again', $server->payload());
    }

    /**
     * @testWith ["0a"]
     *           ["0a0108"]
     *           ["0a020a05"]
     */
    public function testAnAnswerThatIsNoProtobufNamesTheServer(string $body): void
    {
        $server = new ScriptedServer([["body $body", "body $body", 'body 0a05']]);
        $push = self::push($server);

        foreach (
            [
                static fn () => $push->publish('a', 'hi'),
                static fn () => $push->history('a'),
                static fn () => $push->clearHistory('a'),
            ] as $call
        ) {
            try {
                $call();
                self::fail('read');
            } catch (ProtocolException $e) {
                self::assertSame(
                    "$server->address answered with a protobuf message that ends within a field",
                    $e->getMessage(),
                );
            }
        }
    }

    /**
     * Nobody waits longer than a second for a server that is not well, unless told to.
     */
    public function testTheDefaultTimeOutsAreShort(): void
    {
        $defaults = [];
        foreach ((new \ReflectionMethod(Push::class, 'create'))->getParameters() as $parameter) {
            $defaults[$parameter->getName()] = $parameter->getDefaultValue();
        }

        self::assertLessThan(1.0, $defaults['connectTimeout']);
        self::assertLessThan(1.0, $defaults['timeout']);
        $server = new ScriptedServer([['silence']]);
        $this->expectException(TimeoutException::class);
        Push::create($server->address)->publish('a', 'hi');
    }

    public function testWithAKeyAPublishThatMayHaveArrivedIsMadeAgain(): void
    {
        $server = new ScriptedServer([[self::EMPTY, 'close'], ['body 0a030a0161']]);
        $push = self::push($server);
        $push->publish('a', 'first');

        $result = $push->publish('a', 'second', idempotencyKey: 'k');

        self::assertCount(1, $result->published);
        self::assertStringEndsWith('first', $server->payload());
        $second = $server->payload();
        self::assertSame('closed', $server->says());
        self::assertSame($second, $server->payload());
    }

    public function testWithoutAKeyItIsNot(): void
    {
        $server = new ScriptedServer([[self::EMPTY, 'close'], [self::EMPTY]]);
        $push = self::push($server);
        $push->publish('a', 'first');

        try {
            $push->publish('a', 'second');
            self::fail('published');
        } catch (TransportException $e) {
            self::assertTrue($e->mayHaveArrived);
        }
        $push->publish('a', 'third');
        self::assertStringEndsWith('first', $server->payload());
        self::assertStringEndsWith('second', $server->payload());
        self::assertSame('closed', $server->says());
        self::assertStringEndsWith('third', $server->payload());
    }

    public function testAQuestionMayBeAskedTwiceAndAClearingMayNot(): void
    {
        $server = new ScriptedServer([[self::EMPTY, 'close'], [self::EMPTY, 'close']]);
        $push = self::push($server);
        $push->history('a');

        self::assertCount(0, $push->history('a'));
        $this->expectException(TransportException::class);
        $push->clearHistory('a');
    }

    public function testAPushAndABroadcastMayShareAConnection(): void
    {
        $server = new ScriptedServer([[ScriptedServer::OK, self::EMPTY]]);
        $rpc = new Rpc(Address::parse($server->address));

        (new Broadcast($rpc))->publish('a', 'old');
        (new Push($rpc))->publish('a', 'new');

        self::assertStringEndsWith('old', $server->payload());
        self::assertStringEndsWith('new', $server->payload());
        self::assertSame('closed', $server->says());
    }

    /**
     * On a machine that is busy.
     */
    private static function push(ScriptedServer $server, string $broker = ''): Push
    {
        return Push::create($server->address, connectTimeout: 20.0, timeout: 20.0, broker: $broker);
    }
}
