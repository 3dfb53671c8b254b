<?php

declare(strict_types=1);

namespace RRPyWs\Testing;

use RRPyWs\History;
use RRPyWs\Internal\Publication;
use RRPyWs\Internal\Query;
use RRPyWs\Internal\Strings;
use RRPyWs\Published;
use RRPyWs\PublishResult;
use RRPyWs\PushInterface;

/**
 * Stands for a Push in tests of an application: needs no server, knows what was published, and answers as a server
 * whose topics all have a history, and that forgets nothing.
 */
final class FakePush implements PushInterface
{
    use Assertions;

    /** @var array<string, FakeHistory> */
    private array $histories = [];
    /** @var array<string, string|null> Topic and idempotency key to position. */
    private array $known = [];

    public function publish(
        string|iterable|\Stringable $topics,
        string|iterable|\Stringable $messages,
        string|iterable|\Stringable $exclude = [],
        ?string $idempotencyKey = null,
        bool $skipHistory = false,
    ): PublishResult {
        $publication = Publication::push($topics, $messages, $exclude, $idempotencyKey, $skipHistory);
        if ($this->failure !== null) {
            $this->onFailure->handle($this->failure, $publication->topics);

            return new PublishResult([], $this->failure);
        }
        $published = [];
        foreach ($publication->messages as $index => $message) {
            foreach ($publication->topics as $topic) {
                $published[] = $this->publishOne($topic, $message, $publication->keyOf($index), $publication);
            }
        }

        return new PublishResult($published);
    }

    public function history(string $topic, ?string $since = null, ?int $limit = null, bool $reverse = false): History
    {
        $query = new Query($topic, $since, $limit, $reverse);
        if ($this->failure !== null) {
            throw $this->failure;
        }

        return $this->of($topic)->read($query);
    }

    public function clearHistory(string $topic): ?string
    {
        Strings::ofNames('topic', $topic);
        if ($this->failure !== null) {
            throw $this->failure;
        }

        return $this->of($topic)->clear();
    }

    private function publishOne(string $topic, string $message, string $key, Publication $publication): Published
    {
        $name = "$topic\0$key";
        if ($key !== '' && \array_key_exists($name, $this->known)) {
            return new Published($topic, $this->known[$name], true);
        }
        $this->publications[] = new FakePublication(
            $topic,
            $message,
            $publication->exclude,
            $key === '' ? null : $key,
            $publication->skipHistory,
        );
        $position = $publication->skipHistory ? null : $this->of($topic)->append($message, $publication->exclude);
        if ($key !== '') {
            $this->known[$name] = $position;
        }

        return new Published($topic, $position);
    }

    private function of(string $topic): FakeHistory
    {
        return $this->histories[$topic] ??= new FakeHistory();
    }
}
