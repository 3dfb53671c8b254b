<?php

declare(strict_types=1);

namespace RRPyWs\Internal;

/**
 * Keeps a worker's stdout free for frames: what the application prints goes to stderr, and from there into the
 * server's log. One stray byte on stdout would cost the worker its life.
 *
 * It can not catch what does not pass PHP's output layer: `fwrite(STDOUT, ...)` and child processes that inherit
 * stdout.
 */
final class StdoutGuard
{
    private int $level = 0;

    public function __construct()
    {
        if (\filter_var(\ini_get('display_errors'), \FILTER_VALIDATE_BOOL)) {
            \ini_set('display_errors', 'stderr');
        }
        $this->restore();
    }

    /**
     * Close the output buffers that the application left open, and put ours back if it was removed.
     */
    public function restore(): void
    {
        if (!\in_array(self::class . '::toStderr', \ob_list_handlers(), true)) {
            // Size 1: pass on every print at once.
            \ob_start([self::class, 'toStderr'], 1);
            $this->level = \ob_get_level();
        }
        while (\ob_get_level() > $this->level && @\ob_end_flush()) {
        }
    }

    /**
     * @internal Called by PHP with what was printed.
     */
    public static function toStderr(string $printed): string
    {
        self::log($printed);

        return '';
    }

    public static function log(string $text): void
    {
        // Not the STDERR constant: the application may have closed it. A dead server's pipe is no reason to fail.
        @\file_put_contents('php://stderr', $text);
    }
}
