<?php

declare(strict_types=1);

require __DIR__ . '/../autoload.php';
require __DIR__ . '/Support/Lines.php';
require __DIR__ . '/Support/ScriptedServer.php';
require __DIR__ . '/Support/WorkerProcess.php';
