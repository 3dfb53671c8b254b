<?php

// Refuses to connect with what it was asked: the request as the server wrote it, or with `?env` its environment.
// With `?let-in` the client may connect, and what it asks to join is printed. With `?no-status` the answer has no
// status. It has no Worker, because that would not show the bytes, nor answer wrongly.

declare(strict_types=1);

use RRPyWs\Goridge\Address;
use RRPyWs\Goridge\Frame;
use RRPyWs\Goridge\Relay;

require __DIR__ . '/../../../php-client/autoload.php';

$address = Address::fromEnvironment('RR_RELAY', 'pipes');
$relay = $address->isPipes()
    ? new Relay(STDIN, STDOUT, 'the server')
    : Relay::connect($address, connectTimeout: 10.0, timeout: null);

while (($frame = $relay->receive()) !== null) {
    if ($frame->has(Frame::CONTROL)) {
        if (json_decode($frame->payload)->stop ?? false) {
            exit;
        }
        $relay->send(new Frame(json_encode(['pid' => getmypid()]), Frame::CONTROL));
        continue;
    }
    $context = substr($frame->payload, 0, $frame->options[0]);
    $request = json_decode($context, true);
    parse_str($request['rawQuery'], $query);
    if (isset($query['let-in'])) {
        fwrite(STDERR, "asked: $context\n");
    }
    $answer = match (true) {
        isset($query['no-status']) => '{"headers":{}}',
        isset($query['let-in']) => '{"status":200}',
        default => '{"status":403,"headers":{"Content-Type":["application/json"]}}',
    };
    $relay->send(new Frame($answer . (isset($query['env']) ? json_encode(getenv()) : $context), 0, [strlen($answer)]));
}
