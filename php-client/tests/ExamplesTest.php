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
     * @return array{int, string} Exit code and stderr.
     */
    private static function publish(string $address, string ...$arguments): array
    {
        $process = \proc_open(
            [\PHP_BINARY, self::EXAMPLES . '/publish.php', ...$arguments],
            [2 => ['pipe', 'w']],
            $pipes,
            env_vars: ['RR_RPC' => $address] + \getenv(),
        );
        $stderr = \stream_get_contents($pipes[2]);

        return [\proc_close($process), $stderr];
    }
}
