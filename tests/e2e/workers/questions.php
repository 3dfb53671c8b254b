<?php

// Answers each request for a page with the question as the server wrote it, in headers, so that HEAD has it, too.
// It has no Worker, because that would not show the bytes.

declare(strict_types=1);

use RRPyWs\Goridge\Frame;
use RRPyWs\Goridge\Relay;

require __DIR__ . '/../../../php-client/autoload.php';

$relay = new Relay(STDIN, STDOUT, 'the server');

while (($frame = $relay->receive()) !== null) {
    if ($frame->has(Frame::CONTROL)) {
        if (json_decode($frame->payload)->stop ?? false) {
            exit;
        }
        $relay->send(new Frame(json_encode(['pid' => getmypid()]), Frame::CONTROL));
        continue;
    }
    $at = $frame->options[0];
    $headers = [
        'X-Context' => [base64_encode(substr($frame->payload, 0, $at))],
        'X-Body' => [base64_encode(substr($frame->payload, $at))],
    ];
    $answer = json_encode(['status' => 200, 'headers' => $headers]);
    $relay->send(new Frame($answer . 'ok', 0, [strlen($answer)]));
}
