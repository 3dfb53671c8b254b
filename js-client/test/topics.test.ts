/** Joins, leaves, messages. */

import assert from 'node:assert/strict';
import {test} from 'node:test';
import type {Joined, Lost, Push, Refused} from '../src/index.js';
import {FakeSocket, serve, type Manners} from './support/fake.js';
import {client, clock, collect, comesBack, connected, eachTestHasAClock, nextAttempt, turn} from './support/scene.js';

eachTestHasAClock();

const said = (socket: FakeSocket) => socket.commands.map(({command, topics}) => `${command} ${topics.join(' ')}`);
const names = (count: number) => Array.from({length: count}, (_, at) => `topic.${at}`);

test('topics of one turn are joined by one command, before the connection and on it', async () => {
  const one = client();
  one.topic('a');
  one.topic('b');
  const socket = serve(FakeSocket.last);
  await turn();
  for (const name of ['c', 'd', 'a', 'b']) one.topic(name);
  await turn();
  assert.deepEqual(said(socket), ['join a b', 'join c d']);
});

test('a message is the JSON that was published, or the text', async () => {
  const {client: one, socket} = await connected();
  const topic = one.topic<unknown>('news');
  const got: [unknown, Push][] = [];
  topic.on('message', (message, push) => got.push([message, push]));
  for (const payload of ['{"id":1}', 'hello', '', '7']) socket.push('news', payload);
  assert.deepEqual(got.map(([message]) => message), [{id: 1}, 'hello', '', 7]);
  assert.deepEqual(got[0]?.[1], {topic: 'news', payload: '{"id":1}', position: null});
  const raw = collect<string>((listener) => one.topic<string>('raw', {decode: (text) => text}).on('message', listener));
  socket.push('raw', '{"id":1}');
  assert.deepEqual(raw, ['{"id":1}']);
});

test('the same listener is there once, and can be taken away', async () => {
  const {client: one, socket} = await connected();
  let calls = 0;
  const listener = () => { calls++; };
  const topic = one.topic('news');
  const off = topic.on('message', listener);
  one.topic('news').on('message', listener);
  assert.equal(one.topic('news'), topic);
  socket.push('news', '1');
  assert.equal(calls, 1);
  off();
  off();
  socket.push('news', '2');
  assert.equal(calls, 1);
  await turn();
  assert.deepEqual(said(socket), ['join news']);
});

test('a listener that is taken away by another one hears no more, not even of this message', async () => {
  const {client: one, socket} = await connected();
  const topic = one.topic('news');
  const heard: string[] = [];
  topic.on('message', () => { off(); });
  const off = topic.on('message', () => heard.push('taken away'));
  topic.on('message', () => { topic.leave(); });
  topic.on('message', () => heard.push('left'));
  socket.push('news', '1');
  assert.deepEqual(heard, []);
});

test('a subprotocol is agreed to in which payloads are values: they are the messages, and no text is taken for more', async () => {
  const one = client({protocols: ['rr.json', 'a-token']});
  const socket = FakeSocket.last;
  socket.protocol = 'rr.json';
  serve(socket);
  const names = ['news', '@join', '#gap', '__proto__'];
  const got: [string, unknown, string][] = [];
  for (const name of names) {
    one.topic(name).on('message', (message, {payload}) => got.push([name, message, payload]));
  }
  const raw = collect<string>((listener) => one.topic<string>('raw', {decode: (text) => `<${text}>`}).on('message', listener));
  await turn();
  assert.deepEqual(names.map((name) => one.topic(name).state), names.map(() => 'joined'));
  const values: unknown[] = [{id: 1}, null, [], ['news'], '7', 7, 'text'];
  for (const name of names) for (const payload of values) socket.say(`{"topic":${JSON.stringify(name)},"payload":${JSON.stringify(payload)}}`);
  assert.deepEqual(got, names.flatMap((name) => values.map(
    (value) => [name, value, typeof value === 'string' ? value : JSON.stringify(value)],
  )));
  socket.say({topic: 'raw', payload: 'text'});
  socket.say({topic: 'raw', payload: [1]});
  assert.deepEqual(raw, ['<text>', '<[1]>']);
});

