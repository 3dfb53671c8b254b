<?php

declare(strict_types=1);

namespace RRPyWs\Internal;

use RRPyWs\Exception\ProtocolException;

/**
 * The protobuf messages of `broadcast.Publish`:
 *
 *     message Message { string command = 1; repeated string topics = 2; bytes payload = 3; }
 *     message Request { repeated Message messages = 1; }
 *     message Response { bool ok = 1; }
 *
 * `command` is not sent, the server ignores it.
 */
final class PublishMessage
{
    /**
     * @param list<string> $topics
     * @param list<string> $payloads
     */
    public static function request(array $topics, array $payloads): string
    {
        $names = Protobuf::list(2, $topics);
        $request = '';
        foreach ($payloads as $payload) {
            $request .= Protobuf::bytes(1, $names . Protobuf::bytes(3, $payload));
        }

        return $request;
    }

    /**
     * Read `ok` from a Response; a missing one is false.
     *
     * @throws ProtocolException
     */
    public static function isOk(string $response): bool
    {
        $ok = false;
        foreach (Protobuf::fields($response) as $key => $value) {
            if ($key === (1 << 3 | Protobuf::NUMBER)) {
                $ok = $value !== 0;
            }
        }

        return $ok;
    }
}
