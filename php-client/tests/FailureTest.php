<?php

declare(strict_types=1);

namespace RRPyWs\Tests;

use PHPUnit\Framework\TestCase;
use Psr\Log\LoggerInterface;
use RRPyWs\Broadcast;
use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Exception\ServiceException;
use RRPyWs\Exception\TransportException;
use RRPyWs\Failure;
use RRPyWs\Push;
use RRPyWs\Tests\Support\ScriptedServer;

/**
 * A publish that fails need not break the request that makes it.
 */
final class FailureTest extends TestCase
{
    private const NOWHERE = 'unix:///nowhere';
    private const REASON = 'Unable to connect to unix:///nowhere: No such file or directory';

    public static function setUpBeforeClass(): void
    {
        if (!\interface_exists(LoggerInterface::class)) {
            require __DIR__ . '/Support/psr.php';
        }
    }

    /**
     * @return iterable<string, array{callable(Failure|string, ?LoggerInterface, string): object, string}>
     */
    public function publishers(): iterable
    {
        $broadcast = static fn (Failure|string $failure, ?LoggerInterface $logger, string $at) => Broadcast::create(
            $at,
            failure: $failure,
            logger: $logger,
        );
        yield 'Broadcast' => [$broadcast, 'publish'];
        yield 'Broadcast, asynchronously' => [$broadcast, 'publishAsync'];
        yield 'Push' => [
            static fn (Failure|string $failure, ?LoggerInterface $logger, string $at) => Push::create(
                $at,
                connectTimeout: 20.0,
                timeout: 20.0,
                failure: $failure,
                logger: $logger,
            ),
            'publish',
        ];
    }

    /**
     * @dataProvider publishers
     */
    public function testThrow(callable $create, string $publish): void
    {
        $this->expectException(TransportException::class);
        $this->expectExceptionMessage(self::REASON);

        $create('throw', $this->logger(), self::NOWHERE)->$publish('a', 'hi');
    }

    public function testThrowIsTheDefault(): void
    {
        foreach ([Broadcast::create(self::NOWHERE), Push::create(self::NOWHERE)] as $publisher) {
            try {
                $publisher->publish('a', 'hi');
                self::fail('published');
            } catch (TransportException $e) {
                self::assertSame(self::REASON, $e->getMessage());
            }
        }
    }

    /**
     * @dataProvider publishers
     */
    public function testLog(callable $create, string $publish): void
    {
        $logger = $this->logger();

        $create(Failure::Log, $logger, self::NOWHERE)->$publish(["a\nb", 'c'], 'hi');

        [[$level, $message, $context]] = $logger->lines;
        self::assertSame(['error', 'Unable to publish to a\nb, c: ' . self::REASON], [$level, $message]);
        self::assertSame(["a\nb", 'c'], $context['topics']);
        self::assertInstanceOf(TransportException::class, $context['exception']);
    }

    /**
     * @dataProvider publishers
     */
    public function testLogWithoutALogger(callable $create, string $publish): void
    {
        $log = \tmpfile();
        $before = \ini_set('error_log', \stream_get_meta_data($log)['uri']);
        try {
            $create('log', null, self::NOWHERE)->$publish(['a', 'b', 'c', 'd', 'e'], 'hi');
        } finally {
            \ini_set('error_log', (string) $before);
        }

        self::assertStringEndsWith(
            '] Unable to publish to a, b, c and 2 more: ' . self::REASON . "\n",
            \stream_get_contents($log),
        );
    }

    /**
     * @dataProvider publishers
     */
    public function testSilent(callable $create, string $publish): void
    {
        $logger = $this->logger();

        $create('silent', $logger, self::NOWHERE)->$publish('a', 'hi');

        self::assertSame([], $logger->lines);
    }