test('a listener that fails is reported, and neither stops the others nor the client', async () => {
  const {client: one, socket} = await connected();
  const topic = one.topic('news', {history: true});
  const reported: unknown[] = [];
  const {queueMicrotask: real} = globalThis;
  // What is thrown there is an uncaught error for browsers and Node.js; the test runner would fail of it.
  globalThis.queueMicrotask = (call) => real(() => {
    try {
      call();
    } catch (error) {
      reported.push((error as Error).message);
    }
  });
  try {
    topic.on('message', () => { throw new Error('mine'); });
    const messages = collect((listener) => topic.on('message', listener));
    await turn();
    socket.push('news', '1', 'e.1');
    await turn();
    assert.deepEqual([messages, reported, topic.position], [[1], ['mine'], 'e.1']);
  } finally {
    globalThis.queueMicrotask = real;
  }
});

test('a topic that is left is left once, and ends', async () => {
  const {client: one, socket} = await connected();
  const topic = one.topic('news');
  const messages = collect((listener) => topic.on('message', listener));
  await turn();
  topic.leave();
  topic.leave();
  socket.push('news', '1');
  await turn();
  assert.deepEqual([said(socket), messages, topic.state], [['join news', 'leave news'], [], 'left']);
  await turn();
  assert.deepEqual(said(await comesBack()), []);
});

test('a topic that is left and joined again is another one, and the last word counts', async () => {
  const {client: one, socket} = await connected();
  const first = one.topic('news');
  await turn();
  first.leave();
  const second = one.topic('news');
  assert.notEqual(first, second);
  const joined = collect<Joined>((listener) => second.on('joined', listener));
  await turn();
  await turn();
  assert.deepEqual(said(socket), ['join news', 'leave news', 'join news']);
  assert.deepEqual([joined, second.state], [[{again: false, count: 0}], 'joined']);
});

test('a topic that is left and joined again gets nothing of before: between the two something may be missing', async () => {
  const {client: one, socket} = await connected();
  one.topic('news');
  await turn();
  socket.onCommand = () => {};
  one.topic('news').leave();
  const got = collect<unknown>((listener) => one.topic('news').on('message', listener));
  await turn();
  socket.push('news', '1');  // before the server has read the leave; 2 is published behind it
  serve(socket).say({topic: '@leave', payload: ['news'], id: socket.sent.at(-1)?.id});
  await turn();
  socket.push('news', '3');
  assert.deepEqual(got, [3]);
});

test('what is left while its join is under way is left when that is answered', async () => {
  const {client: one, socket} = await connected();
  socket.onCommand = () => {};
  const topic = one.topic('news');
  await turn();
  topic.leave();
  await turn();
  assert.deepEqual(said(socket), ['join news']);
  socket.say({topic: '@join', payload: ['news'], id: 1});
  await turn();
  assert.deepEqual(said(socket), ['join news', 'leave news']);
});

test('what is left before anything was sent costs nothing', async () => {
  const {client: one, socket} = await connected();
  one.topic('news').leave();
  await turn();
  assert.deepEqual(said(socket), []);
});

for (const reason of ['refused with status 403', 'PHP gave no answer']) {
  test(`a topic that may not be joined again for its history stays joined, and can be left: ${reason}`, async () => {
    const {client: one, socket} = await connected();
    const topic = one.topic('news');
    await turn();
    serve(socket, {refused: new Set(['news']), reason});
    one.topic('news', {history: true});
    await turn();
    const got = collect<unknown>((listener) => topic.on('message', listener));
    socket.push('news', '1');
    assert.deepEqual([topic.state, got], ['joined', [1]]);
    topic.leave();
    await clock.pass(60_000);
    assert.deepEqual(said(socket), ['join news', 'join news', 'leave news']);
  });
}

test('a leave that fails is no reason to ask again and again', async () => {
  const {client: one, socket} = await connected();
  const topic = one.topic('news');
  await turn();
  socket.onCommand = ({command, topics, id}) => socket.say({topic: `#${command}`, payload: topics, id, reason: 'the broker failed'});
  topic.leave();
  await clock.pass(10_000);
  assert.deepEqual(said(socket), ['join news', 'leave news']);
});

// Refusals

