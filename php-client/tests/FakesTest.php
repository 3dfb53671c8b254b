<?php

declare(strict_types=1);

namespace RRPyWs\Tests;

use PHPUnit\Framework\AssertionFailedError;
use PHPUnit\Framework\TestCase;
use Psr\Log\LoggerInterface;
use RRPyWs\BroadcastInterface;
use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Exception\TransportException;
use RRPyWs\Failure;
use RRPyWs\Group;
use RRPyWs\History;
use RRPyWs\Published;
use RRPyWs\PushInterface;
use RRPyWs\SingleTopic;
use RRPyWs\Testing\FakeBroadcast;
use RRPyWs\Testing\FakePublication;
use RRPyWs\Testing\FakePush;

final class FakesTest extends TestCase
{
    public static function setUpBeforeClass(): void
    {
        if (!\interface_exists(LoggerInterface::class)) {
            require __DIR__ . '/Support/psr.php';
        }
    }

    /**
     * @return iterable<string, array{FakeBroadcast|FakePush}>
     */
    public function fakes(): iterable
    {
        yield 'FakeBroadcast' => [new FakeBroadcast()];
        yield 'FakePush' => [new FakePush()];
    }

    public function testTheyStandForTheRealOnes(): void
    {
        self::assertInstanceOf(BroadcastInterface::class, new FakeBroadcast());
        self::assertInstanceOf(PushInterface::class, new FakePush());
    }

    /**
     * @dataProvider fakes
     */
    public function testWhatIsTrueOfAFakeThatNothingWasPublishedTo(FakeBroadcast|FakePush $fake): void
    {
        $fake->assertNothingPublished();
        $fake->assertPublishedCount(0);
        $fake->assertNotPublishedTo('news');
        self::assertSame([], $fake->publications());
        self::assertFailed(
            "Expected messages that fit the closure: at least 1, found 0.\nPublished: nothing",
            static fn () => $fake->assertPublished(static fn (): bool => true),
        );
        self::assertFailed(
            "Expected messages to 'news': at least 1, found 0.\nPublished: nothing",
            static fn () => $fake->assertPublishedTo('news'),
        );
    }

    /**
     * @dataProvider fakes
     */
    public function testWhatIsTrueOfAFakeThatSomethingWasPublishedTo(FakeBroadcast|FakePush $fake): void
    {
        $fake->publish(['news', '5'], ['hello', '{"id":5}']);
        $fake->publish('news', 'hello');

        $fake->assertPublished('hello');
        $fake->assertPublished('hello', times: 3);
        $fake->assertPublished(static fn (string $message): bool => \str_contains($message, '"id"'), times: 2);
        $fake->assertPublishedTo('news');
        $fake->assertPublishedTo('news', times: 3);
        $fake->assertPublishedTo('5', 'hello', times: 1);
        $fake->assertPublishedTo('news', static fn (string $message, FakePublication $one): bool
            => \json_decode($message)?->id === 5 && $one->topic === 'news');
        $fake->assertNotPublishedTo('chat');
        $fake->assertNotPublishedTo('news', 'bye');
        $fake->assertPublishedCount(5);
        $fake->assertPublishedCount(2, '5');
        self::assertSame(
            [['news', 'hello'], ['5', 'hello'], ['news', '{"id":5}'], ['5', '{"id":5}'], ['news', 'hello']],
            \array_map(static fn (FakePublication $one): array => [$one->topic, $one->message], $fake->publications()),
        );
        self::assertCount(2, $fake->publications('5'));
    }

