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

    /**
     * @return iterable<string, array{Response, string}>
     */
    public function acceptances(): iterable
    {
        yield 'nothing' => [Response::accept(), '{}'];
        yield 'a user' => [Response::accept(user: 'é/5'), '{"user":"é/5"}'];
        yield 'a number' => [Response::accept(user: 42), '{"user":"42"}'];
        yield 'the number 0' => [Response::accept(user: 0), '{"user":"0"}'];
        yield 'the longest user' => [
            Response::accept(user: \str_repeat('é', 64)),
            '{"user":"' . \str_repeat('é', 64) . '"}',
        ];
        yield 'all' => [
            Response::accept(
                user: '42',
                info: ['name' => 'Ann', 'tags' => [], 'n' => 1.0],
                expire: 3600,
                join: ['user.42', 'all'],
                allow: ['news.*'],
            ),
            '{"user":"42","info":{"name":"Ann","tags":[],"n":1.0},"expire":3600,"join":["user.42","all"],'
                . '"allow":["news.*"]}',
        ];
        yield 'false and 0 as info' => [Response::accept(info: false), '{"info":false}'];
        yield 'an empty list as info' => [Response::accept(info: []), '{"info":[]}'];
        yield 'an object as info' => [Response::accept(info: new \ArrayObject(['a' => "\u{2028}"])), "{\"info\":{\"a\":\"\u{2028}\"}}"];
        yield 'the longest info' => [
            Response::accept(info: \str_repeat('/', 2046)),
            '{"info":"' . \str_repeat('/', 2046) . '"}',
        ];
        yield 'part of a second' => [Response::accept(expire: 0.5), '{"expire":0.5}'];
        yield 'one topic, one pattern' => [Response::accept(join: 'a', allow: '*'), '{"join":["a"],"allow":["*"]}'];
        yield 'lists with keys' => [Response::accept(join: ['x' => 'a'], allow: [7 => 'b']), '{"join":["a"],"allow":["b"]}'];
        yield 'any iterable' => [
            Response::accept(join: new \ArrayIterator(['a']), allow: (static fn () => yield 'b')()),
            '{"join":["a"],"allow":["b"]}',
        ];
        yield 'a join' => [Response::acceptJoin(), '{}'];
        yield 'a join with all history' => [Response::acceptJoin(history: true), '{}'];
        yield 'a join without history' => [Response::acceptJoin(history: false), '{"history":false}'];
        yield 'a join without that of one topic' => [
            Response::acceptJoin(info: ['role' => 'guest'], history: ['news' => false, 'b' => true]),
            '{"info":{"role":"guest"},"history":{"news":false,"b":true}}',
        ];
        yield 'topics that look like the keys of a list' => [
            Response::acceptJoin(history: ['0' => false, '1' => true]),
            '{"history":{"0":false,"1":true}}',
        ];
        yield 'no topics' => [Response::acceptJoin(history: []), '{"history":{}}'];
    }

    /**
     * @dataProvider acceptances
     */
    public function testWhatIsSaidBesideYesIsABodyOfItsOwnType(Response $response, string $body): void
    {
        self::assertSame(
            '{"status":200,"headers":{"Content-Type":["application/vnd.rr-ws+json"]}}',
            $response->context(),
        );
        self::assertSame($body, $response->body);
    }

    /**
     * @return iterable<string, array{callable(): Response, string}>
     */
    public function unusableDetails(): iterable
    {
        $deep = [];
        for ($level = 0; $level < 300; $level++) {
            $deep = [$deep];
        }
        yield 'an empty user' => [fn () => Response::accept(user: ''), 'A user must not be empty'];
        yield 'a long user' => [
            fn () => Response::accept(user: \str_repeat('é', 64) . 'x'),
            'A user must have at most 128 bytes, got 129',
        ];
        yield 'a user of bytes' => [fn () => Response::accept(user: "\xFF"), 'A user must be UTF-8, got bytes ff'];
        yield 'a long info' => [
            fn () => Response::accept(info: \str_repeat('x', 2047)),
            'An info must have at most 2048 bytes of JSON, got 2049',
        ];
        yield 'an info of bytes' => [
            fn () => Response::accept(info: ['name' => "\xFF"]),
            'An info cannot be sent: Malformed UTF-8',
        ];
        yield 'an info that JSON has no word for' => [
            fn () => Response::accept(info: \INF),
            'An info cannot be sent: Inf and NaN',
        ];
        yield 'a deep info' => [fn () => Response::acceptJoin(info: $deep), 'An info cannot be sent: Maximum stack depth'];
        foreach ([0, -1, -0.5, \INF, \NAN] as $seconds) {
            yield "an expire of $seconds" => [
                fn () => Response::accept(expire: $seconds),
                "An expire must be a number of seconds above 0, got $seconds",
            ];
        }
        yield 'an empty topic' => [fn () => Response::accept(join: ['a', '']), 'A topic must not be empty'];
        yield 'an empty pattern' => [fn () => Response::accept(allow: ''), 'A pattern must not be empty'];
        yield 'a topic of bytes' => [fn () => Response::accept(join: "\xFF"), 'A topic must be UTF-8, got bytes ff'];
        yield 'many patterns that begin alike' => [
            fn () => Response::accept(allow: \array_map(fn (int $number): string => "a.*$number", \range(0, 256))),
            "At most 256 patterns may begin with 'a.*'",
        ];
        yield 'a number as pattern' => [fn () => Response::accept(allow: [5]), 'A pattern must be a string, got int'];
        yield 'a history that is no bool' => [
            fn () => Response::acceptJoin(history: ['news' => 0]),
            "The history of topic 'news' must be true or false, got int",
        ];
        yield 'a history of a topic of bytes' => [
            fn () => Response::acceptJoin(history: ["\xFF" => false]),
            'A topic must be UTF-8, got bytes ff',
        ];
    }

    /**
     * The server would refuse the client, and only its log would say why.
     *
     * @dataProvider unusableDetails
     */
    public function testWhatTheServerWouldNotTakeIsRefusedWhereItIsSaid(callable $accept, string $message): void
    {
        $this->expectException(InvalidArgumentException::class);
        $this->expectExceptionMessage($message);

        $accept();
    }
}
