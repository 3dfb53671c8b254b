<?php

declare(strict_types=1);

namespace RRPyWs\Tests;

use PHPUnit\Framework\TestCase;
use RRPyWs\Exception\ProtocolException;
use RRPyWs\Request;

final class RequestTest extends TestCase
{
    private const SMALLEST = [
        'remoteAddr' => '::1',
        'protocol' => 'HTTP/1.1',
        'method' => 'GET',
        'uri' => 'http://localhost/ws',
        'rawQuery' => '',
    ];

    public function testAWholeContextIsRead(): void
    {
        $request = Request::fromContext(<<<'JSON'
            {"remoteAddr":"10.0.0.7","protocol":"HTTP/1.1","method":"GET","uri":"http://localhost:8080/ws?a=1&b[]=x+y",
             "headers":{"Origin":["http://localhost"],"X-Tag":["1","2"]},"cookies":{"sid":"a b"},
             "rawQuery":"a=1&b[]=x+y","parsed":false,"uploads":null,"attributes":{"ws:joinTopics":"chat,news"}}
            JSON);

        self::assertSame('10.0.0.7', $request->remoteAddr);
        self::assertSame('HTTP/1.1', $request->protocol);
        self::assertSame('GET', $request->method);
        self::assertSame('http://localhost:8080/ws?a=1&b[]=x+y', $request->uri);
        self::assertSame(['Origin' => ['http://localhost'], 'X-Tag' => ['1', '2']], $request->headers);
        self::assertSame('1, 2', $request->header('x-tag'));
        self::assertSame('', $request->header('Authorization'));
        self::assertSame(['sid' => 'a b'], $request->cookies);
        self::assertSame('a=1&b[]=x+y', $request->rawQuery);
        self::assertSame(['a' => '1', 'b' => ['x y']], $request->query());
        self::assertSame(['ws:joinTopics' => 'chat,news'], $request->attributes);
        self::assertFalse($request->isConnect());
        self::assertSame(['chat', 'news'], $request->topics());
    }

    /**
     * @testWith [{}]
     *           [{"headers": null, "cookies": null, "attributes": null}]
     */
    public function testWhatMayBeMissingIsEmpty(array $more): void
    {
        $request = Request::fromContext(\json_encode(self::SMALLEST + $more));

        self::assertSame([], $request->headers);
        self::assertSame([], $request->cookies);
        self::assertSame([], $request->attributes);
        self::assertSame([], $request->query());
        self::assertFalse($request->isConnect());
        self::assertSame([], $request->topics());
    }

    /**
     * @testWith [{"ws:joinServer": true}, true, []]
     *           [{"ws:joinServer": "true"}, false, []]
     *           [{"ws:joinTopics": "a"}, false, ["a"]]
     *           [{"ws:joinTopics": ""}, false, [""]]
     *           [{"ws:joinTopics": ["a"]}, false, []]
     *           [{"other": true}, false, []]
     */
    public function testTheAttributeSaysWhatIsAsked(array $attributes, bool $connect, array $topics): void
    {
        $request = Request::fromContext(\json_encode(self::SMALLEST + ['attributes' => $attributes]));

        self::assertSame($connect, $request->isConnect());
        self::assertSame($topics, $request->topics());
    }

    /**
     * @return iterable<string, array{string, string}>
     */
    public function brokenContexts(): iterable
    {
        yield 'nothing' => ['', 'the request is no JSON object'];
        yield 'no object' => ['"text"', 'the request is no JSON object'];
        yield 'broken JSON' => ['{"remoteAddr":', 'the request is no JSON object'];
        foreach (self::SMALLEST as $key => $value) {
            yield "$key missing" => [
                \json_encode(\array_diff_key(self::SMALLEST, [$key => $value])),
                "the request's $key is no string",
            ];
            yield "$key a number" => [\json_encode([$key => 1] + self::SMALLEST), "the request's $key is no string"];
        }
        foreach (['headers', 'cookies', 'attributes'] as $key) {
            $json = \json_encode(self::SMALLEST + [$key => 'x']);
            yield "$key no object" => [$json, "the request's $key are no object"];
        }
        yield 'a header that is no list' => [
            \json_encode(self::SMALLEST + ['headers' => ['Origin' => 'x']]),
            'a header of the request is no list',
        ];
    }

    /**
     * @dataProvider brokenContexts
     */
    public function testABrokenContextIsRefused(string $json, string $message): void
    {
        $this->expectException(ProtocolException::class);
        $this->expectExceptionMessage($message);

        Request::fromContext($json);
    }
}
