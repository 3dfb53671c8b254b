// The side of PHP of peers in JavaScript: goridge RPC. Frames are trusted.
import {createServer} from 'node:net';
import {crc32} from 'node:zlib';

const HEADER = 20; // five words: twelve bytes, then sequence number and length of the method name
const OK = Buffer.from([0x08, 0x01]);

function readLength(bytes, at) {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return [value, at];
  }
}

// The protobuf request: messages (field 1) with topics (field 2) and one payload (field 3).
function readMessages(body, publish) {
  for (let at = 0; at < body.length; ) {
    const [size, start] = readLength(body, at + 1);
    const end = start + size;
    const topics = [];
    let payload = '';
    for (at = start; at < end; ) {
      const field = body[at] >> 3;
      const [length, value] = readLength(body, at + 1);
      at = value + length;
      const text = body.toString('utf8', value, at);
      if (field === 2) topics.push(text);
      else if (field === 3) payload = text;
    }
    for (const topic of topics) publish(topic, payload);
  }
}

function reply(call, method) {
  const frame = Buffer.alloc(HEADER + method + OK.length);
  call.copy(frame, 0, 0, HEADER + method);
  frame.writeUInt32LE(method + OK.length, 2);
  frame.writeUInt32LE(crc32(frame.subarray(0, 6)), 6);
  OK.copy(frame, HEADER + method);
  return frame;
}

/** Listen for publishers; `publish(topic, payload)` is called for each message. */
export function listen(port, publish) {
  createServer((socket) => {
    let rest = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      let bytes = rest.length ? Buffer.concat([rest, chunk]) : chunk;
      const replies = [];
      while (bytes.length >= HEADER) {
        const size = HEADER + bytes.readUInt32LE(2);
        if (bytes.length < size) break;
        const method = bytes.readUInt32LE(16);
        readMessages(bytes.subarray(HEADER + method, size), publish);
        replies.push(reply(bytes, method));
        bytes = bytes.subarray(size);
      }
      rest = Buffer.from(bytes);
      if (replies.length) socket.write(Buffer.concat(replies));
    });
  }).listen(port, '127.0.0.1');
}
