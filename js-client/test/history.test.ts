/** Positions: what is asked for, what is told. */

import assert from 'node:assert/strict';
import {test} from 'node:test';
import type {Joined, Lost, Recovered, Topic} from '../src/index.js';
import {FakeSocket, serve, type Manners} from './support/fake.js';
import {client, collect, comesBack, connected, eachTestHasAClock, nextAttempt, turn} from './support/scene.js';

eachTestHasAClock();

const found = (pos: string, more: object = {}): Manners => ({history: () => ({pos, recovered: true, count: 0, ...more})});

/** All that happens to a topic, in order. */
function events(topic: Topic): unknown[] {
  const all: unknown[] = [];
  topic.on('joined', ({again, count}: Joined) => all.push(`joined ${again ? 'again' : 'first'} ${count}`));
  topic.on('recovered', ({count}: Recovered) => all.push(`recovered ${count}`));
  topic.on('lost', ({reason}: Lost) => all.push(`lost ${reason}`));
  topic.on('message', (message, {position}) => all.push([message, position]));
  return all;
}

test('the answer to a join and each message move the position, before a listener runs', async () => {
  const {client: one, socket} = await connected(found('e.0'));
  const topic = one.topic('news', {history: true});
  const positions = collect((listener) => topic.on('message', () => listener(topic.position)));
  await turn();
  assert.deepEqual([topic.position, socket.commands[0]?.history], ['e.0', {news: true}]);
  socket.push('news', '1', 'e.1');
  socket.push('news', '2', 'e.2');
  socket.push('news', '3');  // published by somebody who gives no positions
  assert.deepEqual([positions, topic.position], [['e.1', 'e.2', 'e.2'], 'e.2']);
});

test('a reconnect asks for what was missed by one join, and tells that it was recovered before it comes', async () => {
  const {client: one} = await connected(found('e.0'));
  const topic = one.topic('news', {history: true});
  one.topic('other');
  one.topic('third', {history: true});
  const all = events(topic);
  await turn();
  FakeSocket.last.push('news', '1', 'e.1');
  const socket = await comesBack(found('e.1', {count: 2}));
  assert.deepEqual(socket.commands.map(({topics, history}) => [topics, history]), [
    [['news', 'other', 'third'], {news: 'e.1', third: 'e.0'}],
  ]);
  socket.push('news', '2', 'e.2');
  socket.push('news', '3', 'e.3');
  assert.deepEqual(all, ['joined first 0', [1, 'e.1'], 'recovered 2', 'joined again 2', [2, 'e.2'], [3, 'e.3']]);
});

for (const reason of ['epoch', 'trimmed', 'limit', 'ahead']) {
  test(`what cannot be recovered (${reason}) is told as lost, and it goes on from there`, async () => {
    const {client: one} = await connected(found('e.7'));
    const topic = one.topic('news', {history: true});
    await turn();
    const all = events(topic);
    const socket = await comesBack(found('f.0', {recovered: false, reason}));
    socket.push('news', '1', 'f.1');
    assert.deepEqual(all, [`lost ${reason}`, 'joined again 0', [1, 'f.1']]);
    assert.equal((await comesBack()).commands[0]?.history?.['news'], 'f.1');
  });
}

test('a history that is off for a while leaves no old position, which would bring messages twice', async () => {
  const off: Manners = {history: () => ({recovered: false, count: 0, reason: 'off'})};
  const {client: one} = await connected(found('e.1'));
  const topic = one.topic('news', {history: true});
  await turn();
  const all = events(topic);
  const socket = await comesBack(off);
  socket.push('news', '1');
  assert.equal(topic.position, null);
  const again = await comesBack(found('e.5'));
  assert.deepEqual(again.commands[0]?.history, {news: true});
  assert.deepEqual(all, ['lost off', 'joined again 0', [1, null], 'lost off', 'joined again 0']);
});

test('a connection that is lost before its join was answered asks for the same', async () => {
  const {client: one} = await connected(found('e.1'));
  one.topic('news', {history: true});
  await turn();
  FakeSocket.last.onCommand = () => {};
  for (let time = 0; time < 3; time++) {
    const socket = await comesBack(found('e.1'));
    assert.equal(socket.commands[0]?.history?.['news'], 'e.1');
  }
});

test('the newest n are asked for once, then positions', async () => {
  const {client: one, socket} = await connected(found('e.5', {count: 2}));
  const all = events(one.topic('news', {history: {last: 2}}));
  await turn();
  assert.deepEqual(socket.commands[0]?.history, {news: {last: 2}});
  assert.deepEqual(all, ['joined first 2']);
  assert.deepEqual((await comesBack(found('e.5'))).commands[0]?.history, {news: 'e.5'});
});

test('a position from elsewhere is recovered from with the first join', async () => {
  const {client: one} = await connected(found('e.3', {count: 4}));
  const all = events(one.topic('news', {history: 'e.3'}));
  const {client: other} = await connected(found('f.0', {recovered: false, reason: 'epoch'}));
  const more = events(other.topic('news', {history: 'e.3'}));
  await turn();
  assert.deepEqual([all, more], [['recovered 4', 'joined first 4'], ['lost epoch', 'joined first 0']]);
});

test('a position from elsewhere is asked for once: what came since then must not come again', async () => {
  const {client: one} = await connected(found('e.3', {count: 1}));
  const all = events(one.topic('news', {history: 'e.2'}));
  await turn();
  await comesBack({history: () => ({recovered: false, count: 0, reason: 'off'})});
  const socket = await comesBack(found('e.9', {count: 0}));
  assert.deepEqual(socket.commands[0]?.history, {news: true});
  assert.deepEqual(all, ['recovered 1', 'joined first 1', 'lost off', 'joined again 0', 'lost off', 'joined again 0']);
});

