<?php

declare(strict_types=1);

namespace RRPyWs\Tests\Support;

/**
 * A process that listens and does what its plan says; see server.php.
 */
final class ScriptedServer
{
    public const OK = 'body 0801';

    public readonly string $address;

    /** @var resource */
    private $process;

    /** @var resource */
    private $stdout;

    /**
     * @param list<list<string>> $plan
     */
    public function __construct(array $plan, string $listen = 'tcp://127.0.0.1:0')
    {
        $this->process = \proc_open(
            [\PHP_BINARY, __DIR__ . '/server.php', $listen, \json_encode($plan)],
            [['file', '/dev/null', 'r'], ['pipe', 'w'], \STDERR],
            $pipes,
        );
        $this->stdout = $pipes[1];
        $this->address = $this->says();
    }

    public function __destruct()
    {
        \proc_terminate($this->process, 9);
        \fclose($this->stdout);
        \proc_close($this->process);
    }

    /**
     * The next line that it prints.
     */
    public function says(): string
    {
        return Lines::next($this->stdout);
    }

    /**
     * The payload of the request that comes next.
     */
    public function payload(): string
    {
        return \substr(\hex2bin(\substr($this->says(), \strlen('got '))), 20);
    }
}
