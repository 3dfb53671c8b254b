<?php

declare(strict_types=1);

// For use without Composer: require this file once.
spl_autoload_register(static function (string $class): void {
    if (str_starts_with($class, 'RRPyWs\\')) {
        $file = __DIR__ . '/src/' . strtr(substr($class, strlen('RRPyWs\\')), '\\', '/') . '.php';
        if (is_file($file)) {
            require $file;
        }
    }
});
