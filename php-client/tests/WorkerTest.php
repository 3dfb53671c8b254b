<?php

declare(strict_types=1);

namespace RRPyWs\Tests;

use PHPUnit\Framework\TestCase;
use RRPyWs\Goridge\Frame;
use RRPyWs\Tests\Support\WorkerProcess;

/**
 * Real worker processes, driven as the server drives them.
 */
final class WorkerTest extends TestCase
{
    private const SERVE = __DIR__ . '/Support/worker.php';
    private const MANUAL = __DIR__ . '/Support/manual.php';
    private const ALLOWED = '{"status":200,"headers":{}}';
    private const REFUSED = '{"status":403,"headers":{}}';

    /**
     * @return iterable<string, array{string}>
     */
    public function relays(): iterable
    {
        yield 'pipes' => ['pipes'];
        yield 'tcp' => ['tcp://127.0.0.1:0'];
        yield 'unix' => ['unix://' . \sys_get_temp_dir() . '/php-worker-' . \getmypid() . '.sock'];
    }

    /**
     * @dataProvider relays
     */
    public function testAWholeLifeOverEveryRelay(string $relay): void
    {
        try {
            $worker = new WorkerProcess(self::SERVE, $relay);
            $hello = $worker->exchange(new Frame('{"pid":1}', Frame::CONTROL | Frame::JSON));
            self::assertEquals(new Frame("{\"pid\":$worker->pid}", Frame::CONTROL), $hello);

            self::assertEquals(self::answer(self::ALLOWED), $worker->ask());
            self::assertEquals(self::answer(self::REFUSED), $worker->ask('do=deny'));
            self::assertEquals(self::answer(self::ALLOWED), $worker->ask('', ['news', 'chat']));
            self::assertEquals(self::answer(self::REFUSED), $worker->ask('', ['secret']));
            self::assertTrue($worker->ask('do=throw')->has(Frame::ERROR));
            self::assertEquals(self::answer(self::ALLOWED), $worker->ask('do=echo'));

            self::assertSame(0, $worker->stop());
        } finally {
            if (\str_starts_with($relay, 'unix:')) {
                @\unlink(\substr($relay, \strlen('unix://')));
            }
        }
    }

    public function testARefusalCarriesStatusHeadersAndBody(): void
    {
        $context = '{"status":302,"headers":{"Location":["/login"],"Set-Cookie":["a=1","b=2"]}}';

        self::assertEquals(self::answer($context, "see \x00\xFF other"), $this->started()->ask('do=redirect'));
    }

    public function testWhatIsSaidBesideYes(): void
    {
        $worker = $this->started();
        $context = '{"status":200,"headers":{"Content-Type":["application/vnd.rr-ws+json"]}}';
        $details = '{"user":"42","info":{"name":"Ann"},"expire":3600,"join":["user.42"],"allow":["news.*"]}';

        self::assertEquals(self::answer($context, $details), $worker->ask('do=accept'));
        self::assertEquals(self::answer($context, '{"history":false}'), $worker->ask('', ['hidden']));
        self::assertEquals(
            new Frame('RRPyWs\Exception\InvalidArgumentException: A user must have at most 128 bytes, got 129', Frame::ERROR),
            $worker->ask('do=accept+too+long'),
        );
    }

    public function testAPage(): void
    {
        $answer = $this->started()->exchange(self::page('', '{"a":"1"}', parsed: true));

        self::assertEquals(self::answer('{"status":201,"headers":{"X-Form":["{\"a\":\"1\"}"]}}', '{"a":"1"}'), $answer);
    }

    public function testAPageInParts(): void
    {
        $worker = $this->started();

        self::assertEquals(self::part(self::ALLOWED, 'one'), $worker->exchange(self::page('do=parts')));
        self::assertEquals(self::part('', 'two'), $worker->exchange());
        self::assertEquals(self::answer(''), $worker->exchange());
        self::assertEquals(self::answer(self::ALLOWED), $worker->ask());
    }

