<?php

declare(strict_types=1);

namespace RRPyWs\Tests;

use PHPUnit\Framework\TestCase;
use RRPyWs\Goridge\Frame;
use RRPyWs\Tests\Support\ScriptedServer;
use RRPyWs\Tests\Support\WorkerProcess;

final class ExamplesTest extends TestCase
{
    private const EXAMPLES = __DIR__ . '/../../examples';

    /**
     * @testWith ["", null, 200]
     *           ["", ["news", "chat"], 200]
     *           ["", ["news", "private-1"], 403]
     *           ["token=wrong", ["private-1"], 403]
     *           ["token[]=secret", ["private-1"], 403]
     *           ["token=secret", ["news", "private-1"], 200]
     */
    public function testTheWorkerGuardsPrivateTopicsWithAToken(string $query, ?array $topics, int $status): void
    {
        $worker = new WorkerProcess(self::EXAMPLES . '/worker.php');
        $worker->handshake();

        $context = "{\"status\":$status,\"headers\":{}}";
        self::assertEquals(new Frame($context, 0, [\strlen($context)]), $worker->ask($query, $topics));
        self::assertSame(0, $worker->stop());
    }

    /**
     * @testWith [["chat.lobby", "chat.workshop"], "", 200]
     *           [["news"], "", 200]
     *           [["chat.lobby", "chat.staff"], "", 403]
     *           [["chat.staff"], "wrong", 403]
     *           [["chat.staff"], "right", 200]
     *           [["unknown"], "right", 403]
     */
    public function testTheChatLetsGuestsIntoItsRoomsAndStaffIntoAll(array $topics, string $cookie, int $status): void
    {
        $worker = new WorkerProcess(self::EXAMPLES . '/chat/worker.php');
        $worker->handshake();
        $cookie = $cookie === 'right' ? \hash_hmac('sha256', 'chat.staff', 'open sesame') : $cookie;
        $question = [
            'remoteAddr' => '127.0.0.1',
            'protocol' => 'HTTP/1.1',
            'method' => 'GET',
            'uri' => 'http://localhost:8080/ws',
            'rawQuery' => '',
            'cookies' => ['chat_staff' => $cookie],
            'attributes' => ['ws:joinTopics' => \implode(',', $topics)],
        ];

        $context = "{\"status\":$status,\"headers\":{}}";
        $answer = $worker->exchange(WorkerProcess::exec(\json_encode($question)));
        self::assertEquals(new Frame($context, 0, [\strlen($context)]), $answer);
        self::assertSame(0, $worker->stop());
    }

    public function testThePublisherPublishesItsArguments(): void
    {
        $server = new ScriptedServer([[ScriptedServer::OK]]);

        self::assertSame([0, ''], self::publish($server->address, 'news', 'one', 'two'));
        self::assertSame(
            'broadcast.Publish' . \hex2bin('0a0b12046e6577731a036f6e65' . '0a0b12046e6577731a0374776f'),
            $server->payload(),
        );
    }

    public function testThePublisherSaysInOneLineWhatIsWrong(): void
    {
        $message = "Unable to connect to unix:///nowhere: No such file or directory\n";

        self::assertSame([1, $message], self::publish('unix:///nowhere', 'news', 'hi'));
        [$code, $usage] = self::publish('unix:///nowhere', 'news');
        self::assertSame(2, $code);
        self::assertStringStartsWith('Usage: php ', $usage);
    }

    /**
     * @testWith ["token=token-of-ann", null, "{\"user\":\"1\",\"info\":{\"name\":\"Ann\"},\"expire\":3600,\"join\":[\"user.1\"],\"allow\":[\"news.*\",\"user.1\"]}"]
     *           ["token=wrong", null, null]
     *           ["token[]=token-of-ann", null, null]
     *           ["", ["support"], "{\"history\":false}"]
     *           ["", ["chat"], ""]
     *           ["", ["chat", "support"], null]
     */
    public function testTheWorkerSaysWhoTheClientsAre(string $query, ?array $topics, ?string $body): void
    {
        $worker = new WorkerProcess(self::EXAMPLES . '/identity.php');
        $worker->handshake();
        $context = match ($body) {
            null => '{"status":403,"headers":{}}',
            '' => '{"status":200,"headers":{}}',
            default => '{"status":200,"headers":{"Content-Type":["application/vnd.rr-ws+json"]}}',
        };

        self::assertEquals(new Frame("$context$body", 0, [\strlen($context)]), $worker->ask($query, $topics));
        self::assertSame(0, $worker->stop());
    }