    /**
     * @dataProvider fakes
     */
    public function testWhatIsNotTrueFailsTheTestAndSaysWhatWasPublished(FakeBroadcast|FakePush $fake): void
    {
        $long = \str_repeat('x', 201);
        $fake->publish(['news', 'strlen'], ['hello', $long]);
        $published = "\nPublished:\n  news: 'hello'\n  strlen: 'hello'\n  news: '" . \str_repeat('x', 200) . "...'";

        foreach (
            [
                "Expected messages: 0, found 4.$published" => static fn () => $fake->assertNothingPublished(),
                "Expected messages 'strlen': at least 1, found 0.$published" => static fn () => $fake->assertPublished('strlen'),
                "Expected messages 'hello': 1, found 2.$published" => static fn () => $fake->assertPublished('hello', 1),
                "Expected messages 'hello' to 'chat': at least 1, found 0.$published"
                    => static fn () => $fake->assertPublishedTo('chat', 'hello'),
                "Expected messages to 'news': 0, found 2.$published" => static fn () => $fake->assertNotPublishedTo('news'),
                "Expected messages that fit the closure to 'news': 0, found 2.$published"
                    => static fn () => $fake->assertNotPublishedTo('news', static fn (): bool => true),
                "Expected messages: 3, found 4.$published" => static fn () => $fake->assertPublishedCount(3),
                "Expected messages to 'news': 3, found 2.$published" => static fn () => $fake->assertPublishedCount(3, 'news'),
            ] as $message => $assert
        ) {
            self::assertFailed($message, $assert);
        }
    }

    /**
     * @dataProvider fakes
     */
    public function testWhatTheRealOneRefusesIsRefused(FakeBroadcast|FakePush $fake): void
    {
        foreach ([[[], 'x'], ['a', []], ["\xFF", 'x'], [[5], 'x'], ['a', [[]]]] as $arguments) {
            try {
                $fake->publish(...$arguments);
                self::fail('published');
            } catch (InvalidArgumentException) {
            }
        }
        $fake->assertNothingPublished();
    }

    /**
     * @dataProvider fakes
     */
    public function testTheServerMayBeAway(FakeBroadcast|FakePush $fake): void
    {
        $away = new TransportException('Unable to connect', mayHaveArrived: false);
        $fake->fail($away);
        $calls = [static fn () => $fake->publish('a', 'hi')];
        if ($fake instanceof FakePush) {
            $calls[] = static fn () => $fake->history('a');
            $calls[] = static fn () => $fake->clearHistory('a');
        } else {
            $calls[] = static fn () => $fake->publishAsync('a', 'hi');
            self::assertFalse($fake->isAvailable());
        }
        foreach ($calls as $call) {
            try {
                $call();
                self::fail('worked');
            } catch (TransportException $e) {
                self::assertSame($away, $e);
            }
        }
        $fake->assertNothingPublished();

        $fake->fail(null);
        $fake->publish('a', 'hi');
        $fake->assertPublishedCount(1);
    }

    public function testTheyFailAsThePublishersThatTheyStandFor(): void
    {
        $away = new TransportException('Unable to connect', mayHaveArrived: false);
        $logger = $this->createMock(LoggerInterface::class);
        $line = 'Unable to publish to a: Unable to connect';
        $logger->expects(self::exactly(3))->method('error')->with($line, ['topics' => ['a'], 'exception' => $away]);
        foreach ([new FakeBroadcast('log', $logger), new FakeBroadcast(Failure::Silent)] as $broadcast) {
            $broadcast->fail($away);
            $broadcast->publish('a', 'hi');
            $broadcast->publishAsync('a', 'hi');
            $broadcast->assertNothingPublished();
        }
        foreach ([new FakePush('log', $logger), new FakePush(failure: Failure::Silent)] as $push) {
            $push->fail($away);
            self::assertSame($away, $push->publish('a', 'hi')->failure);
            $push->assertNothingPublished();
        }
        $this->expectExceptionObject($away);
        $push->history('a');
    }

    public function testAFakeBroadcastHasTopics(): void
    {
        $fake = new FakeBroadcast();

        self::assertTrue($fake->isAvailable());
        $topic = $fake->join('a');
        $group = $fake->join(['a', 'b']);
        self::assertInstanceOf(SingleTopic::class, $topic);
        self::assertInstanceOf(Group::class, $group);
        $topic->publish('one');
        $group->publishAsync('two');
        $fake->assertPublishedTo('a', 'one', 1);
        $fake->assertPublishedTo('b', 'two', 1);
        $fake->assertPublishedCount(3);
        $this->expectException(InvalidArgumentException::class);
        $fake->join([]);
    }

    public function testAFakePushKeepsWhatElseWasSaid(): void
    {
        $fake = new FakePush();

        $fake->publish('a', ['x', 'y'], exclude: ['me'], idempotencyKey: 'k', skipHistory: true);

        self::assertEquals(
            [
                new FakePublication('a', 'x', ['me'], 'k', true),
                new FakePublication('a', 'y', ['me'], 'k#1', true),
            ],
            $fake->publications(),
        );
    }