for (const plain of [false, true]) {
  test(`one topic that is refused does not keep the others out${plain ? ', at RoadRunner, too' : ''}`, async () => {
    const manners: Manners = {refused: new Set(['topic.5']), plain};
    const {client: one, socket} = await connected(manners);
    const refused = collect<Refused>((listener) => one.topic('topic.5').on('refused', listener));
    const topics = names(16).map((name) => one.topic(name));
    for (let round = 0; round < 10; round++) await turn();
    assert.deepEqual(topics.map(({state}) => state), names(16).map((name) => (name === 'topic.5' ? 'refused' : 'joined')));
    assert.deepEqual(refused, [{reason: plain ? '' : 'refused with status 403', temporary: false}]);
    assert.equal(socket.commands.length, 1 + 2 * 4);
  });
}

test('a topic that was refused is asked for again on the next connection, behind the others', async () => {
  const {client: one} = await connected({refused: new Set(['b'])});
  const topics = ['a', 'b', 'c'].map((name) => one.topic(name));
  for (let round = 0; round < 5; round++) await turn();
  const socket = await comesBack();
  assert.deepEqual(said(socket), ['join a c', 'join b']);
  assert.deepEqual(topics.map(({state}) => state), ['joined', 'joined', 'joined']);
});

test('a join that becomes refused at a reconnect is told, and the others go on', async () => {
  const {client: one} = await connected();
  const topics = ['a', 'b'].map((name) => one.topic(name));
  const refused = collect<Refused>((listener) => one.on('refused', listener));
  await turn();
  assert.deepEqual(topics.map(({state}) => state), ['joined', 'joined']);
  FakeSocket.last.end();
  assert.deepEqual(topics.map(({state}) => state), ['joining', 'joining']);
  await clock.pass(750);
  const socket = serve(FakeSocket.last, {refused: new Set(['b'])});
  await turn();
  assert.deepEqual(topics.map(({state}) => state), ['joined', 'refused']);
  assert.equal(refused.length, 1);
  await clock.pass(60_000);
  assert.equal(socket.commands.length, 3);
});

test('what is refused because the server cannot decide is asked for again, later', async () => {
  const {client: one, socket} = await connected({refused: new Set(['a']), reason: 'too many joins wait for an answer, try again later'});
  const topics = ['a', 'b'].map((name) => one.topic(name));
  const refused = collect<Refused>((listener) => topics[0]?.on('refused', listener));
  await turn();
  assert.deepEqual([topics.map(({state}) => state), refused[0]?.temporary], [['joining', 'joining'], true]);
  serve(socket);
  await clock.pass(750);
  assert.deepEqual(said(socket), ['join a b', 'join a b']);
  assert.deepEqual(topics.map(({state}) => state), ['joined', 'joined']);
});

test('a topic at which PHP fails does not keep the others out', async () => {
  const {client: one} = await connected({refused: new Set(['topic.3']), reason: 'PHP gave no answer'});
  const topics = names(8).map((name) => one.topic(name));
  await clock.pass(20_000);
  const out = topics.filter(({state}) => state !== 'joined').map(({name}) => name);
  assert.deepEqual(out, ['topic.3']);
});

test('of a join that is tried again later only what is still wanted is joined', async () => {
  const {client: one, socket} = await connected({refused: new Set(['a']), reason: 'PHP gave no answer'});
  const topics = ['a', 'b', 'c'].map((name) => one.topic(name));
  await turn();
  topics.forEach((topic) => topic.leave());
  one.topic('b');
  serve(socket);
  await clock.pass(5_000);
  assert.deepEqual(said(socket), ['join a b c', 'join b']);
});

test('a refused topic can be left and asked for anew', async () => {
  const {client: one, socket} = await connected({refused: new Set(['a'])});
  one.topic('a');
  await turn();
  one.topic('a').leave();
  serve(socket);
  const again = one.topic('a');
  await turn();
  assert.equal(again.state, 'joined');
});

// Many, and strange ones

test('1,000 topics are joined, lost and joined again by few commands', async () => {
  const {client: one} = await connected();
  const topics = names(1000).map((name) => one.topic(name));
  const count = async (socket: FakeSocket) => {
    await turn();
    assert.ok(topics.every(({state}) => state === 'joined'));
    assert.equal(socket.commands.flatMap(({topics: some}) => some).length, 1000);
    assert.ok(socket.commands.every((command) => JSON.stringify(command).length < 65536));
    return socket.commands.length;
  };
  assert.ok((await count(FakeSocket.last)) <= 3);
  assert.ok((await count(await comesBack())) <= 3);
});