    public function testAPageInPartsEndsWhenNobodyWantsIt(): void
    {
        $worker = $this->started();
        $stop = new Frame('', 0, [], Frame::STREAM_STOP);
        $hello = new Frame('{"pid":1}', Frame::CONTROL | Frame::JSON);

        $frame = $worker->exchange(self::page('do=endless'), $hello, $stop);
        while (($frame->streamBits & Frame::STREAM) !== 0) {
            $frame = $worker->exchange();
        }
        // What else the server asked is answered behind the page.
        self::assertEquals(new Frame("{\"pid\":$worker->pid}", Frame::CONTROL), $worker->exchange());
    }

    public function testAPageThatBreaksOff(): void
    {
        $worker = $this->started();

        self::assertEquals(self::part(self::ALLOWED, 'one'), $worker->exchange(self::page('do=breaks')));
        self::assertTrue($worker->exchange()->has(Frame::ERROR));
        self::assertEquals(self::answer(self::ALLOWED), $worker->ask());
    }

    public function testALongBodyPassesThePipe(): void
    {
        $expected = self::answer(self::REFUSED, \str_repeat('x', 300_000));

        self::assertEquals($expected, $this->started()->ask('do=big'));
    }

    /**
     * @testWith ["throw", "DomainException", "no such user"]
     *           ["fail", "DivisionByZeroError", "Division by zero"]
     *           ["forget", "RRPyWs\\Exception\\WorkerException", "A callback must return true, false or a Response, got null"]
     *           ["print", "RRPyWs\\Exception\\WorkerException", "A callback must return true, false or a Response, got int"]
     *           ["header", "RRPyWs\\Exception\\InvalidArgumentException", "The header X-Bad must be one line of text"]
     */
    public function testACallbackThatFailsRefusesOneRequestAndTheWorkerGoesOn(
        string $do,
        string $class,
        string $message,
    ): void {
        $worker = $this->started();

        self::assertEquals(new Frame("$class: $message", Frame::ERROR), $worker->ask("do=$do"));
        self::assertEquals(self::answer(self::ALLOWED), $worker->ask());
        self::assertSame(0, $worker->stop());
        self::assertStringContainsString($message, $worker->stderr());
        self::assertStringContainsString('#0 ', $worker->stderr(), 'with the stack');
    }

    /**
     * @testWith ["echo", "noise\n"]
     *           ["buffer", "kept back"]
     *           ["warn", "careful"]
     *           ["swallow", "careful"]
     */
    public function testWhatIsPrintedGoesToStderr(string $do, string $printed): void
    {
        $worker = new WorkerProcess(self::SERVE, 'pipes', ['-d', 'display_errors=1', '-d', 'log_errors=0']);
        $worker->handshake();

        self::assertEquals(self::answer(self::ALLOWED), $worker->ask("do=$do"));
        self::assertEquals(self::answer(self::ALLOWED), $worker->ask("do=$do"));
        self::assertSame(0, $worker->stop());
        self::assertSame(2, \substr_count($worker->stderr(), $printed));
    }

    public function testABufferThatACallbackLeftOpenIsClosedBeforeTheNextRequest(): void
    {
        $worker = $this->started();

        $worker->ask('do=buffer');
        $worker->ask();

        self::assertSame('kept back', $worker->stderr());
    }

    public function testACallbackThatRemovesAllBuffersIsGuardedAgainAfterwards(): void
    {
        $worker = $this->started();

        self::assertEquals(self::answer(self::ALLOWED), $worker->ask('do=unbuffer'));
        self::assertEquals(self::answer(self::ALLOWED), $worker->ask('do=echo'));
        self::assertEquals(self::answer(self::ALLOWED), $worker->ask());
        self::assertSame(0, $worker->stop());
        self::assertSame("noise\n", $worker->stderr());
    }

    public function testACallbackThatExitsEndsTheWorkerWithoutAnAnswer(): void
    {
        $worker = $this->started();

        self::assertNull($worker->ask('do=exit'));
        self::assertSame(3, $worker->hangUp());
    }

    public function testARequestThatAsksNeitherIsRefused(): void
    {
        $context = '{"remoteAddr":"","protocol":"","method":"","uri":"","rawQuery":"","attributes":{"ws:joinServer":0}}';

        self::assertEquals(self::answer(self::REFUSED), $this->started()->exchange(WorkerProcess::exec($context)));
    }

