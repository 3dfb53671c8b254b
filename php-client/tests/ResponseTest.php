<?php

declare(strict_types=1);

namespace RRPyWs\Tests;

use PHPUnit\Framework\TestCase;
use RRPyWs\Exception\InvalidArgumentException;
use RRPyWs\Response;

final class ResponseTest extends TestCase
{
    public function testNoHeadersAreAnObject(): void
    {
        self::assertSame('{"status":200,"headers":{}}', (new Response())->context());
    }

    public function testEachHeaderIsAList(): void
    {
        $response = new Response(
            302,
            ['Location' => '/login', 'Set-Cookie' => ['x' => 'a=1', 'y' => 'b=2'], '7' => 'ä'],
        );

        self::assertSame(
            '{"status":302,"headers":{"Location":["/login"],"Set-Cookie":["a=1","b=2"],"7":["\u00e4"]}}',
            $response->context(),
        );
    }

    /**
     * @return iterable<string, array{int, array, string}>
     */
    public function unusable(): iterable
    {
        yield 'a small status' => [99, [], "A response's status must be from 100 to 599, got 99"];
        yield 'a big status' => [600, [], "A response's status must be from 100 to 599, got 600"];
        yield 'no name' => [200, ['' => 'x'], "'' is no name of a header"];
        yield 'a name with a colon' => [200, ['A:' => 'x'], "'A:' is no name of a header"];
        yield 'a name with a line break' => [200, ["A\n" => 'x'], "'A\n' is no name of a header"];
        yield 'a value with a line break' => [200, ['A' => "x\r\nB: y"], 'The header A must be one line of text'];
        yield 'a value that is no text' => [200, ['A' => [5]], 'The header A must be one line of text'];
    }

    /**
     * @dataProvider unusable
     */
    public function testWhatHttpDoesNotAllowIsRefused(int $status, array $headers, string $message): void
    {
        $this->expectException(InvalidArgumentException::class);
        $this->expectExceptionMessage($message);

        new Response($status, $headers);
    }

    public function testAHeaderThatJsonCannotCarryIsRefused(): void
    {
        $this->expectException(InvalidArgumentException::class);
        $this->expectExceptionMessage("A response's headers cannot be sent: Malformed UTF-8");

        (new Response(200, ['A' => "\xFF"]))->context();
    }
}
