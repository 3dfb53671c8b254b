<?php

/*
 * A server that does what its plan says: php server.php ADDRESS PLAN
 *
 * PLAN is JSON: for each connection, one after the other, a list of steps. Each step but `slam` first reads a request.
 *
 *     body HEX     answers with this body           silence     waits until the client hangs up
 *     error TEXT   answers with an error            close       hangs up without an answer
 *     raw HEX      answers with these bytes         slam        hangs up after the first bytes of a request
 *     drip HEX     the same, byte by byte           always HEX  answers so until the client hangs up, and prints nothing
 *
 * It prints its address, `got HEX` for each request (`big SHA256` of the payload if that is long), and `closed` after
 * each connection. It knows nothing of the package under test, so a mistake there can not hide here.
 */

declare(strict_types=1);

$listener = stream_socket_server($argv[1], $code, $reason) ?: throw new RuntimeException($reason);
echo str_starts_with($argv[1], 'tcp:') ? 'tcp://' . stream_socket_get_name($listener, false) : $argv[1], "\n";

$frame = static function (int $flags, string $options, string $payload): string {
    $checked = pack('CCV', 0x10 | 3 + intdiv(strlen($options), 4), $flags, strlen($payload));

    return $checked . pack('V', crc32($checked)) . "\0\0" . $options . $payload;
};

foreach (json_decode($argv[2], true, flags: JSON_THROW_ON_ERROR) as $steps) {
    $client = stream_socket_accept($listener, 60);
    foreach ($steps as $step) {
        [$verb, $rest] = explode(' ', $step . ' ', 2);
        $rest = trim($rest);
        if ($verb === 'always') {
            while (($header = stream_get_contents($client, 12)) !== '') {
                $field = unpack('Cwords/Cflags/Vlength', $header);
                $options = stream_get_contents($client, 4 * (($field['words'] & 15) - 3));
                $method = substr(stream_get_contents($client, $field['length']), 0, unpack('V', $options, 4)[1]);
                fwrite($client, $frame($field['flags'], $options, $method . hex2bin($rest)));
            }
            break;
        }
        $header = stream_get_contents($client, 12);
        if ($verb === 'slam') {
            break;
        }
        $field = unpack('Cwords/Cflags/Vlength', $header);
        $options = stream_get_contents($client, 4 * (($field['words'] & 15) - 3));
        $payload = stream_get_contents($client, $field['length']);
        // What nobody reads must fit the pipe.
        echo strlen($payload) > 10_000
            ? 'big ' . hash('sha256', $payload)
            : 'got ' . bin2hex($header . $options . $payload), "\n";
        $method = substr($payload, 0, unpack('V', $options, 4)[1]);
        match ($verb) {
            'body' => fwrite($client, $frame($field['flags'], $options, $method . hex2bin($rest))),
            'error' => fwrite($client, $frame($field['flags'] | 0x40, $options, $method . $rest)),
            'raw' => fwrite($client, hex2bin($rest)),
            'drip' => array_map(static fn (string $byte) => fwrite($client, $byte), str_split(hex2bin($rest))),
            'silence' => stream_get_contents($client),
            'close' => null,
        };
    }
    fclose($client);
    echo "closed\n";
}