    /**
     * @return iterable<string, array{Frame, string}>
     */
    public function unreadableRequests(): iterable
    {
        yield 'no JSON' => [WorkerProcess::exec('nonsense'), 'the request is no JSON object'];
        yield 'empty' => [WorkerProcess::exec(''), 'the request is no JSON object'];
        $message = 'the request does not say where its context ends';
        yield 'no option' => [new Frame('{}'), $message];
        yield 'two options' => [new Frame('{}', 0, [2, 2]), $message];
        yield 'a context longer than all' => [new Frame('{}', 0, [3]), $message];
    }

    /**
     * @dataProvider unreadableRequests
     */
    public function testARequestThatCannotBeReadIsAnsweredWithAnError(Frame $request, string $message): void
    {
        $worker = $this->started();

        self::assertEquals(new Frame($message, Frame::ERROR), $worker->exchange($request));
        self::assertEquals(self::answer(self::ALLOWED), $worker->ask());
        self::assertSame(0, $worker->stop());
        self::assertSame("$message\n", $worker->stderr());
    }

    public function testStreamStopAndPongAreSkipped(): void
    {
        $worker = $this->started();

        $answer = $worker->exchange(
            new Frame('', 0, [], Frame::STREAM_PONG),
            new Frame('', 0, [], Frame::STREAM_STOP),
            WorkerProcess::question('do=deny'),
        );

        self::assertEquals(self::answer(self::REFUSED), $answer);
    }

    public function testTheOlderControlFlagIsUnderstoodToo(): void
    {
        $worker = new WorkerProcess(self::SERVE);

        $hello = $worker->exchange(new Frame('{"pid":1}', Frame::CONTROL));
        self::assertSame("{\"pid\":$worker->pid}", $hello->payload);
        self::assertNull($worker->exchange(new Frame('{"stop":true}', Frame::CONTROL)));
        self::assertSame(0, $worker->hangUp());
    }

    public function testAServerThatIsGoneEndsTheWorkerQuietly(): void
    {
        $worker = $this->started();

        self::assertSame(0, $worker->hangUp());
        self::assertSame('', $worker->stderr());
    }

    public function testAnUnknownControlFrameEndsTheWorker(): void
    {
        $worker = $this->started();

        self::assertNull($worker->exchange(new Frame('{"dance":true}', Frame::CONTROL)));
        self::assertSame(255, $worker->hangUp());
        self::assertStringContainsString('the server sent an unknown control frame: {"dance":true}', $worker->stderr());
    }

    public function testTheSingleStepsAnswerEachRequestOnce(): void
    {
        $worker = new WorkerProcess(self::MANUAL);
        $worker->handshake();

        $expected = self::answer(
            '{"status":418,"headers":{"X-Method":["GET"]}}',
            "There is no request to answer; each has exactly one answer\n"
                . 'The last request must be answered before waiting for the next one',
        );
        self::assertEquals($expected, $worker->ask());
        self::assertEquals(new Frame('cannot say', Frame::ERROR), $worker->ask());
        $expected = self::answer(self::ALLOWED, 'There is no request to answer; each has exactly one answer');
        self::assertEquals($expected, $worker->ask());
        self::assertSame(0, $worker->stop());
    }

    private function started(): WorkerProcess
    {
        $worker = new WorkerProcess(self::SERVE);
        $worker->handshake();

        return $worker;
    }

    private static function answer(string $context, string $body = ''): Frame
    {
        return new Frame($context . $body, 0, [\strlen($context)]);
    }

    private static function page(string $query, string $body = '', bool $parsed = false): Frame
    {
        $context = \json_encode([
            'remoteAddr' => '127.0.0.1',
            'protocol' => 'HTTP/1.1',
            'method' => 'POST',
            'uri' => "http://localhost:8080/page?$query",
            'headers' => new \stdClass(),
            'cookies' => new \stdClass(),
            'rawQuery' => $query,
            'parsed' => $parsed,
            'uploads' => null,
            'attributes' => new \stdClass(),
        ]);

        return new Frame($context . $body, Frame::JSON, [\strlen($context)]);
    }

    private static function part(string $context, string $body): Frame
    {
        return new Frame($context . $body, 0, [\strlen($context)], Frame::STREAM);
    }
}
