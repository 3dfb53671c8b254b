/** A server with histories and whims, for tests that do anything in any order; it answers when it is told to. */

import type {Sent} from './fake.js';
import {FakeSocket} from './fake.js';

/** Numbers that look random and are the same for the same seed (mulberry32). */
export function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What the server says of a topic's history, and what it sends of it. */
interface Found {
  said: object;
  from: number;
}

export class ModelServer {
  readonly refused = new Set<string>();
  /** Whether it cannot decide, now and then. */
  isFlaky = false;
  readonly members = new Map<FakeSocket, Set<string>>();
  private readonly published = new Map<string, number>();
  private readonly trimmed = new Map<string, number>();
  private readonly positioned = new Set<FakeSocket>();
  private readonly unanswered: (() => void)[] = [];

  /** Topics whose names begin with `h` have a history; a plain server is RoadRunner. */
  constructor(private readonly random: () => number, private readonly isPlain: boolean) {}

  /** Let those in that wait at the door. */
  accept(): void {
    for (const socket of FakeSocket.all) {
      if (socket.readyState !== 0 || socket.closedWith !== undefined) continue;
      this.members.set(socket, new Set());
      socket.onCommand = (command) => { this.unanswered.push(() => this.answer(socket, command)); };
      socket.open();
    }
  }

  /** Answer the next commands; returns whether there was one. */
  work(most = Infinity): boolean {
    const some = this.unanswered.splice(0, most);
    for (const answer of some) answer();
    return some.length > 0;
  }

  /** Publish the next number to a topic. */
  publish(topic: string): void {
    const number = (this.published.get(topic) ?? 0) + 1;
    this.published.set(topic, number);
    for (const [socket, topics] of this.members) if (topics.has(topic)) this.push(socket, topic, number);
  }

  /** Forget what was published to a topic. */
  trim(topic: string): void {
    this.trimmed.set(topic, this.published.get(topic) ?? 0);
  }

  private push(socket: FakeSocket, topic: string, number: number): void {
    if (socket.readyState !== 1) return;
    socket.push(topic, String(number), this.positioned.has(socket) && topic.startsWith('h') ? `e.${number}` : undefined);
  }

  private answer(socket: FakeSocket, {command, topics, id, history}: Sent): void {
    const mine = this.members.get(socket);
    if (socket.readyState !== 1 || !mine) return;
    const reply = (mark: string, more: object = {}) => {
      socket.say({topic: `${mark}${command}`, payload: topics, ...(!this.isPlain && {id, ...more})});
    };
    if (command === 'leave') {
      for (const topic of topics) mine.delete(topic);
      return reply('@');
    }
    if (topics.some((topic) => this.refused.has(topic))) return reply('#', {reason: 'refused with status 403'});
    if (!this.isPlain && this.isFlaky && this.random() < 0.5) {
      return reply('#', {reason: this.random() < 0.5 ? 'refuse, try again later' : 'PHP gave no answer'});
    }
    for (const topic of topics) mine.add(topic);
    const found = Object.entries(this.isPlain ? {} : history ?? {}).map(([topic, wish]) => [topic, this.find(topic, wish)] as const);
    if (found.length) this.positioned.add(socket);
    reply('@', found.length ? {history: Object.fromEntries(found.map(([topic, {said}]) => [topic, said]))} : {});
    for (const [topic, {from}] of found) {
      for (let number = from + 1; number <= (this.published.get(topic) ?? 0); number++) this.push(socket, topic, number);
    }
  }

  private find(topic: string, wish: unknown): Found {
    const top = this.published.get(topic) ?? 0;
    const oldest = this.trimmed.get(topic) ?? 0;
    if (!topic.startsWith('h')) return {said: {recovered: false, reason: 'off'}, from: top};
    const from = wish === true ? top : typeof wish === 'string' ? Number(wish.slice(2)) : Math.max(oldest, top - (wish as {last: number}).last);
    if (from < oldest) return {said: {pos: `e.${top}`, recovered: false, reason: 'trimmed'}, from: top};
    return {said: {pos: `e.${from}`, recovered: true, count: top - from}, from};
  }
}