    public function testAPushPrintsItsPosition(): void
    {
        $server = new ScriptedServer([['body 0a080a01611203652e31'], ['body 0a0a0a01611203652e311801'], ['body 0a030a0161']]);

        self::assertSame([0, '', "e.1\n"], self::runs($server->address, 'push.php', 'a', 'hi', 'k'));
        self::assertSame('push.Publish' . \hex2bin('0a0a' . '120161' . '1a026869' . '2a016b'), $server->payload());
        self::assertSame([0, '', "e.1 (published before)\n"], self::runs($server->address, 'push.php', 'a', 'hi', 'k'));
        self::assertSame([0, '', "no history\n"], self::runs($server->address, 'push.php', 'a', 'hi'));
    }

    public function testAHistoryIsPrintedPageByPage(): void
    {
        $message = static fn (string $payload, int $offset): string => \bin2hex("\x0a\x0f\x0a\x01$payload\x12\x03e.$offset\x18")
            . '8098a3e7ac33';
        $server = new ScriptedServer([[
            'body ' . $message('x', 1) . $message('y', 2) . '1203652e33' . '22056c696d6974',
            'body ' . $message('z', 3) . '1203652e33' . '1801',
        ]]);
        $time = \date('c', 1_764_374_400);

        self::assertSame(
            [0, '', "e.1\t$time\tx\ne.2\t$time\ty\ne.3\t$time\tz\n"],
            self::runs($server->address, 'history.php', 'a'),
        );
        self::assertSame('push.History' . \hex2bin('0a0161'), $server->payload());
        self::assertSame('push.History' . \hex2bin('0a0161' . '1203652e32'), $server->payload());
    }

    public function testAHistoryThatIsNotAllSaysWhy(): void
    {
        $server = new ScriptedServer([['body 1203652e33' . '2205' . \bin2hex('epoch')]]);

        self::assertSame([0, "not all of it: epoch\n", ''], self::runs($server->address, 'history.php', 'a', 'x.1'));
    }

    /**
     * @testWith ["push.php", ["a", "hi"], ["a"]]
     *           ["history.php", ["a"], []]
     */
    public function testTheExamplesSayInOneLineWhatIsWrong(string $script, array $arguments, array $tooFew): void
    {
        $message = "Unable to connect to unix:///nowhere: No such file or directory\n";

        self::assertSame([1, $message, ''], self::runs('unix:///nowhere', $script, ...$arguments));
        [$code, $usage] = self::runs('unix:///nowhere', $script, ...$tooFew);
        self::assertSame(2, $code);
        self::assertStringStartsWith('Usage: php ', $usage);
    }

    /**
     * @return array{int, string} Exit code and stderr.
     */
    private static function publish(string $address, string ...$arguments): array
    {
        return \array_slice(self::runs($address, 'publish.php', ...$arguments), 0, 2);
    }

    /**
     * @return array{int, string, string} Exit code, stderr and stdout.
     */
    private static function runs(string $address, string $script, string ...$arguments): array
    {
        $process = \proc_open(
            [\PHP_BINARY, self::EXAMPLES . "/$script", ...$arguments],
            [1 => ['pipe', 'w'], 2 => ['pipe', 'w']],
            $pipes,
            env_vars: ['RR_RPC' => $address] + \getenv(),
        );
        $stderr = \stream_get_contents($pipes[2]);
        $stdout = \stream_get_contents($pipes[1]);

        return [\proc_close($process), $stderr, $stdout];
    }
}
