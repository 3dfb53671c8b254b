/** Real sockets: the package `ws` at both ends, and a server that behaves like RoadRunner. */

import assert from 'node:assert/strict';
import {once} from 'node:events';
import type {AddressInfo} from 'node:net';
import {afterEach, test} from 'node:test';
import WebSocket, {WebSocketServer} from 'ws';
import {connect, type Client, type Options, type StateChange} from '../src/index.js';

// The compiler sees that both are what the option asks for.
export const BROWSER: Options = {WebSocket: globalThis.WebSocket};
const OPTIONS: Options = {WebSocket, delay: {min: 1, max: 5}};

let server: WebSocketServer;
let client: Client;

afterEach(async () => {
  client.close();
  for (const socket of server.clients) socket.terminate();
  server.close();
});

/** Answers each command, and publishes its name to each topic that is joined. */
async function start(port = 0): Promise<number> {
  server = new WebSocketServer({port, host: '127.0.0.1'});
  server.on('connection', (socket) => {
    socket.on('message', (text) => {
      const {command, topics} = JSON.parse(String(text)) as {command: string; topics: string[]};
      socket.send(JSON.stringify({topic: `@${command}`, payload: topics}));
      for (const topic of topics) socket.send(JSON.stringify({topic, payload: `"hello ${topic}"`}));
    });
  });
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** Wait for a change of the client's state. */
function becomes(state: string): Promise<StateChange> {
  return new Promise((resolve) => {
    const off = client.on('state', (change) => {
      if (change.state !== state) return;
      off();
      resolve(change);
    });
  });
}

async function next(topic: AsyncIterable<unknown>): Promise<unknown> {
  for await (const message of topic) return message;
  return undefined;
}

test('messages arrive, and again after the server has sent away everybody, and was started anew', async () => {
  const port = await start();
  client = connect(`ws://127.0.0.1:${port}`, OPTIONS);
  const topic = client.topic('news');
  assert.equal(await next(topic), 'hello news');
  for (const code of [1013, 1001, 4000]) {
    const waiting = becomes('waiting');
    const message = next(topic);
    for (const socket of server.clients) socket.close(code);
    assert.equal((await waiting).code, code);
    assert.equal(await message, 'hello news');
  }
  const waiting = becomes('waiting');
  for (const socket of server.clients) socket.terminate();
  server.close();
  assert.equal((await waiting).code, 1006);
  const message = next(topic);
  await start(port);
  assert.equal(await message, 'hello news');
});

test('it stays away when it is told to', async () => {
  client = connect(`ws://127.0.0.1:${await start()}`, OPTIONS);
  await becomes('connected');
  const closed = becomes('closed');
  for (const socket of server.clients) socket.close(4500, 'banned');
  const {code, reason} = await closed;
  assert.deepEqual([code, reason], [4500, 'banned']);
});

test('it can be closed at any moment', async () => {
  const port = await start();
  for (let time = 0; time < 3; time++) {
    client = connect(`ws://127.0.0.1:${port}`, OPTIONS);
    for (let turn = 0; turn < time; turn++) await new Promise(setImmediate);
    client.close();  // while it connects, or just after
  }
  assert.equal(client.state, 'closed');
});
