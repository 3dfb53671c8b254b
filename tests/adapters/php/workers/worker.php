<?php
// A worker that writes its frames by hand. The query of the request says how it answers: see `handle`.
declare(strict_types=1);

final class Wire
{
    /** @param resource $in @param resource $out */
    public function __construct(private $in, private $out, private bool $piped)
    {
    }

    public static function open(string $relay): self
    {
        if ($relay === 'pipes') {
            return new self(STDIN, STDOUT, true);
        }
        $socket = stream_socket_client($relay) ?: exit(70);
        return new self($socket, $socket, false);
    }

    public function raw(string $bytes): void
    {
        fwrite($this->out, $bytes);
        fflush($this->out);
    }

    public static function encode(int $flags, array $options, string $payload): string
    {
        $head = pack('CCV', 0x13 + count($options), $flags, strlen($payload));
        return $head . pack('V', crc32($head)) . "\0\0" . pack('V*', ...$options) . $payload;
    }

    public function frame(int $flags, array $options, string $payload): void
    {
        $this->raw(self::encode($flags, $options, $payload));
    }

    public function answer(string $context, string $body = ''): void
    {
        $this->frame(0, [strlen($context)], $context . $body);
    }

    /** @return array{int, list<int>, string}|null */
    public function receive(): ?array
    {
        // From a pipe the header is read with one call, as PHP's goridge does.
        $head = $this->piped ? fread($this->in, 12) : $this->exactly(12);
        if ($head === '' || $head === false) {
            return null;
        }
        strlen($head) === 12 || exit(71);
        ['first' => $first, 'flags' => $flags, 'length' => $length] = unpack('Cfirst/Cflags/Vlength', $head);
        $count = ($first & 15) - 3;
        $options = $count ? array_values(unpack('V*', $this->exactly($count * 4))) : [];
        return [$flags, $options, $this->exactly($length)];
    }

    private function exactly(int $length): string
    {
        $bytes = '';
        while (strlen($bytes) < $length) {
            $piece = fread($this->in, $length - strlen($bytes));
            if ($piece === '' || $piece === false) {
                exit(72);
            }
            $bytes .= $piece;
        }
        return $bytes;
    }
}

/** Waits until the test goes on: until there is a file. */
function wait_for(string $file): void
{
    while (!file_exists($file)) {
        usleep(1000);
    }
}

/** Answers one request as its query says, such as `?do=sleep&ms=100`. */
function handle(Wire $wire, array $request, string $context): void
{
    parse_str($request['rawQuery'], $query);
    $answer = fn (int $status, string $body = '', array $headers = []) => $wire->answer(
        json_encode(['status' => $status, 'headers' => (object) $headers]),
        $body,
    );
    switch ($query['do'] ?? '') {
        case 'refuse':
            $answer((int) $query['status'], 'no entry', ['X-Reason' => ['a', 'b']]);
            break;
        case 'echo':
            $answer(403, $context);
            break;
        case 'pid':
            $answer(403, (string) getmypid());
            break;
        case 'env':
            $answer(403, json_encode(getenv(), JSON_INVALID_UTF8_SUBSTITUTE));
            break;
        case 'ids':
            $answer(403, json_encode([posix_getuid(), posix_getgid(), posix_getgroups()]));
            break;
        case 'sleep':
            usleep(1000 * (int) $query['ms']);
            $answer(200, (string) getmypid());
            break;
        case 'wait':
            wait_for($query['for']);
            $answer(200, (string) getmypid());
            break;
        case 'topics':
            $topics = $request['attributes']['ws:joinTopics'] ?? null;
            $answer($topics === 'private' ? 403 : 200);
            break;
        case 'error':
            $wire->frame(0x40, [], "RuntimeException: no\n#0 worker.php(1)\n");
            break;
        case 'restart':
            $wire->answer('{"stop":true}');
            break;
        case 'die':
            fwrite(STDERR, "PHP Fatal error: it broke\n");
            exit(3);
        case 'throw':
            throw new DomainException('the token is void');
        case 'half':
            $wire->raw("\x14\x00\xff\x00");
            exit(4);
        case 'noise':
            $wire->raw("Warning: Undefined variable \$x in /app/index.php on line 7\n");
            $answer(200);
            break;
        case 'noise-after':
            $wire->raw(Wire::encode(0, [14], '{"status":200}') . 'noise');
            break;
        case 'twice':
            $wire->raw(Wire::encode(0, [14], '{"status":200}') . Wire::encode(0x40, [], 'and an error'));
            break;
        case 'twice-slowly':
            $answer(200);
            usleep(50000);
            $answer(200);
            break;
        case 'answer-then-wait':
            $answer(403, (string) getmypid());
            wait_for($query['for']);
            break;
        case 'answer-then-sleep':
            $answer(403, (string) getmypid());
            usleep(1000 * (int) $query['ms']);
            break;
        case 'answer-and-exit':
            $answer(200);
            exit(0);
        case 'no-option':
            $wire->frame(0, [], '{"status":200}');
            break;
        case 'big-option':
            $wire->frame(0, [99], '{"status":200}');
            break;
        case 'no-status':
            $wire->answer('{"headers":{}}');
            break;
        case 'no-json':
            $wire->answer('<html>');
            break;
        case 'stderr':
            fwrite(STDERR, "first line\nsecond line\n");
            $answer(200);
            break;
        case 'memory':
            $GLOBALS['kept'] = str_repeat('x', (int) $query['mib'] * 1024 * 1024);
            $answer(200);
            break;
        default:
            $answer(200);
    }
}

$wire = Wire::open(getenv('RR_RELAY') ?: 'pipes');
while (($frame = $wire->receive()) !== null) {
    [$flags, $options, $payload] = $frame;
    if ($flags & 0x01) {
        $control = json_decode($payload, true);
        if ($control['stop'] ?? false) {
            exit(0);
        }
        $wire->frame(0x01, [], json_encode(['pid' => getmypid()]));
        continue;
    }
    $context = substr($payload, 0, $options[0]);
    handle($wire, json_decode($context, true), $context);
}