test('a command stays below what a server reads, with long names and positions, too', async () => {
  const {client: one, socket} = await connected({history: () => ({pos: 'p'.repeat(64), recovered: true, count: 0})});
  for (const name of names(300)) one.topic(name + 'ü'.repeat(400), {history: true});
  await turn();
  const again = await comesBack({history: () => ({pos: 'p'.repeat(64), recovered: true, count: 0})});
  for (const command of [...socket.commands, ...again.commands]) {
    assert.ok(new TextEncoder().encode(JSON.stringify(command)).length < 65536);
  }
  assert.equal(again.commands.flatMap(({topics}) => topics).length, 300);
});

test('topics may have the names of anything', async () => {
  const found = (topic: string) => ({pos: `at.${topic}`, recovered: true, count: 0});
  const {client: one, socket} = await connected({history: found});
  const strange = ['__proto__', 'constructor', 'toString', 'hasOwnProperty', '@join', '#gap', '', ' ', '\u{1f600}'];
  const topics = strange.map((name) => one.topic<string>(name, {history: true}));
  const messages = collect<string>((listener) => topics.forEach((topic) => topic.on('message', listener)));
  await turn();
  assert.deepEqual(Object.keys(socket.commands[0]?.history ?? {}).sort(), [...strange].sort());
  assert.deepEqual(topics.map(({position}) => position), strange.map((name) => `at.${name}`));
  for (const name of strange) socket.push(name, `to ${name}`);
  assert.deepEqual(messages, strange.map((name) => `to ${name}`));
});

test('a topic without an answer about its history has none, whatever its name', async () => {
  const {client: one} = await connected({history: () => ({})});
  const topic = one.topic('constructor', {history: true});
  const other = one.topic('__proto__');
  await turn();
  assert.deepEqual([topic.state, topic.position, other.position], ['joined', null, null]);
});

test('what no server of ours says is passed over', async () => {
  const {client: one, socket} = await connected();
  const topic = one.topic('news');
  await turn();
  for (const frame of ['', 'null', '[]', '7', '"text"', '{"topic":1}', '{"topic":"@other","payload":[]}', '{"topic":"@join"}',
    '{"topic":"@join","payload":null,"id":99}', '{"topic":"#gap","payload":null}', '{"topic":"#error","payload":null,"reason":"x"}', '{']) {
    socket.say(frame);
  }
  assert.deepEqual([one.state, topic.state], ['connected', 'joined']);
});

test('a listener may end the connection in the middle of an answer', async () => {
  for (const manners of [{}, {refused: new Set(['a', 'b'])}, {refused: new Set(['a']), reason: 'PHP gave no answer'}]) {
    FakeSocket.all = [];
    const {client: one} = await connected(manners);
    let isFirst = true;
    const reconnect = () => {
      if (isFirst) one.reconnect();
      isFirst = false;
    };
    const topics = ['a', 'b', 'c'].map((name) => one.topic(name));
    for (const topic of topics) {
      topic.on('joined', reconnect);
      topic.on('refused', reconnect);
    }
    for (let round = 0; round < 5; round++) await turn();
    assert.deepEqual(topics.filter(({state}) => state === 'joined'), []);
    assert.deepEqual(FakeSocket.all.map(({closedWith}) => closedWith), [1000, undefined]);
    const losses = collect((listener) => topics[2]?.on('joined', listener));
    serve(FakeSocket.last);
    await turn();
    assert.deepEqual(topics.map(({state}) => state), ['joined', 'joined', 'joined']);
    assert.equal(losses.length, 1);
    one.close();
    assert.equal(clock.waiting, 0);
  }
});

// Iteration

test('a topic can be iterated: from then on, in order, until it is left', async () => {
  const {client: one, socket} = await connected();
  const topic = one.topic<number>('news');
  const seen: number[] = [];
  const loop = (async () => { for await (const message of topic) seen.push(message); })();
  for (const payload of ['1', '2', '3']) socket.push('news', payload);
  await turn();
  assert.deepEqual(seen, [1, 2, 3]);
  socket.push('news', '4');
  topic.leave();
  await loop;
  assert.deepEqual(seen, [1, 2, 3, 4]);
  for await (const message of topic) assert.fail(String(message));
});