    public function testAFakePushHasPositionsAndKnowsKeys(): void
    {
        $fake = new FakePush();

        self::assertSame('fake.1', $fake->publish('a', 'x')->position);
        $result = $fake->publish(['b', 'a'], ['y', 'z'], idempotencyKey: 'k');
        self::assertSame('fake.3', $result->positionIn('a'));
        self::assertSame('fake.2', $result->position);
        self::assertNull($fake->publish('a', 'w', skipHistory: true)->position);

        $again = $fake->publish(['a', 'c'], 'y', idempotencyKey: 'k');
        self::assertEquals([new Published('a', 'fake.2', true), new Published('c', 'fake.1')], $again->published);
        self::assertFalse($again->duplicate);
        self::assertTrue($fake->publish('a', 'y', idempotencyKey: 'k')->duplicate);
        $fake->assertPublishedTo('a', 'y', 1);
    }

    public function testAFakePushHasAHistory(): void
    {
        $fake = new FakePush();
        $fake->publish('a', ['one', 'two'], exclude: 'me');
        $fake->publish('a', 'unseen', skipHistory: true);
        $fake->publish('a', 'three');
        $read = static function (mixed ...$query) use ($fake): array {
            $history = $fake->history('a', ...$query);

            return [\array_column($history->messages, 'payload'), $history->position, $history->complete, $history->reason];
        };

        self::assertSame([['one', 'two', 'three'], 'fake.3', true, ''], $read());
        self::assertSame([['two', 'three'], 'fake.3', true, ''], $read(since: 'fake.1'));
        self::assertSame([[], 'fake.3', true, ''], $read(since: 'fake.3'));
        self::assertSame([['three', 'two'], 'fake.3', false, History::LIMIT], $read(limit: 2, reverse: true));
        self::assertSame([[], 'fake.3', false, History::AHEAD], $read(since: 'fake.4'));
        self::assertSame([[], 'fake.3', false, History::EPOCH], $read(since: 'other.1'));
        self::assertSame(['me'], $fake->history('a')->messages[0]->exclude);
        self::assertSame('fake.2', $fake->history('a')->messages[1]->position);
        self::assertGreaterThan(1_700_000_000_000, $fake->history('a')->messages[0]->timeMs);

        self::assertSame('fake.3', $fake->clearHistory('a'));
        $fake->publish('a', 'four');
        self::assertSame([['four'], 'fake.4', true, ''], $read());
        self::assertSame([['four'], 'fake.4', true, ''], $read(since: 'fake.3'));
        self::assertSame([['four'], 'fake.4', false, History::TRIMMED], $read(since: 'fake.2'));
        self::assertEquals(new History([], 'fake.0', true), $fake->history('b'));
    }

    public function testAFakePushRefusesWhatTheRealOneRefuses(): void
    {
        $fake = new FakePush();
        foreach (
            [
                static fn () => $fake->publish('', 'x'),
                static fn () => $fake->publish('a', 'x', idempotencyKey: ''),
                static fn () => $fake->publish('a', 'x', exclude: ''),
                static fn () => $fake->history(''),
                static fn () => $fake->history('a', since: ''),
                static fn () => $fake->history('a', limit: 0),
                static fn () => $fake->clearHistory(''),
            ] as $call
        ) {
            try {
                $call();
                self::fail('taken');
            } catch (InvalidArgumentException) {
            }
        }
        $fake->assertNothingPublished();
    }

    public function testTheyWorkWithoutPhpunit(): void
    {
        $process = \proc_open(
            [\PHP_BINARY, __DIR__ . '/Support/fakes.php'],
            [1 => ['pipe', 'w'], 2 => ['redirect', 1]],
            $pipes,
        );
        $printed = \stream_get_contents($pipes[1]);

        self::assertSame(0, \proc_close($process));
        self::assertSame(\str_repeat("Expected messages: 0, found 1.\nPublished:\n  news: 'hello'\n", 2), $printed);
    }

    private static function assertFailed(string $message, callable $assert): void
    {
        try {
            $assert();
        } catch (AssertionFailedError $e) {
            self::assertStringStartsWith($message, $e->getMessage());

            return;
        }
        throw new \LogicException("Not failed: $message");
    }
}
