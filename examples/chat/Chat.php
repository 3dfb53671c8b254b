<?php

declare(strict_types=1);

namespace ChatExample;

use RRPyWs\BroadcastInterface;
use RRPyWs\Exception\BroadcastException;
use RRPyWs\Request;
use RRPyWs\Response;

/**
 * The pages of the chat, and its rooms: a room is a topic.
 */
final class Chat
{
    private const ROOMS = ['chat.lobby', 'chat.workshop'];
    private const STAFF = 'chat.staff';
    /** For `rr-py-ws listen news` and examples/browser.html; no room. */
    private const OTHER_TOPICS = ['news'];

    private const COOKIE = 'chat_staff';
    private const MAX_NAME = 40;
    private const MAX_TEXT = 1000;

    public function __construct(
        private readonly BroadcastInterface $broadcast,
        private readonly Files $files,
        private readonly string $password,
    ) {
    }

    /**
     * What the client who made this request may join.
     *
     * @return list<string>
     */
    public function topics(Request $request): array
    {
        return [...$this->rooms($request), ...self::OTHER_TOPICS];
    }

    /**
     * Answer a request for a page.
     */
    public function page(Request $request): Response
    {
        try {
            if ($request->method === 'POST') {
                self::refuseOtherSites($request);
            }
            $method = $request->method === 'HEAD' ? 'GET' : $request->method;

            return match ($method . ' ' . self::path($request)) {
                'GET /' => self::html(200, \file_get_contents(__DIR__ . '/public/index.html')),
                'POST /messages' => $this->publish($request),
                'POST /session' => $this->signIn($request),
                'POST /session/end' => self::done($request, ['Set-Cookie' => self::cookie($request, '', 0)]),
                default => $this->file($method, self::path($request)),
            };
        } catch (Refusal $e) {
            return self::refused($request, $e->status, $e->getMessage());
        } catch (BroadcastException $e) {
            \error_log($e->getMessage());

            return self::refused($request, 503, 'Nothing can be published just now. Try again in a moment.');
        }
    }

    /**
     * @return list<string>
     */
    private function rooms(Request $request): array
    {
        $isStaff = \hash_equals($this->token(), $request->cookies[self::COOKIE] ?? '');

        return $isStaff ? [...self::ROOMS, self::STAFF] : self::ROOMS;
    }

    private function publish(Request $request): Response
    {
        $room = self::line($request, 'topic', 100);
        if (!\in_array($room, $this->rooms($request), true)) {
            throw new Refusal(403, 'You may not write in this room.');
        }
        $name = self::line($request, 'name', self::MAX_NAME);
        $text = \trim(self::text($request, 'text', self::MAX_TEXT));
        $file = $request->uploads['file'] ?? null;
        if ($name === '' || ($text === '' && $file === null)) {
            throw new Refusal(422, $name === '' ? 'Say who you are.' : 'Write something, or attach a file.');
        }
        $message = [
            'name' => $name,
            'text' => $text,
            'sender' => self::line($request, 'sender', 40),  // by which a page knows its own messages
            'time' => \time(),
            'file' => $file === null ? null : $this->files->keep($file),
        ];
        // To the server a payload is any bytes; this chat has agreed with itself on JSON.
        $this->broadcast->publish($room, \json_encode($message, \JSON_THROW_ON_ERROR | \JSON_UNESCAPED_UNICODE));

        return self::done($request);
    }

    private function signIn(Request $request): Response
    {
        if (!\hash_equals($this->password, self::line($request, 'password', 100))) {
            throw new Refusal(403, 'This is not the password.');
        }

        return self::done($request, ['Set-Cookie' => self::cookie($request, $this->token(), 86400)]);
    }

    /**
     * What proves that a browser knew the password. The server sends cookies along with the question who may join.
     */
    private function token(): string
    {
        return \hash_hmac('sha256', self::STAFF, $this->password);
    }

    private function file(string $method, string $path): Response
    {
        $found = $method === 'GET' ? $this->files->find($path) : null;
        if ($found === null) {
            throw new Refusal(404, 'There is no such page.');
        }
        [$content, $type] = $found;

        return new Response(200, [
            'Content-Type' => $type,
            'Content-Disposition' => \str_starts_with($type, 'image/') ? 'inline' : 'attachment',
            'Cache-Control' => 'private, max-age=86400, immutable',
            // It comes from anybody: it is what we say it is, and can do nothing.
            'X-Content-Type-Options' => 'nosniff',
            'Content-Security-Policy' => "default-src 'none'; sandbox",
        ], $content);
    }

    /**
     * A form of another site may be sent here in the name of a visitor; browsers say where it comes from.
     */
    private static function refuseOtherSites(Request $request): void
    {
        $origin = $request->header('Origin');
        if ($origin !== '' && self::split($origin)[0] !== self::split($request->uri)[0]) {
            throw new Refusal(403, 'This form belongs to another site.');
        }
    }

    private static function path(Request $request): string
    {
        return self::split($request->uri)[1] ?: '/';
    }

    /**
     * @return array{string, string} Host with port, and path, of a URL; the scheme may be another before a proxy.
     */
    private static function split(string $url): array
    {
        \preg_match('~^(?:\w+://([^/?#]*))?([^?#]*)~', $url, $parts);

        return [$parts[1], $parts[2]];
    }

    private static function line(Request $request, string $field, int $length): string
    {
        return \trim(\preg_replace('/\s+/u', ' ', self::text($request, $field, $length)));
    }

    private static function text(Request $request, string $field, int $length): string
    {
        $text = $request->form()[$field] ?? '';
        if (!\is_string($text) || \preg_match("/^.{0,$length}\$/usD", $text) !== 1) {
            throw new Refusal(422, "The $field is longer than $length characters, or no text.");
        }

        return $text;
    }

    private static function cookie(Request $request, string $value, int $seconds): string
    {
        $secure = \str_starts_with($request->uri, 'https:') ? '; Secure' : '';

        return self::COOKIE . "=$value; Path=/; Max-Age=$seconds; HttpOnly; SameSite=Strict$secure";
    }

    /**
     * The answer to a form that was carried out. Without JavaScript a browser goes back to the page.
     *
     * @param array<string, string> $headers
     */
    private static function done(Request $request, array $headers = []): Response
    {
        return self::wantsJson($request)
            ? new Response(204, $headers)
            : new Response(303, ['Location' => '/'] + $headers);
    }

    private static function refused(Request $request, int $status, string $why): Response
    {
        if (self::wantsJson($request)) {
            return new Response($status, ['Content-Type' => 'application/json'], \json_encode(['error' => $why]));
        }
        $text = \htmlspecialchars($why);

        return self::html($status, <<<HTML
            <!DOCTYPE html>
            <html lang="en">
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>Not done</title>
            <link rel="stylesheet" href="/chat.css">
            <body class="plain"><h1>Not done</h1><p>$text</p><p><a href="/">Back to the chat</a></p></body>
            </html>
            HTML);
    }

    private static function html(int $status, string $html): Response
    {
        return new Response($status, [
            'Content-Type' => 'text/html; charset=utf-8',
            'Cache-Control' => 'no-cache',
            'X-Content-Type-Options' => 'nosniff',
            'X-Frame-Options' => 'DENY',
        ], $html);
    }

    private static function wantsJson(Request $request): bool
    {
        return \str_contains($request->header('Accept'), 'application/json');
    }
}
