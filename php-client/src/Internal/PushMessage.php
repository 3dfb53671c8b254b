<?php

declare(strict_types=1);

namespace RRPyWs\Internal;

use RRPyWs\Exception\ProtocolException;
use RRPyWs\History;
use RRPyWs\HistoryMessage;
use RRPyWs\Published;

/**
 * The protobuf messages of the service `push`; the server's schema is proto/push.proto.
 */
final class PushMessage
{
    private const TEXT_1 = 1 << 3 | Protobuf::BYTES;
    private const TEXT_2 = 2 << 3 | Protobuf::BYTES;
    private const TEXT_4 = 4 << 3 | Protobuf::BYTES;
    private const NUMBER_3 = 3 << 3 | Protobuf::NUMBER;

    public static function publish(Publication $publication, string $broker): string
    {
        $topics = Protobuf::list(2, $publication->topics);
        $options = Protobuf::list(4, $publication->exclude);
        $request = '';
        foreach ($publication->messages as $index => $message) {
            $request .= Protobuf::bytes(1, $topics
                . Protobuf::bytes(3, $message)
                . $options
                . Protobuf::text(5, $publication->keyOf($index))
                . Protobuf::number(6, $publication->skipHistory));
        }

        return $request . Protobuf::text(2, $broker);
    }

    /**
     * @return list<Published>
     * @throws ProtocolException
     */
    public static function published(string $response): array
    {
        $published = [];
        foreach (Protobuf::fields($response) as $key => $message) {
            if ($key === self::TEXT_1) {
                $fields = self::fields($message);
                $published[] = new Published(
                    $fields[self::TEXT_1] ?? '',
                    self::position($fields[self::TEXT_2] ?? ''),
                    ($fields[self::NUMBER_3] ?? 0) !== 0,
                );
            }
        }

        return $published;
    }

    public static function history(Query $query, string $broker): string
    {
        return Protobuf::text(1, $query->topic)
            . Protobuf::text(2, $query->since ?? '')
            . Protobuf::number(3, $query->limit ?? 0)
            . Protobuf::number(4, $query->reverse)
            . Protobuf::text(5, $broker);
    }

    /**
     * @throws ProtocolException
     */
    public static function page(string $response): History
    {
        $messages = [];
        foreach (Protobuf::fields($response) as $key => $message) {
            if ($key === self::TEXT_1) {
                $messages[] = self::message($message);
            }
        }
        $fields = self::fields($response);

        return new History(
            $messages,
            self::position($fields[self::TEXT_2] ?? ''),
            ($fields[self::NUMBER_3] ?? 0) !== 0,
            $fields[self::TEXT_4] ?? '',
        );
    }

    public static function clear(string $topic, string $broker): string
    {
        return Protobuf::text(1, $topic) . Protobuf::text(2, $broker);
    }

    /**
     * @throws ProtocolException
     */
    public static function cleared(string $response): ?string
    {
        return self::position(self::fields($response)[self::TEXT_1] ?? '');
    }

    private static function message(string $message): HistoryMessage
    {
        $fields = self::fields($message);
        $exclude = [];
        foreach (Protobuf::fields($message) as $key => $id) {
            if ($key === self::TEXT_4) {
                $exclude[] = $id;
            }
        }

        return new HistoryMessage(
            $fields[self::TEXT_1] ?? '',
            $fields[self::TEXT_2] ?? '',
            $fields[self::NUMBER_3] ?? 0,
            $exclude,
        );
    }

    /**
     * @return array<int, int|string> Key to value; of several equal ones the last.
     */
    private static function fields(string $message): array
    {
        return \iterator_to_array(Protobuf::fields($message));
    }

    private static function position(string $position): ?string
    {
        return $position === '' ? null : $position;
    }
}
