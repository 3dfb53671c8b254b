<?php

declare(strict_types=1);

namespace RRPyWs;

use RRPyWs\Exception\ProtocolException;

/**
 * The question "may this client connect?" or "may it join these topics?", with the client's handshake request; or a
 * request for a page.
 */
final class Request
{
    private const CONNECT = 'ws:joinServer';
    private const TOPICS = 'ws:joinTopics';

    /**
     * @param string $remoteAddr The client's IP address.
     * @param string $protocol For instance `HTTP/1.1`.
     * @param string $uri Absolute, with the query.
     * @param array<string, list<string>> $headers Names as `X-Request-Id`; without `Host`.
     * @param array<string, string> $cookies Decoded.
     * @param string $rawQuery Without `?`, not decoded.
     * @param array<string, mixed> $attributes
     * @param string $body Of a request for a page; when it is parsed, JSON of form().
     * @param bool $parsed Whether the body was a form.
     * @param array<string, mixed> $uploads Files of the form: name to an array of `name`, `mime`, `size`, `error` (0: none)
     *     and `tmpName`, nested as the names are. They are removed after the answer.
     */
    public function __construct(
        public readonly string $remoteAddr,
        public readonly string $protocol,
        public readonly string $method,
        public readonly string $uri,
        public readonly array $headers = [],
        public readonly array $cookies = [],
        public readonly string $rawQuery = '',
        public readonly array $attributes = [],
        public readonly string $body = '',
        public readonly bool $parsed = false,
        public readonly array $uploads = [],
    ) {
    }

    /**
     * @param string $json The context part of a worker request.
     * @param string $body Its body part.
     * @throws ProtocolException
     */
    public static function fromContext(string $json, string $body = ''): self
    {
        $context = \json_decode($json, true);
        if (!\is_array($context)) {
            throw new ProtocolException('the request is no JSON object');
        }
        foreach (['remoteAddr', 'protocol', 'method', 'uri', 'rawQuery'] as $key) {
            if (!\is_string($context[$key] ?? null)) {
                throw new ProtocolException("the request's $key is no string");
            }
        }
        foreach (['headers', 'cookies', 'attributes', 'uploads'] as $key) {
            $context[$key] ??= [];
            if (!\is_array($context[$key])) {
                throw new ProtocolException("the request's $key are no object");
            }
        }
        if ($context['headers'] !== \array_filter($context['headers'], \is_array(...))) {
            throw new ProtocolException('a header of the request is no list');
        }

        return new self(
            $context['remoteAddr'],
            $context['protocol'],
            $context['method'],
            $context['uri'],
            $context['headers'],
            $context['cookies'],
            $context['rawQuery'],
            $context['attributes'],
            $body,
            ($context['parsed'] ?? false) === true,
            $context['uploads'],
        );
    }

    /**
     * Whether the client asks for a page, and neither to connect nor to join.
     */
    public function isPage(): bool
    {
        return !isset($this->attributes[self::CONNECT]) && !isset($this->attributes[self::TOPICS]);
    }

    /**
     * The fields of the form that was sent, as PHP's `$_POST` has them; empty when none was.
     *
     * @return array<string, mixed>
     */
    public function form(): array
    {
        $fields = $this->parsed ? \json_decode($this->body, true) : [];

        return \is_array($fields) ? $fields : [];
    }

    /**
     * Whether the client asks to connect; otherwise it asks to join topics().
     */
    public function isConnect(): bool
    {
        return ($this->attributes[self::CONNECT] ?? false) === true;
    }

    /**
     * The topics that the client asks to join, all or none; empty when it asks to connect.
     *
     * The server joins their names with commas, so a name that contains one comes as two topics here.
     *
     * @return list<string>
     */
    public function topics(): array
    {
        $topics = $this->attributes[self::TOPICS] ?? null;

        return \is_string($topics) ? \explode(',', $topics) : [];
    }

    /**
     * A header's values, joined with a comma; empty when there is none. The name's case does not matter.
     */
    public function header(string $name): string
    {
        $headers = \array_change_key_case($this->headers);

        return \implode(', ', $headers[\strtolower($name)] ?? []);
    }

    /**
     * The query as PHP's `$_GET` has it. A value may be an array, so compare with `===`.
     *
     * @return array<string, mixed>
     */
    public function query(): array
    {
        \parse_str($this->rawQuery, $query);

        return $query;
    }
}