for (const [last, reason] of [[1, 'off'], [500, 'limit'], [-1, 'epoch']] as const) {
  test(`the newest ${last} that the server does not give, or not all of them (${reason}), are told as lost`, async () => {
    const {client: one} = await connected(found('e.9', {recovered: false, reason}));
    const all = events(one.topic('news', {history: {last}}));
    await turn();
    assert.deepEqual(all, [`lost ${reason}`, 'joined first 0']);
  });
}

test('a topic that asks for its history only later gets positions, and loses nothing', async () => {
  const {client: one, socket} = await connected(found('e.3'));
  const topic = one.topic('news');
  const all = events(topic);
  await turn();
  assert.equal(one.topic('news', {history: true}), topic);
  await turn();
  assert.deepEqual(socket.commands.map(({history}) => history), [undefined, {news: true}]);
  assert.deepEqual([all, topic.position], [['joined first 0'], 'e.3']);
});

test('a topic that asks only later for what came since a position is told what became of that', async () => {
  for (const [more, word] of [[{count: 2}, 'recovered 2'], [{recovered: false, reason: 'trimmed'}, 'lost trimmed']] as const) {
    const {client: one, socket} = await connected(found('e.3', more));
    const topic = one.topic('news');
    const all = events(topic);
    await turn();
    one.topic('news', {history: 'e.1'});
    await turn();
    assert.deepEqual(socket.commands.map(({history}) => history), [undefined, {news: 'e.1'}]);
    assert.deepEqual([all, topic.position], [['joined first 0', word], 'e.3']);
  }
});

test('a topic that does not ask for its history has no position, though its messages may', async () => {
  const {client: one, socket} = await connected(found('e.0'));
  const topic = one.topic('plain');
  one.topic('news', {history: true});
  await turn();
  socket.push('plain', '1', 'e.1');
  assert.equal(topic.position, null);
  assert.deepEqual((await comesBack(found('e.1'))).commands[0]?.history, {news: 'e.0'});
});

test('what comes before the answer to a join comes again with it, and is passed over', async () => {
  const {client: one} = await connected(found('e.1'));
  const topic = one.topic('user.42', {history: true});
  await turn();
  const all = events(topic);
  FakeSocket.last.end();
  await nextAttempt();
  FakeSocket.last.open();
  await turn();
  FakeSocket.last.push('user.42', '3', 'e.3');  // PHP has had the connection join it
  assert.equal(topic.position, 'e.1');
  FakeSocket.last.say({topic: '@join', payload: ['user.42'], id: 1, history: {'user.42': {pos: 'e.1', recovered: true, count: 2}}});
  FakeSocket.last.push('user.42', '2', 'e.2');
  FakeSocket.last.push('user.42', '3', 'e.3');
  assert.deepEqual(all, ['recovered 2', 'joined again 2', [2, 'e.2'], [3, 'e.3']]);
});

test('an empty position is none', async () => {
  const {client: one, socket} = await connected(found('e.1'));
  one.topic('news', {history: ''});
  await turn();
  assert.deepEqual(socket.commands[0]?.history, {news: true});
});

test('false is no wish, and is in the way of no later one', async () => {
  const {client: one, socket} = await connected(found('e.1'));
  one.topic('news', {history: false as unknown as true});  // of a page without types
  one.topic('news', {history: true});
  await turn();
  assert.deepEqual(socket.commands[0]?.history, {news: true});
});

test('a gap that the server tells is told of the topics that it names', async () => {
  const {client: one, socket} = await connected(found('e.0'));
  const topics = ['a', 'b'].map((name) => one.topic(name, {history: true}));
  const [first, second] = topics.map(events);
  await turn();
  socket.say({topic: '#gap', payload: ['b', 'unknown'], id: ''});
  assert.deepEqual([first, second], [['joined first 0'], ['joined first 0', 'lost gap']]);
});

test('topics of a batch that is refused ask for their history again, each for its own', async () => {
  const manners: Manners = {...found('e.4'), refused: new Set(['b'])};
  const {client: one, socket} = await connected(manners);
  one.topic('a', {history: 'e.1'});
  one.topic('b', {history: 'e.2'});
  one.topic('c', {history: 'e.3'});
  for (let round = 0; round < 5; round++) await turn();
  assert.deepEqual(socket.commands.map(({topics, history}) => [topics.join(''), history]), [
    ['abc', {a: 'e.1', b: 'e.2', c: 'e.3'}],
    ['ab', {a: 'e.1', b: 'e.2'}],
    ['c', {c: 'e.3'}],
    ['a', {a: 'e.1'}],
    ['b', {b: 'e.2'}],
  ]);
});

test('what a listener of a loss does counts: leaving there ends it', async () => {
  const {client: one} = await connected(found('e.1'));
  const topic = one.topic('news', {history: true});
  await turn();
  topic.onGap(() => topic.leave());
  const socket = await comesBack(found('f.0', {recovered: false, reason: 'epoch'}));
  await turn();
  assert.deepEqual(socket.commands.map(({command}) => command), ['join', 'leave']);
});

test('a server that only says yes is enough', async () => {
  const one = client();
  const topic = one.topic('news', {history: true});
  serve(FakeSocket.last, {plain: true});
  await turn();
  assert.deepEqual([topic.state, topic.position], ['joined', null]);
});
