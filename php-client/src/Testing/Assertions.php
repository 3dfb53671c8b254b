<?php

declare(strict_types=1);

namespace RRPyWs\Testing;

use PHPUnit\Framework\Assert;
use Psr\Log\LoggerInterface;
use RRPyWs\Exception\BroadcastException;
use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Failure;
use RRPyWs\Internal\OnFailure;

/**
 * What FakeBroadcast and FakePush have in common: they remember what was published, and compare it with what a test
 * expects. With PHPUnit these are its assertions; without it, what is not as expected is an AssertionError.
 *
 * A message is expected as its text, or as a `Closure(string $message, FakePublication $publication): bool`.
 */
trait Assertions
{
    /** @var list<FakePublication> */
    private array $publications = [];
    private ?BroadcastException $failure = null;
    private readonly OnFailure $onFailure;

    /**
     * @param Failure|string $failure What a publish does when it fails, as the publisher's that it stands for.
     * @throws InvalidArgumentException
     */
    public function __construct(Failure|string $failure = Failure::Throw, ?LoggerInterface $logger = null)
    {
        $this->onFailure = new OnFailure($failure, $logger);
    }

    /**
     * What was published, or what of it to one topic, in its order.
     *
     * @return list<FakePublication>
     */
    public function publications(?string $topic = null): array
    {
        return $this->found($topic, null);
    }

    /**
     * From now on everything fails as if the server was not there; with null it works again.
     */
    public function fail(?BroadcastException $with): void
    {
        $this->failure = $with;
    }

    /**
     * A message was published, to whatever topic.
     *
     * @param int|null $times Exactly so many times, counting each topic; null for at least once.
     */
    public function assertPublished(string|\Closure $message, ?int $times = null): void
    {
        $this->expect(self::described($message), $this->found(null, $message), $times);
    }

    /**
     * Something was published to a topic, or this message was.
     *
     * @param int|null $times Exactly so many times; null for at least once.
     */
    public function assertPublishedTo(string $topic, string|\Closure|null $message = null, ?int $times = null): void
    {
        $this->expect(self::described($message) . " to '$topic'", $this->found($topic, $message), $times);
    }

    /**
     * Nothing was published to a topic, or this message was not.
     */
    public function assertNotPublishedTo(string $topic, string|\Closure|null $message = null): void
    {
        $this->expect(self::described($message) . " to '$topic'", $this->found($topic, $message), 0);
    }

    /**
     * So many messages were published, or so many to a topic. One to three topics counts three.
     */
    public function assertPublishedCount(int $count, ?string $topic = null): void
    {
        $where = $topic === null ? '' : " to '$topic'";
        $this->expect(self::described(null) . $where, $this->found($topic, null), $count);
    }

    public function assertNothingPublished(): void
    {
        $this->expect(self::described(null), $this->publications, 0);
    }

    /**
     * @return list<FakePublication>
     */
    private function found(?string $topic, string|\Closure|null $message): array
    {
        return \array_values(\array_filter(
            $this->publications,
            static fn (FakePublication $one): bool => ($topic === null || $topic === $one->topic) && match (true) {
                $message === null => true,
                \is_string($message) => $message === $one->message,
                default => (bool) $message($one->message, $one),
            },
        ));
    }

    /**
     * @param list<FakePublication> $found
     */
    private function expect(string $what, array $found, ?int $times): void
    {
        $expected = match ($times) {
            null => $found !== [],
            default => \count($found) === $times,
        };
        $text = \sprintf(
            "Expected %s: %s, found %d.\nPublished:%s",
            $what,
            match ($times) {
                null => 'at least 1',
                default => $times,
            },
            \count($found),
            $this->shown(),
        );
        if (\class_exists(Assert::class)) {
            Assert::assertTrue($expected, $text);
        } elseif (!$expected) {
            throw new \AssertionError($text);
        }
    }

    private function shown(): string
    {
        $lines = \array_map(
            static fn (FakePublication $one): string => "\n  $one->topic: " . self::excerpt($one->message),
            $this->publications,
        );

        return $lines === [] ? ' nothing' : \implode('', $lines);
    }

    private static function described(string|\Closure|null $message): string
    {
        return match (true) {
            $message === null => 'messages',
            \is_string($message) => 'messages ' . self::excerpt($message),
            default => 'messages that fit the closure',
        };
    }

    private static function excerpt(string $message): string
    {
        return "'" . (\strlen($message) > 200 ? \substr($message, 0, 200) . '...' : $message) . "'";
    }
}
