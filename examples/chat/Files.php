<?php

declare(strict_types=1);

namespace ChatExample;

/**
 * The files that people send. Nothing of what a client says about a file decides where it is kept or how it is served:
 * its name is random, and its type is what it is found to be. Who knows the name may have the file.
 */
final class Files
{
    public const MAX_SIZE = 2 * 1024 * 1024;

    private const MAX_FILES = 100;
    private const TYPES = [
        'png' => 'image/png',
        'jpg' => 'image/jpeg',
        'gif' => 'image/gif',
        'webp' => 'image/webp',
        'pdf' => 'application/pdf',
        'txt' => 'text/plain; charset=utf-8',
    ];
    private const URL = '~^/files/([0-9a-f]{32}\.([a-z]+))$~D';

    public function __construct(private readonly string $directory)
    {
    }

    /**
     * Keep a file of a form.
     *
     * @param array<string, mixed> $file As in Request::$uploads.
     * @return array{url: string, name: string, type: string, size: int} What the message says of it.
     * @throws Refusal
     */
    public function keep(array $file): array
    {
        if (!isset($file['tmpName']) || !\is_string($file['tmpName'])) {
            throw new Refusal(422, 'Send one file at a time.');
        }
        if ($file['error'] !== \UPLOAD_ERR_OK) {
            throw new Refusal(422, "The file did not arrive, or its kind is forbidden (error {$file['error']}).");
        }
        if ($file['size'] > self::MAX_SIZE) {
            throw new Refusal(413, 'The file is too large: at most 2 MB.');
        }
        $extension = self::extension($file['tmpName']);
        if ($extension === null) {
            throw new Refusal(415, 'Only pictures (PNG, JPEG, GIF, WebP), PDF and text can be sent.');
        }
        $name = \bin2hex(\random_bytes(16)) . ".$extension";
        $isThere = \is_dir($this->directory) || @\mkdir($this->directory, 0700);
        // The server would delete it after the answer.
        if (!$isThere || !@\rename($file['tmpName'], "$this->directory/$name")) {
            throw new Refusal(500, 'The file cannot be kept here.');
        }
        $this->forgetTheOldest();

        return [
            'url' => "/files/$name",
            'name' => \preg_match('/[\p{L}\p{N}. _()-]{1,80}$/uD', $file['name'], $tail) === 1 ? $tail[0] : "file.$extension",
            'type' => self::TYPES[$extension],
            'size' => $file['size'],
        ];
    }

    /**
     * @return array{string, string}|null Content and type.
     */
    public function find(string $path): ?array
    {
        if (\preg_match(self::URL, $path, $match) !== 1 || !isset(self::TYPES[$match[2]])) {
            return null;
        }
        $content = @\file_get_contents("$this->directory/$match[1]");

        return $content === false ? null : [$content, self::TYPES[$match[2]]];
    }

    private static function extension(string $path): ?string
    {
        $picture = @\getimagesize($path);
        if ($picture !== false) {
            return \array_search($picture['mime'], self::TYPES, true) ?: null;
        }
        $content = (string) @\file_get_contents($path);

        return match (true) {
            \str_starts_with($content, '%PDF-') => 'pdf',
            $content !== '' && !\str_contains($content, "\0") && \preg_match('//u', $content) === 1 => 'txt',
            default => null,
        };
    }

    private function forgetTheOldest(): void
    {
        $files = \glob("$this->directory/*") ?: [];
        $times = \array_map(static fn (string $file): int => (int) @\filemtime($file), $files);
        \array_multisort($times, $files);
        foreach (\array_slice($files, 0, -self::MAX_FILES) as $file) {
            @\unlink($file);
        }
    }
}