    /**
     * @dataProvider publishers
     */
    public function testEveryFailureCountsAndTheNextPublishWorks(callable $create, string $publish): void
    {
        $server = new ScriptedServer([['error no', 'close'], ['body 0a', ScriptedServer::OK]]);
        $logger = $this->logger();
        $publisher = $create('log', $logger, $server->address);

        foreach (['one', 'two', 'three', 'four'] as $message) {
            $publisher->$publish('a', $message);
        }

        foreach (['refused', 'cut off', 'garbled', 'well'] as $at => $case) {
            self::assertStringEndsWith(['one', 'two', 'three', 'four'][$at], $server->payload(), $case);
            if ($case === 'cut off') {
                self::assertSame('closed', $server->says());
            }
        }
        self::assertCount(3, $logger->lines);
        self::assertStringContainsString("failed on $server->address: no", $logger->lines[0][1]);
        self::assertStringEndsWith('closed the connection instead of answering', $logger->lines[1][1]);
        self::assertStringContainsString('a protobuf message that ends within a field', $logger->lines[2][1]);
    }

    public function testAPushSaysWhyItFailed(): void
    {
        $server = new ScriptedServer([['error no', 'body 0a080a01611203652e31']]);
        $push = Push::create($server->address, connectTimeout: 20.0, timeout: 20.0, failure: Failure::Silent);

        $failed = $push->publish('a', 'hi');
        self::assertInstanceOf(ServiceException::class, $failed->failure);
        self::assertSame([], $failed->published);
        self::assertNull($failed->position);
        self::assertFalse($failed->duplicate);

        $published = $push->publish('a', 'hi');
        self::assertNull($published->failure);
        self::assertSame('e.1', $published->position);
    }

    /**
     * The caller has asked, and there is nothing that could stand for the answer.
     */
    public function testQuestionsAboutTheHistoryThrowInAnyCase(): void
    {
        $push = Push::create(self::NOWHERE, failure: Failure::Silent);
        foreach ([static fn () => $push->history('a'), static fn () => $push->clearHistory('a')] as $call) {
            try {
                $call();
                self::fail('answered');
            } catch (TransportException $e) {
                self::assertSame(self::REASON, $e->getMessage());
            }
        }
    }

    /**
     * @dataProvider publishers
     */
    public function testAnArgumentThatCanNeverBePublishedThrowsInAnyCase(callable $create, string $publish): void
    {
        $publisher = $create('silent', null, self::NOWHERE);
        foreach ([[[], 'hi'], ['a', []], ["\xFF", 'hi'], ['a', \str_repeat('x', 64 << 20)]] as $arguments) {
            try {
                $publisher->$publish(...$arguments);
                self::fail('taken');
            } catch (InvalidArgumentException $e) {
                self::assertStringNotContainsString('nowhere', $e->getMessage());
            }
        }
    }

    /**
     * @dataProvider publishers
     */
    public function testAModeThatDoesNotExistIsRefused(callable $create): void
    {
        $this->expectException(InvalidArgumentException::class);
        $this->expectExceptionMessage("Wrong failure mode 'quiet': expected throw, log or silent");

        $create('quiet', null, self::NOWHERE);
    }

    private function logger(): LoggerInterface
    {
        return new class () implements LoggerInterface {
            /** @var list<array{string, string, array}> */
            public array $lines = [];

            public function emergency(string|\Stringable $message, array $context = []): void
            {
                $this->log('emergency', $message, $context);
            }

            public function alert(string|\Stringable $message, array $context = []): void
            {
                $this->log('alert', $message, $context);
            }

            public function critical(string|\Stringable $message, array $context = []): void
            {
                $this->log('critical', $message, $context);
            }

            public function error(string|\Stringable $message, array $context = []): void
            {
                $this->log('error', $message, $context);
            }

            public function warning(string|\Stringable $message, array $context = []): void
            {
                $this->log('warning', $message, $context);
            }

            public function notice(string|\Stringable $message, array $context = []): void
            {
                $this->log('notice', $message, $context);
            }

            public function info(string|\Stringable $message, array $context = []): void
            {
                $this->log('info', $message, $context);
            }

            public function debug(string|\Stringable $message, array $context = []): void
            {
                $this->log('debug', $message, $context);
            }

            public function log($level, string|\Stringable $message, array $context = []): void
            {
                $this->lines[] = [$level, (string) $message, $context];
            }
        };
    }
}
