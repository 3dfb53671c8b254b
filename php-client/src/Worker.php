<?php

declare(strict_types=1);

namespace RRPyWs;

use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Exception\ProtocolException;
use RRPyWs\Exception\TransportException;
use RRPyWs\Exception\WorkerException;
use RRPyWs\Goridge\Address;
use RRPyWs\Goridge\Frame;
use RRPyWs\Goridge\Relay;
use RRPyWs\Internal\StdoutGuard;

/**
 * The loop of a process that the server starts and asks who may connect, who may join a topic, and for pages.
 *
 *     Worker::create()->serve(
 *         connect: fn (Request $request) => isset($request->cookies['session']),
 *         join: fn (Request $request, array $topics) => !in_array('admin', $topics, true),
 *         page: fn (Request $request) => new Response(200, ['Content-Type' => 'text/plain'], 'hello'),
 *     );
 */
final class Worker
{
    private const CONNECT_TIMEOUT = 10.0;

    private bool $owesAnswer = false;
    /** @var list<Frame> Control frames that came while an answer was sent in parts. */
    private array $postponed = [];

    private function __construct(private readonly Relay $relay, private readonly StdoutGuard $stdout)
    {
    }

    /**
     * Take the connection that the server gave this process. From here on, what is printed goes to stderr.
     *
     * @param string|null $relay `pipes`, `tcp://host:port` or `unix://path`; by default the environment's RR_RELAY,
     *     else `pipes`.
     * @throws InvalidArgumentException
     * @throws TransportException
     */
    public static function create(?string $relay = null): self
    {
        $address = $relay === null ? Address::fromEnvironment('RR_RELAY', 'pipes') : Address::parse($relay);
        $stdout = new StdoutGuard();

        return new self(
            $address->isPipes()
                ? new Relay(\fopen('php://stdin', 'rb'), \fopen('php://stdout', 'wb'), 'the server')
                : Relay::connect($address, self::CONNECT_TIMEOUT, timeout: null),
            $stdout,
        );
    }

    /**
     * Answer requests until the server stops this worker.
     *
     * A callback that throws, or returns something else, refuses this one request; the worker goes on.
     *
     * @param callable(Request): (bool|Response) $connect May this client connect?
     * @param callable(Request, list<string>): (bool|Response) $join May it join these topics, all of them?
     * @param (callable(Request): Response)|null $page Makes a page; without it there are none.
     * @throws TransportException
     */
    public function serve(callable $connect, callable $join, ?callable $page = null): void
    {
        while (($request = $this->waitRequest()) !== null) {
            try {
                // Kept by nobody: a page in parts ends with its generator.
                $this->respondWith(self::response(match (true) {
                    $request->isConnect() => $connect($request),
                    $request->topics() !== [] => $join($request, $request->topics()),
                    $request->isPage() => $page === null ? new Response(404) : $page($request),
                    default => false,
                }));
            } catch (TransportException $e) {
                throw $e;
            } catch (\Throwable $e) {
                StdoutGuard::log("$e\n");
                $this->send(self::failure(\get_debug_type($e) . ': ' . $e->getMessage()));
            }
        }
    }

    /**
     * Wait for the next request, and do what else the server asks for meanwhile.
     *
     * @return Request|null Null when the worker is to end: the server stops it, or is gone.
     * @throws TransportException
     * @throws WorkerException The last request has no answer yet.
     */
    public function waitRequest(): ?Request
    {
        if ($this->owesAnswer) {
            throw new WorkerException('The last request must be answered before waiting for the next one');
        }
        $this->stdout->restore();
        while (($frame = \array_shift($this->postponed) ?? $this->relay->receive()) !== null) {
            if ($frame->has(Frame::CONTROL)) {
                if (!$this->obey($frame)) {
                    return null;
                }
            } elseif (($frame->streamBits & (Frame::STREAM_STOP | Frame::STREAM_PONG)) === 0) {
                $this->owesAnswer = true;
                try {
                    return Request::fromContext(...self::parts($frame));
                } catch (ProtocolException $e) {
                    StdoutGuard::log("{$e->getMessage()}\n");
                    $this->error($e->getMessage());
                }
            }
        }

        return null;
    }

    /**
     * Answer the request that waitRequest() returned. Status 200 allows, any other refuses.
     *
     * A page that comes in parts is sent part by part; it ends early when the client has gone.
     *
     * @param array<string, string|list<string>> $headers
     * @param string|iterable<string> $body
     * @throws InvalidArgumentException
     * @throws TransportException
     * @throws WorkerException
     */
    public function respond(int $status, array $headers = [], string|iterable $body = ''): void
    {
        $this->respondWith(new Response($status, $headers, $body));
    }

    /**
     * Answer the request that waitRequest() returned: it could not be decided. The client is refused.
     *
     * @param string $message For the server's log.
     * @throws TransportException
     * @throws WorkerException
     */
    public function error(string $message): void
    {
        $this->send(self::failure($message));
    }

    private function respondWith(Response $response): void
    {
        $context = $response->context();
        if (\is_string($response->body)) {
            $this->send(self::frame($context, $response->body));

            return;
        }
        foreach ($response->body as $part) {
            if ($this->isUnwanted()) {
                break;
            }
            $this->send(self::frame($context, $part, Frame::STREAM), isLast: false);
            $context = '';
        }
        $this->send(self::frame($context, ''));
    }

    /**
     * Whether the server wants no more of the answer that is sent in parts.
     */
    private function isUnwanted(): bool
    {
        while ($this->relay->isReadable()) {
            $frame = $this->relay->receive();
            if ($frame === null || ($frame->streamBits & Frame::STREAM_STOP) !== 0) {
                return true;
            }
            if ($frame->has(Frame::CONTROL)) {
                $this->postponed[] = $frame;
            }
        }

        return false;
    }

    private function send(Frame $answer, bool $isLast = true): void
    {
        if (!$this->owesAnswer) {
            throw new WorkerException('There is no request to answer; each has exactly one answer');
        }
        $this->relay->send($answer);
        $this->owesAnswer = !$isLast;
    }

    /**
     * @return bool Whether to go on.
     */
    private function obey(Frame $control): bool
    {
        $command = \json_decode($control->payload, true);
        if (\is_array($command) && !empty($command['stop'])) {
            return false;
        }
        if (!\is_array($command) || empty($command['pid'])) {
            throw new ProtocolException("{$this->relay->name} sent an unknown control frame: {$control->payload}");
        }
        // The server tells its own pid and asks for ours, by which it knows which process this connection belongs to.
        $this->relay->send(new Frame(\json_encode(['pid' => \getmypid()]), Frame::CONTROL));

        return true;
    }

    /**
     * @return array{string, string} Context and body.
     */
    private static function parts(Frame $request): array
    {
        if (\count($request->options) !== 1 || $request->options[0] > \strlen($request->payload)) {
            throw new ProtocolException('the request does not say where its context ends');
        }

        $length = $request->options[0];

        return [\substr($request->payload, 0, $length), \substr($request->payload, $length)];
    }

    private static function response(mixed $answer): Response
    {
        return match (true) {
            $answer instanceof Response => $answer,
            $answer === true => new Response(200),
            $answer === false => new Response(403),
            default => throw new WorkerException(
                'A callback must return true, false or a Response, got ' . \get_debug_type($answer),
            ),
        };
    }

    private static function frame(string $context, string $body, int $streamBits = 0): Frame
    {
        return new Frame($context . $body, 0, [\strlen($context)], $streamBits);
    }

    private static function failure(string $message): Frame
    {
        return new Frame($message, Frame::ERROR);
    }
}
