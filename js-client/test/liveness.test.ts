/** A connection whose other end has vanished is found out, one whose timers are throttled is not taken for that. */

import assert from 'node:assert/strict';
import {test} from 'node:test';
import {FakeSocket} from './support/fake.js';
import {clock, connected, eachTestHasAClock, turn} from './support/scene.js';

eachTestHasAClock();

const ignore = () => {};

test('a quiet server is asked for a word, and one that gives none is left', async () => {
  const {client: one, socket} = await connected();
  await clock.pass(25_000);
  assert.deepEqual([socket.pings, one.state], [1, 'connected']);
  socket.onCommand = ignore;
  await clock.pass(34_999);
  assert.equal(one.state, 'connected');
  await clock.pass(1);
  assert.deepEqual([one.state, one.reason], ['waiting', 'the server does not answer']);
});

test('a server that says something is not asked', async () => {
  const {socket} = await connected();
  for (let time = 0; time < 100; time++) {
    await clock.pass(10_000);
    socket.push('elsewhere', '');
  }
  assert.equal(socket.pings, 0);
});

test('anything that arrives is an answer', async () => {
  const {client: one, socket} = await connected();
  socket.onCommand = ignore;
  await clock.pass(30_000);
  socket.push('elsewhere', '');
  await clock.pass(20_000);
  assert.equal(one.state, 'connected');
});

test('joins that wait for PHP give the server more time', async () => {
  const {client: one, socket} = await connected();
  socket.onCommand = ignore;
  one.topic('slow');
  await clock.pass(54_999);
  assert.equal(one.state, 'connected');
  await clock.pass(1);
  assert.equal(one.state, 'waiting');
});

test('a tab whose timers come once a minute keeps its connection', async () => {
  const {client: one, socket} = await connected();
  clock.grid = 60_000;
  await clock.pass(3_600_000);
  assert.equal(one.state, 'connected');
  assert.ok(socket.pings > 20);
  assert.equal(FakeSocket.all.length, 1);
});

test('and finds out all the same when the server has vanished', async () => {
  const {client: one, socket} = await connected();
  socket.onCommand = ignore;
  clock.grid = 60_000;
  await clock.pass(240_000);
  assert.notEqual(one.state, 'connected');
});

test('after a sleep of the machine an answer that is already here is read first', async () => {
  const {client: one, socket} = await connected();
  socket.onCommand = ignore;
  await clock.pass(25_000);
  assert.equal(socket.pings, 1);
  clock.sleep(8 * 3_600_000);  // the timer is due; the answer is behind it
  await clock.pass(0);
  assert.equal(one.state, 'connected');
  socket.say({topic: '@leave', payload: [], id: 1});
  await clock.pass(20_000);
  assert.equal(one.state, 'connected');
});

for (const ping of [0, Infinity, 2 ** 40]) {
  test(`it can be turned off: ${ping}`, async () => {
    const {socket} = await connected({}, {ping});
    await clock.pass(10_000);
    assert.equal(socket.pings, 0);
  });
}

test('a ping is a command that every server answers and that changes nothing', async () => {
  const {socket} = await connected();
  await clock.pass(25_000);
  const [ping] = socket.sent;
  assert.deepEqual([ping?.command, ping?.topics], ['leave', []]);
  await turn();
});
