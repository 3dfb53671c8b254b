<?php

// Uses the fakes where there is no PHPUnit; prints what is thrown.

declare(strict_types=1);

use RRPyWs\Testing\FakeBroadcast;
use RRPyWs\Testing\FakePush;

require __DIR__ . '/../../autoload.php';

foreach ([new FakeBroadcast(), new FakePush()] as $fake) {
    $fake->assertNothingPublished();
    $fake->publish('news', 'hello');
    $fake->assertPublishedTo('news', 'hello');
    try {
        $fake->assertNothingPublished();
    } catch (AssertionError $e) {
        echo $e->getMessage(), "\n";
    }
}