test('a loop that is left takes nothing more, and the topic stays', async () => {
  const {client: one, socket} = await connected();
  const topic = one.topic<number>('news');
  const loop = (async () => { for await (const message of topic) if (message === 2) return message; })();
  for (const payload of ['1', '2', '3']) socket.push('news', payload);
  assert.equal(await loop, 2);
  assert.equal(topic.state, 'joined');
});

test('several may be asked for at a time', async () => {
  const {client: one, socket} = await connected();
  const messages = one.topic<number>('news')[Symbol.asyncIterator]();
  const asked = [messages.next(), messages.next(), messages.next()];
  socket.push('news', '1');
  socket.push('news', '2');
  await turn();
  await messages.return?.();
  assert.deepEqual((await Promise.all(asked)).map(({value, done}) => [value, done]), [[1, false], [2, false], [undefined, true]]);
});

test('of several that ask, each gets its message in turn, and none is forgotten', async () => {
  const {client: one, socket} = await connected();
  const topic = one.topic<number>('news');
  const messages = topic[Symbol.asyncIterator]();
  const asked = Array.from({length: 5}, () => messages.next());
  for (let at = 0; at < 4; at++) {
    socket.push('news', String(at));
    await turn();
  }
  topic.leave();
  assert.deepEqual((await Promise.all(asked)).map(({value}) => value), [0, 1, 2, 3, undefined]);
});

test('a loop that is too slow ends with an error instead of taking memory for ever', async () => {
  const {client: one, socket} = await connected();
  const messages = one.topic<number>('news')[Symbol.asyncIterator]();
  for (let at = 0; at <= 10_001; at++) socket.push('news', String(at));
  await assert.rejects(messages.next(), /more than 10000 messages of news wait/);
  assert.deepEqual(await messages.next(), {value: undefined, done: true});
});

test('an iteration of a closed client ends', async () => {
  const {client: one} = await connected();
  const topic = one.topic('news');
  one.close();
  const messages = topic[Symbol.asyncIterator]();
  assert.deepEqual(await messages.next(), {value: undefined, done: true});
  one.reconnect();
  serve(FakeSocket.last).push('news', '1');
  assert.deepEqual(await messages.next(), {value: undefined, done: true});
});

// What is missed without positions

test('a topic of which messages came before its join was answered, since PHP has joined it, was joined', async () => {
  const {client: one, socket} = await connected();
  socket.onCommand = () => {};
  const topic = one.topic('user.1');
  const lost = collect<Lost>((listener) => topic.on('lost', listener));
  const joined = collect<Joined>((listener) => topic.on('joined', listener));
  await turn();
  const got = collect<unknown>((listener) => topic.on('message', listener));
  socket.push('user.1', '1');
  socket.end();
  await nextAttempt();
  FakeSocket.last.open();
  await turn();
  FakeSocket.last.push('user.1', '3');  // behind a hole that was not told yet
  FakeSocket.last.say({topic: '@join', payload: ['user.1'], id: 1});
  FakeSocket.last.push('user.1', '4');
  assert.deepEqual([got, lost, joined], [[1, 4], [{reason: 'off'}], [{again: true, count: 0}]]);
});

test('without a history a reconnect is a loss that is told, of each topic and of all', async () => {
  for (const manners of [{}, {plain: true}]) {
    const {client: one} = await connected(manners);
    const topic = one.topic('news', {history: true});
    const events: unknown[] = [];
    topic.onGap((lost: Lost) => events.push(['lost', lost]));
    topic.on('joined', (joined) => events.push(['joined', joined]));
    topic.on('recovered', () => events.push('recovered'));
    one.onGap((lost, of) => events.push([lost.reason, of.name]));
    await turn();
    await comesBack(manners);
    assert.deepEqual(events, [
      ['joined', {again: false, count: 0}],
      ['lost', {reason: 'off'}],
      ['off', 'news'],
      ['joined', {again: true, count: 0}],
    ]);
  }
});
