/** Anything, in any order: in the end the client is where the application wants it, and no hole was kept from it. */

import assert from 'node:assert/strict';
import {test} from 'node:test';
import type {Client, Topic} from '../src/index.js';
import {FakeSocket} from './support/fake.js';
import {chance, ModelServer} from './support/model.js';
import {client, clock, eachTestHasAClock, turn} from './support/scene.js';

eachTestHasAClock();

const NAMES = ['a', 'b', '@join', '__proto__', 'h1', 'h2', 'h3'];

/** A topic of the application, and what it was told. */
interface Use {
  topic: Topic;
  got: number[];
  /** How many messages there were at each loss that was told. */
  losses: number[];
}

/** An application that uses topics as the dice fall, also in its listeners. */
class Application {
  readonly uses = new Map<string, Use>();

  constructor(private readonly client: Client, private readonly random: () => number) {}

  act(): void {
    const name = this.any(NAMES);
    this.any([
      () => this.use(name), () => this.use(name), () => this.leave(name), () => this.client.reconnect(),
      () => { this.leave(name); this.use(name); },
      () => { if (this.uses.has(name)) this.client.topic(name, {history: true}); },
    ])();
  }

  any<T>(things: T[]): T {
    return things[Math.floor(this.random() * things.length)] as T;
  }

  private leave(name: string): void {
    this.uses.get(name)?.topic.leave();
    this.uses.delete(name);
  }

  private use(name: string): void {
    if (this.uses.has(name)) return;
    const history = this.any([undefined, true as const, {last: 2}]);
    const topic = this.client.topic<number>(name, history && {history});
    const use: Use = {topic: topic as Topic, got: [], losses: []};
    this.uses.set(name, use);
    const perhaps = () => { if (this.random() < 0.05) this.act(); };
    topic.on('message', (number) => { use.got.push(number); perhaps(); });
    topic.on('lost', () => { use.losses.push(use.got.length); perhaps(); });
    topic.on('joined', perhaps);
    topic.on('refused', perhaps);
  }
}

async function anything(random: () => number, server: ModelServer, application: Application): Promise<void> {
  const name = () => application.any(NAMES);
  const deeds = [
    () => application.act(), () => application.act(), () => application.act(),
    () => server.accept(), () => server.work(2), () => server.work(2), () => server.publish(name()), () => server.publish(name()),
    () => FakeSocket.last.readyState < 2 && FakeSocket.last.end(application.any([1006, 1001, 1013, 4000, 4001])),
    () => server.refused.add(name()), () => server.refused.delete(name()), () => server.trim(name()),
    () => { server.isFlaky = !server.isFlaky; },
    () => clock.pass(random() * 3_000),
  ];
  for (let step = 0; step < 80; step++) {
    await application.any(deeds)();
    await turn();
  }
}

/** Let all timers and answers come. */
async function settle(server: ModelServer): Promise<void> {
  server.isFlaky = false;
  for (let second = 0; second < 40; second++) {
    server.accept();
    while (server.work()) await turn();
    await clock.pass(1_000);
  }
}

function hasOnlyHolesThatWereTold({topic, got, losses}: Use): void {
  got.slice(1).forEach((number, at) => {
    const isNext = number <= (got[at] as number) + 1;
    assert.ok(isNext || losses.includes(at + 1), `${topic.name}: ${got}, losses at ${losses}`);
  });
}

for (const isPlain of [false, true]) {
  for (let seed = 0; seed < 60; seed++) {
    test(`whatever happens, it comes out right: ${seed}${isPlain ? ', at RoadRunner' : ''}`, async () => {
      const random = chance(seed);
      const server = new ModelServer(random, isPlain);
      const one = client();
      const application = new Application(one, random);
      await anything(random, server, application);
      await settle(server);
      const open = FakeSocket.all.filter(({readyState}) => readyState === 1);
      assert.equal(open.length, 1);
      const joined = server.members.get(open[0] as FakeSocket);
      for (const name of NAMES) {
        const topic = application.uses.get(name)?.topic;
        assert.notEqual(topic?.state, 'joining', name);
        assert.equal(joined?.has(name), topic?.state === 'joined', name);
      }
      application.uses.forEach(hasOnlyHolesThatWereTold);
      one.close();
      await turn();
      assert.equal(clock.waiting, 0);
    });
  }
}
